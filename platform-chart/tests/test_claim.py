"""templates/components/claim.yaml: the claims of Deployments."""

from __future__ import annotations

from support import alone, find, names, pod, render

KIND = "PersistentVolumeClaim"
DATA = {"mountPath": "/data", "size": "1Gi"}


def test_an_uninstall_keeps_the_claim_of_a_deployment() -> None:
    documents = render(alone(claims={"data": DATA}, rollout={"strategy": "Recreate"}))
    claim = find(documents, KIND, "platform-web-data")
    assert claim["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}
    assert claim["spec"] == {
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": "1Gi"}},
    }
    spec = pod(documents, "platform-web")
    assert {"name": "data", "persistentVolumeClaim": {"claimName": "platform-web-data"}} in spec[
        "volumes"
    ]
    assert {"name": "data", "mountPath": "/data"} in spec["containers"][0]["volumeMounts"]


def test_a_statefulset_has_claim_templates_instead() -> None:
    documents = render(alone(kind="StatefulSet", claims={"data": DATA}))
    assert names(documents, KIND) == []
    spec = pod(documents, "platform-web")
    assert [each["name"] for each in spec["volumes"]] == ["tmp"]
    assert {"name": "data", "mountPath": "/data"} in spec["containers"][0]["volumeMounts"]


def test_an_existing_claim_is_used() -> None:
    for kind in ("Deployment", "StatefulSet"):
        documents = render(
            alone(kind=kind, claims={"data": {"mountPath": "/data", "existingClaim": "theirs"}})
        )
        assert names(documents, KIND) == []
        volume = {"name": "data", "persistentVolumeClaim": {"claimName": "theirs"}}
        assert volume in pod(documents, "platform-web")["volumes"]


def test_several_pods_share_a_claim_that_several_nodes_can_mount() -> None:
    shared = {**DATA, "accessModes": ["ReadWriteMany"], "storageClass": "nfs"}
    claim = find(render(alone(replicas=2, claims={"data": shared})), KIND, "platform-web-data")
    assert (claim["spec"]["accessModes"], claim["spec"]["storageClassName"]) == (
        ["ReadWriteMany"],
        "nfs",
    )
