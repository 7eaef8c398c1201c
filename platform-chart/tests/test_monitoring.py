"""templates/monitoring: objects for the Prometheus operator and Grafana, with existing metrics."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from support import CHART, fails, find, load, of_kind, render

KINDS = ("ServiceMonitor", "PodMonitor", "PrometheusRule")
HTTPS = {"components": {"api-rest": {"metrics": {"port": "https"}}}}

# The metrics of HAProxy in alerts and dashboard; test_proxy_running.py compares a running HAProxy.
PROXY_METRICS = {
    "haproxy_frontend_current_sessions",
    "haproxy_frontend_http_responses_total",
    "haproxy_process_current_connections",
    "haproxy_process_current_ssl_rate",
    "haproxy_process_max_connections",
}
# The metrics of the apps, as in their READMEs, with the series of histograms.
APP_METRICS = CHART / "tests" / "metrics.txt"


SCRAPED: dict[str, Any] = {"networkPolicy": {"scrapers": [{"podSelector": {}}]}}


def monitored(*parts: str, **more: object) -> list[dict[str, Any]]:
    settings = {part: {"enabled": True} for part in ("monitors", *parts)}
    return render({"monitoring": settings} | SCRAPED | more)


def used_metrics(text: str) -> set[str]:
    return set(
        re.findall(r"\b(?:http|worker|api_rest|haproxy|process|python)_[a-z_]+\b(?=\{)", text)
    )


def rules(components: str = "{}") -> list[dict[str, Any]]:
    documents = monitored("rules", components=load(components))
    (group,) = find(documents, "PrometheusRule", "platform")["spec"]["groups"]
    rules: list[dict[str, Any]] = group["rules"]
    return rules


def dashboard() -> dict[str, Any]:
    config_map = find(monitored("dashboard"), "ConfigMap", "platform-dashboard")
    assert config_map["metadata"]["labels"]["grafana_dashboard"] == "1"
    dashboard: dict[str, Any] = json.loads(config_map["data"]["platform.json"])
    return dashboard


def expressions() -> dict[str, str]:
    result = {rule["alert"]: rule["expr"] for rule in rules()}
    for panel in dashboard()["panels"]:
        for target in panel.get("targets", []):
            result[f"{panel['title']} {target['refId']}"] = target["expr"]
    return result


def test_there_are_no_objects_by_default() -> None:
    documents = render()
    assert [document for document in documents if document["kind"] in KINDS] == []
    assert "platform-dashboard" not in {document["metadata"]["name"] for document in documents}


def test_metrics_of_a_port_are_read_from_the_pods() -> None:
    spec = find(monitored("monitors"), "PodMonitor", "platform-async-worker")["spec"]
    assert spec["selector"]["matchLabels"]["app.kubernetes.io/name"] == "async-worker"
    assert spec["namespaceSelector"] == {"matchNames": ["test"]}
    assert spec["podMetricsEndpoints"] == [
        {"port": "health", "path": "/metrics", "interval": "30s"}
    ]


def test_metrics_over_tls_are_verified_for_the_services_name() -> None:
    documents = monitored("monitors", **HTTPS)
    (endpoint,) = find(documents, "ServiceMonitor", "platform-api-rest")["spec"]["endpoints"]
    assert (endpoint["port"], endpoint["scheme"], endpoint["path"]) == (
        "https",
        "https",
        "/metrics",
    )
    assert endpoint["tlsConfig"] == {
        "serverName": "platform-api-rest.test.svc",
        "ca": {"secret": {"name": "platform-ca", "key": "ca.crt"}},
    }
    # The PodMonitor reads only the proxy's metrics, without TLS.
    monitor = find(documents, "PodMonitor", "platform-api-rest")["spec"]
    assert [each["port"] for each in monitor["podMetricsEndpoints"]] == ["proxy-metrics"]


def test_a_public_ca_is_not_named() -> None:
    tls = {"existingSecret": "bought", "selfSigned": {"enabled": False}, "publicCA": True}
    (monitor,) = of_kind(monitored("monitors", tls=tls, **HTTPS), "ServiceMonitor")
    assert monitor["spec"]["endpoints"][0]["tlsConfig"] == {
        "serverName": "platform-api-rest.test.svc"
    }


def test_a_component_without_metrics_has_no_monitor() -> None:
    documents = monitored("monitors", components={"async-worker": {"metrics": {"port": ""}}})
    assert "platform-async-worker" not in {
        each["metadata"]["name"] for each in of_kind(documents, "PodMonitor")
    }


@pytest.mark.parametrize(
    ("part", "kind"), [("monitors", "PodMonitor"), ("rules", "PrometheusRule")]
)
def test_objects_have_the_labels_that_prometheus_selects(part: str, kind: str) -> None:
    monitoring: dict[str, Any] = {"monitors": {"enabled": True}}
    monitoring |= {part: {"enabled": True, "labels": {"release": "kps"}}}
    documents = render({"monitoring": monitoring} | SCRAPED)
    labels = [each["metadata"]["labels"]["release"] for each in of_kind(documents, kind)]
    assert set(labels) == {"kps"}


def test_every_metric_of_an_expression_exists() -> None:
    known = PROXY_METRICS | set(APP_METRICS.read_text().split())
    used = {name: used_metrics(expression) for name, expression in expressions().items()}
    assert {
        name: sorted(metrics - known) for name, metrics in used.items() if metrics - known
    } == {}
    assert [name for name, metrics in used.items() if not metrics] == []
    assert set().union(*used.values()) >= PROXY_METRICS


def test_every_expression_selects_the_namespace_of_the_release() -> None:
    for rule in rules():
        selectors = re.findall(r"\{([^}]*)\}", rule["expr"])
        assert selectors
        assert all('namespace="test"' in selector for selector in selectors), rule
    for panel in dashboard()["panels"]:
        for target in panel.get("targets", []):
            assert 'namespace="$namespace"' in target["expr"]


@pytest.mark.parametrize(
    ("components", "missing", "left"),
    [
        ("async-worker: {enabled: false}", ("Worker", "Webhook"), "ApiMissing"),
        ("async-worker: {replicas: 0}", ("Worker", "Webhook"), "ApiMissing"),
        ("async-worker: {metrics: {port: ''}}", ("Worker", "Webhook"), "ApiMissing"),
        ("api-rest: {enabled: false}", ("Api", "Storing", "Proxy"), "WorkerMissing"),
        ("api-rest: {tls: {enabled: false}}", ("Proxy",), "ApiMissing"),
    ],
)
def test_there_are_no_alerts_on_what_does_not_run(
    components: str, missing: tuple[str, ...], left: str
) -> None:
    alerts = [rule["alert"] for rule in rules(f"{{{components}}}")]
    assert left in alerts
    assert [alert for alert in alerts if alert.startswith(missing)] == []


@pytest.mark.parametrize(
    ("kind", "pod"),
    [("Deployment", "platform-api-rest-5d8f7c9b4-x2x7k"), ("StatefulSet", "platform-api-rest-0")],
)
def test_alerts_match_the_pods_of_the_component_only(kind: str, pod: str) -> None:
    every = {rule["alert"]: rule["expr"] for rule in rules(f"api-rest: {{kind: {kind}}}")}
    expression = every["ApiMissing"]
    assert expression.startswith("absent(api_rest_backend_up{")
    (pattern,) = re.findall(r'pod=~"([^"]+)"', expression)
    assert re.fullmatch(pattern, pod)
    for other in (pod.replace("rest", "rest-x"), f"other-{pod}", pod.replace("platform", "q")):
        assert not re.fullmatch(pattern, other)


def test_monitors_that_network_policies_block_are_refused() -> None:
    assert "- networkPolicy.scrapers: it is empty, so network policies block the monitors" in fails(
        "monitoring: {monitors: {enabled: true}}"
    )
    assert "- monitoring.rules.enabled: without monitors the alerts have no metrics" in fails(
        "monitoring: {rules: {enabled: true}}"
    )
    assert render("{monitoring: {monitors: {enabled: true}}, networkPolicy: {enabled: false}}")


@pytest.mark.parametrize("environment", ["staging", "production"])
def test_an_environment_with_users_is_monitored(environment: str) -> None:
    documents = render("", f"values-{environment}.yaml")
    assert {"PodMonitor", "PrometheusRule"} <= {each["kind"] for each in documents}
    policy = find(documents, "NetworkPolicy", "platform-api-rest")
    assert "kubernetes.io/metadata.name': 'monitoring'" in str(policy["spec"]["ingress"])


def test_every_alert_has_a_severity_and_a_summary() -> None:
    alerts = [rule["alert"] for rule in rules()]
    assert len(set(alerts)) == len(alerts) > 10
    for rule in rules():
        assert rule["labels"]["severity"] in {"warning", "critical"}
        assert rule["annotations"]["summary"]
        # Helm leaves the templates of Prometheus, whose labels the expression has.
        assert "{{" not in rule["annotations"]["summary"].replace("{{ $labels.", "")
        for label in re.findall(r"\$labels\.([a-z_]+)", json.dumps(rule["annotations"])):
            assert re.search(rf"by \([^)]*\b{label}\b", rule["expr"]), rule


def test_panels_do_not_overlap_and_have_unique_ids() -> None:
    panels = dashboard()["panels"]
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        grid = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(grid["x"], grid["x"] + grid["w"])
            for y in range(grid["y"], grid["y"] + grid["h"])
        }
        assert not cells & taken, panel["title"]
        assert grid["x"] + grid["w"] <= 24
        taken |= cells
    assert len({panel["id"] for panel in panels}) == len(panels)


def test_every_panel_reads_the_selected_prometheus_and_has_a_unit() -> None:
    board = dashboard()
    assert (board["uid"], board.get("id")) == ("delivery-platform", None)
    variables = {variable["name"]: variable for variable in board["templating"]["list"]}
    assert variables["datasource"]["type"] == "datasource"
    assert variables["namespace"]["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
    for panel in board["panels"]:
        if panel["type"] == "row":
            assert not panel.get("targets"), panel["title"]
            continue
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}, panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"] in {"s", "reqps", "short", "percentunit"}, (
            panel["title"]
        )
        assert panel["targets"], panel["title"]


def test_every_query_has_a_unique_name_and_known_variables_and_labels() -> None:
    board = dashboard()
    known = {variable["name"] for variable in board["templating"]["list"]} | {"__rate_interval"}
    for panel in board["panels"]:
        targets = panel.get("targets", [])
        assert len({target["refId"] for target in targets}) == len(targets), panel["title"]
        for target in targets:
            assert target["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
            assert set(re.findall(r"\$\{?(\w+)", target["expr"])) <= known, panel["title"]
            # The expression has every label of the legend, unless it aggregates without the label.
            for label in re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]):
                summed = re.search(r"\bby \(([^)]*)\)", target["expr"])
                assert summed is None or label in summed[1].split(", "), panel["title"]


def test_each_panel_is_in_the_row_of_its_metrics() -> None:
    rows: dict[str, set[str]] = {}
    for panel in sorted(
        dashboard()["panels"], key=lambda panel: (panel["gridPos"]["y"], panel["gridPos"]["x"])
    ):
        if panel["type"] == "row":
            row = panel["title"]
        for target in panel.get("targets", []):
            rows.setdefault(row, set()).update(
                metric.partition("_")[0] for metric in used_metrics(target["expr"])
            )
    assert rows == {
        "api-rest": {"http", "api", "worker"},
        "async-worker": {"worker"},
        "proxy": {"haproxy"},
    }
