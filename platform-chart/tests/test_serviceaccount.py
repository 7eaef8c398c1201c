"""templates/components/serviceaccount.yaml."""

from __future__ import annotations

from support import alone, find, names, of_kind, pod, render

RULES = [{"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]}]
ASKS = {"automountServiceAccountToken": True, "rules": RULES}


def test_each_component_has_an_account_of_its_own_without_a_token() -> None:
    documents = render()
    for component in ("api-rest", "async-worker", "kafka", "database"):
        name = f"platform-{component}"
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


def test_a_component_that_asks_has_a_token_and_its_rights() -> None:
    documents = render(alone(serviceAccount=ASKS))
    assert pod(documents, "platform-web")["automountServiceAccountToken"] is True
    assert find(documents, "Role", "platform-web")["rules"] == RULES
    binding = find(documents, "RoleBinding", "platform-web")
    assert binding["roleRef"]["name"] == "platform-web"
    (subject,) = binding["subjects"]
    assert (subject["name"], subject["namespace"]) == ("platform-web", "test")


def test_the_rights_are_those_of_an_existing_account() -> None:
    documents = render(alone(serviceAccount={**ASKS, "create": False, "name": "theirs"}))
    assert find(documents, "RoleBinding", "platform-web")["subjects"][0]["name"] == "theirs"


def test_by_default_nobody_has_rights() -> None:
    assert of_kind(render(), "Role") == of_kind(render(), "RoleBinding") == []
