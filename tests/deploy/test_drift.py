"""Drift: changed, added and deleted fields with who did it; what Kubernetes does is no drift."""

from typing import Any

from delivery.deploy.drift import Drift, find
from delivery.deploy.manifests import read_objects
from tests import yaml_strict

DEPLOYMENT = """
kind: Deployment
metadata:
  name: web
  labels: {app.kubernetes.io/component: web}
spec:
  replicas: 2
  selector: {}
  template:
    spec:
      hostNetwork: false
      containers:
        - name: app
          image: r/app:1
          ports: [{containerPort: 80}]
          env: [{name: A, value: "1"}, {name: B, value: ""}]
"""
HELM = {"manager": "helm", "operation": "Apply", "fieldsV1": {"f:spec": {"f:replicas": {}}}}
APP = 'k:{"name":"app"}'


def expected(text: str = DEPLOYMENT) -> list[Any]:
    """As `inv drift` reads a manifest."""
    return list(read_objects(text).values())


def live(text: str = DEPLOYMENT) -> dict[str, Any]:
    each: dict[str, Any] = yaml_strict.load(text)
    each["metadata"]["managedFields"] = [HELM]
    return each


def by(manager: str, fields: dict[str, Any], **more: str) -> dict[str, Any]:
    return {"manager": manager, "time": "2026-12-01T12:00:00Z", "fieldsV1": fields, **more}


def containers(fields: dict[str, Any]) -> dict[str, Any]:
    return {"f:spec": {"f:template": {"f:spec": {"f:containers": fields}}}}


def drift(field: str, change: str, deployed: str, now: str, manager: str = "kubectl-edit") -> Drift:
    at = "2026-12-01T12:00:00Z" if manager else ""
    return Drift("web", "Deployment/web", field, change, deployed, now, manager, at)


def test_defaults_and_what_controllers_write_are_no_drift() -> None:
    actual = live()
    container = actual["spec"]["template"]["spec"]["containers"][0]
    container |= {"imagePullPolicy": "Always", "ports": [{"containerPort": 80, "protocol": "TCP"}]}
    container["env"][1].pop("value")
    actual["spec"]["template"]["spec"].pop("hostNetwork")
    actual["spec"]["replicas"] = 5
    actual["status"] = {"replicas": 5}
    actual["metadata"]["annotations"] = {"kubectl.kubernetes.io/last-applied-configuration": "{}"}
    actual["metadata"]["managedFields"] += [
        by("kube-controller-manager", {"f:spec": {"f:replicas": {}}}, subresource="scale"),
        by("own-controller", {"f:status": {"f:replicas": {}}}, subresource="status"),
        by(
            "kubectl-client-side-apply",
            {
                "f:metadata": {
                    "f:annotations": {
                        ".": {},
                        "f:kubectl.kubernetes.io/last-applied-configuration": {},
                    }
                }
            },
        ),
    ]
    assert find(expected(), [actual]) == []


def test_a_restart_by_kubectl_is_no_drift() -> None:
    actual, restarted = live(), "kubectl.kubernetes.io/restartedAt"
    actual["spec"]["template"]["metadata"] = {"annotations": {restarted: "2026-12-01T12:00:00Z"}}
    annotations: dict[str, Any] = {"f:annotations": {".": {}, f"f:{restarted}": {}}}
    fields = {"f:spec": {"f:template": {"f:metadata": annotations}}}
    actual["metadata"]["managedFields"].append(by("kubectl-rollout", fields))
    assert find(expected(), [actual]) == []


def test_a_changed_field_has_both_values_and_who_changed_it() -> None:
    actual = live()
    actual["spec"]["replicas"] = 5
    actual["spec"]["template"]["spec"]["containers"][0]["image"] = "r/app:2"
    actual["metadata"]["managedFields"] += [
        by("kubectl", {"f:spec": {"f:replicas": {}}}, subresource="scale"),
        by("kubectl-edit", containers({APP: {"f:image": {}}})),
    ]
    assert find(expected(), [actual]) == [
        drift("spec.replicas", "changed", "2", "5", "kubectl"),
        drift("spec.template.spec.containers[app].image", "changed", "r/app:1", "r/app:2"),
    ]


def test_a_field_that_was_changed_back_is_no_drift() -> None:
    actual = live()
    port = 'k:{"containerPort":80,"protocol":"TCP"}'
    own = containers({APP: {".": {}, "f:image": {}, "f:ports": {port: {"f:containerPort": {}}}}})
    own["f:spec"]["f:replicas"] = {}
    actual["metadata"]["managedFields"].append(by("kubectl-edit", own))
    assert find(expected(), [actual]) == []


def test_added_fields_and_items_are_named() -> None:
    actual = live()
    actual["metadata"] |= {"annotations": {"note": "x"}, "finalizers": ["example.com/a"]}
    pod = actual["spec"]["template"]["spec"]
    pod["containers"].append({"name": "debug", "image": "busybox"})
    own: dict[str, Any] = containers({'k:{"name":"debug"}': {".": {}, "f:image": {}, "f:name": {}}})
    own["f:metadata"] = {
        "f:annotations": {".": {}, "f:note": {}},
        "f:finalizers": {".": {}, 'v:"example.com/a"': {}},
    }
    actual["metadata"]["managedFields"].append(by("kubectl-edit", own))
    added = "{image: busybox, name: debug}"
    assert find(expected(), [actual]) == [
        drift("metadata.annotations.note", "added", "", "x"),
        drift("metadata.finalizers[example.com/a]", "added", "", "example.com/a"),
        drift("spec.template.spec.containers[debug]", "added", "", added),
    ]


def test_deleted_fields_items_and_objects_are_named() -> None:
    actual = live()
    actual["metadata"]["labels"].clear()
    actual["spec"]["template"]["spec"]["containers"][0]["env"].pop(0)
    label = "metadata.labels.app.kubernetes.io/component"
    variable = "spec.template.spec.containers[app].env[A]"
    assert find(expected(), [actual]) == [
        drift(label, "deleted", "web", "", ""),
        drift(variable, "deleted", "{name: A, value: 1}", "", ""),
    ]
    assert find(expected(), []) == [drift("", "deleted", "", "", "")]


def test_values_of_secrets_are_hidden() -> None:
    text = "{kind: Secret, metadata: {name: s}, data: {a: YQ==}, stringData: {b: b}}"
    actual = live(text)
    actual["data"] = {"a": "Yg==", "b": "Yg=="}
    own: dict[str, Any] = {"f:data": {"f:a": {}, "f:c": {}}}
    actual["metadata"]["managedFields"].append(by("kubectl-edit", own))
    (found,) = find(expected(text), [actual])
    assert (found.field, found.deployed, found.live) == ("data.a", "(hidden)", "(hidden)")
