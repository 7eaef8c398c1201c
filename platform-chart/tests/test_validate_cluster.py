"""templates/_validate-cluster.tpl: what a cluster would refuse halfway, or never run."""

from __future__ import annotations

from typing import Any

import pytest
from live import claim, notes, refused, upgraded
from support import Document, alone, find, load, render

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


def test_notes_name_a_label_only_if_no_node_is_known_to_have_it() -> None:
    nodes = [node(), node(**{LABEL: "ondemand"})]
    assert "Pending until" not in notes(nodes, CHECKED)
    assert f"Pending until a node has the label {LABEL}=ondemand: async-worker" in notes(nodes)


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


def claimed(documents: list[Document], *names: str, size: str) -> list[Document]:
    """Return objects with claims of this size."""
    spec = {"resources": {"requests": {"storage": size}}}
    return [*documents, *({**claim(name), "spec": spec} for name in names)]


def stored(documents: list[Document], name: str) -> tuple[str, str | None]:
    """Return the size in a StatefulSet's claim template, and the one to enlarge claims to."""
    workload = find(documents, "StatefulSet", name)
    (template,) = workload["spec"]["volumeClaimTemplates"]
    annotations = workload["metadata"].get("annotations", {})
    return template["spec"]["resources"]["requests"]["storage"], annotations.get(
        f"platform/claim-{template['metadata']['name']}"
    )


def test_the_size_in_a_statefulset_stays_and_its_claims_are_to_be_enlarged() -> None:
    backends, claims = ("kafka", "database"), "claims: {data: {mountPath: /d, size: %s}}"
    larger = {backend: {"persistence": {"size": "10Gi"}} for backend in backends}
    values = {**larger, "components": web(f"kind: StatefulSet\n{claims}" % "3Gi")["components"]}
    live = [*render(), *render(web(f"kind: StatefulSet\n{claims}" % "2Gi"))]
    documents = upgraded(live, values)
    for backend in backends:
        assert stored(documents, f"platform-{backend}") == ("8Gi", "10Gi")
    assert stored(documents, "platform-web") == ("2Gi", "3Gi")
    # Rendered again, it is the same: nothing is left to deploy.
    assert stored(upgraded(documents, values), "platform-web") == ("2Gi", "3Gi")


def test_notes_name_the_claims_that_are_still_smaller() -> None:
    stateful = "kind: StatefulSet\nreplicas: 2\nclaims: {data: {mountPath: /d, size: %s}}"
    live = claimed(render(web(stateful % "2Gi")), "data-platform-web-0", size="2Gi")
    live = claimed(live, "data-platform-web-1", size="3Gi")
    text = notes(live, web(stateful % "3Gi"))
    assert "Smaller than components.web.claims.data.size" in text
    assert "patch persistentvolumeclaim data-platform-web-0" in text
    assert '"storage": "3Gi"' in text
    assert "data-platform-web-1" not in text


@pytest.mark.parametrize("size", ["8Gi", "8192Mi"])
def test_the_same_size_enlarges_nothing(size: str) -> None:
    documents = upgraded(render(), {"kafka": {"persistence": {"size": size}}})
    assert stored(documents, "platform-kafka") == ("8Gi", None)


def test_no_claim_shrinks() -> None:
    stateful = "kind: StatefulSet\nclaims: {data: {mountPath: /d, size: %s}}"
    single = stateful.replace("kind: StatefulSet", "rollout: {strategy: Recreate}")
    owned = render(web(single % "2Gi"))
    pods = claimed(render(web(stateful % "2Gi")), "data-platform-web-0", size="2Gi")
    for values, live in ((stateful, pods), (single, owned)):
        assert upgraded(live, web(values % "3Gi"))
        message = refused(live, web(values % "1Gi"))
        assert "- components.web.claims.data.size: it is 2Gi, and a claim cannot" in message
    live = claimed(render(), "data-platform-database-0", size="10Gi")
    assert "- database.persistence.size: it is 10Gi, and a claim cannot" in refused(live)


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
