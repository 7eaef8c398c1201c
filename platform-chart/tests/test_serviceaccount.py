"""templates/components/serviceaccount.yaml."""

from __future__ import annotations

from support import alone, find, names, pod, render


def test_each_component_has_an_account_of_its_own_without_a_token() -> None:
    documents = render()
    for name in ("platform-api-rest", "platform-async-worker"):
        assert find(documents, "ServiceAccount", name)["automountServiceAccountToken"] is False
        assert pod(documents, name)["serviceAccountName"] == name


def test_it_may_have_another_name_and_annotations() -> None:
    documents = render(alone(serviceAccount={"name": "own", "annotations": {"role": "arn"}}))
    assert find(documents, "ServiceAccount", "own")["metadata"]["annotations"] == {"role": "arn"}
    assert pod(documents, "platform-web")["serviceAccountName"] == "own"


def test_an_existing_account_is_used() -> None:
    documents = render(alone(serviceAccount={"create": False, "name": "theirs"}))
    assert names(documents, "ServiceAccount") == []
    assert pod(documents, "platform-web")["serviceAccountName"] == "theirs"
    assert (
        pod(render(alone(serviceAccount={"create": False})), "platform-web")["serviceAccountName"]
        == "default"
    )
