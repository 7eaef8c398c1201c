"""templates/drift: the job that reports drift, with its rights and network policy."""

from __future__ import annotations

from support import fails, find, names, render

ON = {"drift": {"enabled": True}, "environment": "staging"}


def test_it_is_off_by_default() -> None:
    assert "platform-drift" not in {each["metadata"]["name"] for each in render()}


def test_the_job_tells_the_ledger_by_its_certificate_and_token() -> None:
    job = find(render(ON), "CronJob", "platform-drift")["spec"]
    assert (job["schedule"], job["concurrencyPolicy"]) == ("*/10 * * * *", "Forbid")
    spec = job["jobTemplate"]["spec"]["template"]["spec"]
    assert spec["automountServiceAccountToken"] is True
    assert spec["serviceAccountName"] == "platform-drift"
    (own,) = spec["containers"]
    api = find(render(ON), "Deployment", "platform-api-rest")["spec"]["template"]["spec"]
    assert own["image"] in {each["image"] for each in api["containers"]}
    assert own["command"] == ["python3", "-I", "-m", "api_rest.drift_check"]
    values = {each["name"]: each.get("value") for each in own["env"]}
    assert values == {
        "RELEASE": "platform",
        "ENVIRONMENT": "staging",
        "LEDGER": "https://platform-api-rest.test.svc.cluster.local",
        "CA_FILE": "/ca/ca.crt",
        "TOKEN": None,
    }


def test_it_may_only_read() -> None:
    rules = find(render(ON), "Role", "platform-drift")["rules"]
    assert {verb for rule in rules for verb in rule["verbs"]} == {"get", "list"}
    assert [rule["resources"] for rule in rules if "list" in rule["verbs"]] == [["secrets"]]
    kinds = {"drift": {"enabled": True, "kinds": {"keda.sh": ["scaledobjects"]}}}
    read = find(render(kinds), "Role", "platform-drift")["rules"]
    assert {"apiGroups": ["keda.sh"], "resources": ["scaledobjects"], "verbs": ["get"]} in read


def test_it_reaches_kubernetes_and_the_ledger_alone() -> None:
    policy = find(render(ON), "NetworkPolicy", "platform-drift")["spec"]
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    assert "ingress" not in policy
    _, server, ledger = policy["egress"]
    assert {port["port"] for port in server["ports"]} == {443, 6443}
    labels = ledger["to"][0]["podSelector"]["matchLabels"]
    assert labels["app.kubernetes.io/name"] == "api-rest"
    off = render({**ON, "networkPolicy": {"enabled": False}})
    assert "platform-drift" not in names(off, "NetworkPolicy")


def test_a_component_without_tls_is_a_mistake() -> None:
    message = fails({"drift": {"enabled": True, "component": "async-worker"}})
    assert "drift.component: async-worker has no TLS" in message
