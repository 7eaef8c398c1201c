"""templates/components/claim.yaml, and what becomes of claims."""

from __future__ import annotations

import pytest
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


def test_an_uninstall_deletes_claims_that_are_not_to_be_kept() -> None:
    policy = {"whenDeleted": "Delete", "whenScaled": "Retain"}
    values = {"claims": {"data": DATA}, "persistentVolumeClaimRetentionPolicy": policy}
    stateful = find(render(alone(kind="StatefulSet", **values)), "StatefulSet", "platform-web")
    assert stateful["spec"]["persistentVolumeClaimRetentionPolicy"] == policy
    claim = find(
        render(alone(rollout={"strategy": "Recreate"}, **values)), KIND, "platform-web-data"
    )
    assert "annotations" not in claim["metadata"]


@pytest.mark.parametrize("backend", ["kafka", "database"])
def test_the_claims_of_a_backend_have_a_policy_if_they_ask(backend: str) -> None:
    policy = {"whenDeleted": "Delete"}
    key = "persistentVolumeClaimRetentionPolicy"
    for own, expected in (({}, None), ({key: policy}, policy)):
        spec = find(render({backend: own}), "StatefulSet", f"platform-{backend}")["spec"]
        assert spec.get(key) == expected
