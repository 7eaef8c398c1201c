"""templates/_validate-cluster.tpl: what a cluster would refuse halfway, or never run."""

from __future__ import annotations

from typing import Any

import pytest
from live import refused, upgraded
from support import Document, alone, load, render

LABEL = "shipay.com.br/capacity-type"
CHECKED = "checkNodes: true"


def node(**labels: str) -> Document:
    return {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n", "labels": labels}}


def quota(*resources: str) -> Document:
    hard = dict.fromkeys(resources, "10")
    metadata = {"name": "team"}
    return {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": metadata,
        "spec": {"hard": hard},
    }


def web(text: str) -> dict[str, Any]:
    return alone(**load(text))


def service(text: str) -> list[Document]:
    """The Service of a component, as the API server has stored it."""
    (made,) = [each for each in render(web(text)) if each["kind"] == "Service"]
    return [{**made, "spec": {"clusterIP": "10.0.0.1", **made["spec"]}}]


def test_a_cluster_without_the_required_label_is_refused() -> None:
    message = refused([node(), node(**{LABEL: "spot"})], CHECKED)
    assert f"capacityTypeLabel: no node has the label {LABEL}=ondemand" in message
    assert "which async-worker must have" in message
    assert "values-any-cluster.yaml" in message


@pytest.mark.parametrize(
    ("nodes", "values"),
    [
        ([node(**{LABEL: "ondemand"})], CHECKED),
        ([node()], "checkNodes: false"),
        ([node()], f"{CHECKED}\ncomponents: {{async-worker: {{capacityType: null}}}}"),
    ],
)
def test_a_label_that_is_there_or_not_needed(nodes: list[Document], values: str) -> None:
    assert upgraded(nodes, values)


STATEFUL = "kind: StatefulSet\nports: {http: 80}\nservice: {enabled: true}"


def test_a_service_keeps_its_address() -> None:
    live = service("ports: {http: 80}\nservice: {enabled: true}")
    message = refused(live, web(STATEFUL))
    assert "components.web.service: platform-web has an address, which cannot change" in message
    assert "set service.headless to false" in message
    assert "kubectl --namespace test delete service platform-web" in message
    assert upgraded(live, web(f"{STATEFUL[:-1]}, headless: false}}"))


def test_a_headless_service_gets_no_address() -> None:
    message = refused(service(STATEFUL), web("ports: {http: 80}\nservice: {enabled: true}"))
    assert "components.web.service: platform-web is headless" in message
    assert upgraded(service(STATEFUL), web(STATEFUL))


@pytest.mark.parametrize("backend", ["kafka", "database"])
def test_a_statefulsets_claims_do_not_change_their_size(backend: str) -> None:
    path = f"- {backend}.persistence.size: it is 8Gi"
    message = refused(render(), f"{backend}: {{persistence: {{size: 10Gi}}}}")
    assert f"{path}, which a StatefulSet cannot change" in message
    assert f"for claim in data-platform-{backend}-0; do kubectl --namespace test patch" in message
    assert f"delete statefulset platform-{backend} --cascade=orphan" in message
    message = refused(render(), f"{backend}: {{persistence: {{size: 4Gi}}}}")
    assert f"{path}, and a claim cannot shrink" in message


def test_another_way_to_write_a_size_is_no_change() -> None:
    assert upgraded(render(), "kafka: {persistence: {size: 8192Mi}}")


def test_the_claims_of_components_too() -> None:
    claims = "claims: {data: {mountPath: /d, size: %s}}"
    stateful = f"kind: StatefulSet\n{claims}"
    message = refused(render(web(stateful % "2Gi")), web(stateful % "3Gi"))
    assert "components.web.claims.data.size: it is 2Gi, which a StatefulSet cannot" in message
    stopped = stateful.replace("kind", "replicas: 0\nkind")
    message = refused(render(web(stopped % "2Gi")), web(stopped % "3Gi"))
    assert "components.web.claims.data.size: it is 2Gi, which a StatefulSet cannot" in message
    single = f"rollout: {{strategy: Recreate}}\n{claims}"
    live = render(web(single % "2Gi"))
    assert upgraded(live, web(single % "3Gi"))
    assert "2Gi, and a claim cannot shrink" in refused(live, web(single % "1Gi"))


@pytest.mark.parametrize("hard", ["limits.cpu", "requests.memory", "memory"])
def test_a_quota_wants_resources_of_every_container(hard: str) -> None:
    values = web("extraContainers: [{name: x, image: x}]")
    key = hard if "." in hard else f"requests.{hard}"
    message = refused([quota(hard)], values)
    assert f"components.web.extraContainers[0].resources.{key}: the quota team wants it" in message
    assert upgraded([quota("pods")], values)


def test_a_limit_range_may_give_them() -> None:
    limits = {"apiVersion": "v1", "kind": "LimitRange", "metadata": {"name": "d"}, "spec": {}}
    assert upgraded([quota("limits.cpu"), limits], web("resources: null"))
    assert "components.web.resources.limits.cpu" in refused(
        [quota("limits.cpu")], web("resources: null")
    )


def test_a_cluster_without_the_operator_has_no_monitors() -> None:
    scrapers = "networkPolicy: {scrapers: [{podSelector: {}}]}"
    on = f"monitoring: {{monitors: {{enabled: true}}, rules: {{enabled: true}}}}\n{scrapers}"
    message = refused([], on)
    for part in ("monitors", "rules"):
        assert f"monitoring.{part}.enabled: the cluster has no monitoring.coreos.com/v1" in message
