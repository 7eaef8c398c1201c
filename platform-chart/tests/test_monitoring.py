"""templates/monitoring: what the Prometheus operator and Grafana pick up, on metrics that there are."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from support import CHART, find, of_kind, render

KINDS = ("ServiceMonitor", "PodMonitor", "PrometheusRule")
HTTPS = {"components": {"api-rest": {"metrics": {"port": "https"}}}}

# What HAProxy's exporter calls the metrics that are used here; test_proxy_running.py asks a real one.
PROXY_METRICS = {
    "haproxy_frontend_current_sessions",
    "haproxy_frontend_http_responses_total",
    "haproxy_process_current_connections",
    "haproxy_process_current_ssl_rate",
    "haproxy_process_max_connections",
}
# The apps' own, as the tables of their READMEs list them, with what a histogram is made of.
APP_METRICS = CHART / "tests" / "metrics.txt"


def monitored(*parts: str, **more: object) -> list[dict[str, Any]]:
    settings = {part: {"enabled": True} for part in parts}
    return render({"monitoring": settings} | more)


def used_metrics(text: str) -> set[str]:
    return set(
        re.findall(r"\b(?:http|worker|api_rest|haproxy|process|python)_[a-z_]+\b(?=\{)", text)
    )


def rules() -> list[dict[str, Any]]:
    (group,) = find(monitored("rules"), "PrometheusRule", "platform")["spec"]["groups"]
    found: list[dict[str, Any]] = group["rules"]
    return found


def dashboard() -> dict[str, Any]:
    held = find(monitored("dashboard"), "ConfigMap", "platform-dashboard")
    assert held["metadata"]["labels"]["grafana_dashboard"] == "1"
    found: dict[str, Any] = json.loads(held["data"]["platform.json"])
    return found


def expressions() -> dict[str, str]:
    found = {rule["alert"]: rule["expr"] for rule in rules()}
    for panel in dashboard()["panels"]:
        found |= {
            f"{panel['title']} {target['refId']}": target["expr"]
            for target in panel.get("targets", [])
        }
    return found


def test_nothing_is_there_until_it_is_asked_for() -> None:
    documents = render()
    assert [document for document in documents if document["kind"] in KINDS] == []
    assert "platform-dashboard" not in {document["metadata"]["name"] for document in documents}


def test_metrics_on_a_port_of_the_components_own_are_read_from_its_pods() -> None:
    spec = find(monitored("monitors"), "PodMonitor", "platform-async-worker")["spec"]
    assert spec["selector"]["matchLabels"]["app.kubernetes.io/name"] == "async-worker"
    assert spec["namespaceSelector"] == {"matchNames": ["test"]}
    assert spec["podMetricsEndpoints"] == [
        {"port": "health", "path": "/metrics", "interval": "30s"}
    ]


def test_metrics_over_tls_are_read_with_the_ca_and_the_services_name() -> None:
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
    # The proxy's own metrics are beside it, without TLS; the app's are not read twice.
    ports = [
        each["port"]
        for each in find(documents, "PodMonitor", "platform-api-rest")["spec"][
            "podMetricsEndpoints"
        ]
    ]
    assert ports == ["proxy-metrics"]


def test_a_ca_that_everybody_knows_is_not_given() -> None:
    tls = {"existingSecret": "bought", "selfSigned": {"enabled": False}, "publicCA": True}
    (monitor,) = of_kind(monitored("monitors", tls=tls, **HTTPS), "ServiceMonitor")
    assert monitor["spec"]["endpoints"][0]["tlsConfig"] == {
        "serverName": "platform-api-rest.test.svc"
    }


def test_a_component_without_metrics_is_not_monitored() -> None:
    documents = monitored("monitors", components={"async-worker": {"metrics": {"port": ""}}})
    assert "platform-async-worker" not in {
        each["metadata"]["name"] for each in of_kind(documents, "PodMonitor")
    }


@pytest.mark.parametrize(
    ("part", "kind"), [("monitors", "PodMonitor"), ("rules", "PrometheusRule")]
)
def test_labels_by_which_a_prometheus_selects(part: str, kind: str) -> None:
    found = of_kind(
        render({"monitoring": {part: {"enabled": True, "labels": {"release": "kps"}}}}), kind
    )
    assert found
    assert {each["metadata"]["labels"]["release"] for each in found} == {"kps"}


def test_every_metric_in_an_expression_is_one_that_there_is() -> None:
    known = PROXY_METRICS | set(APP_METRICS.read_text().split())
    used = {name: used_metrics(expression) for name, expression in expressions().items()}
    assert {
        name: sorted(metrics - known) for name, metrics in used.items() if metrics - known
    } == {}
    assert [name for name, metrics in used.items() if not metrics] == []
    assert set().union(*used.values()) >= PROXY_METRICS


def test_every_expression_keeps_to_the_releases_namespace() -> None:
    for rule in rules():
        selectors = re.findall(r"\{([^}]*)\}", rule["expr"])
        assert selectors
        assert all('namespace="test"' in selector for selector in selectors), rule
    for panel in dashboard()["panels"]:
        for target in panel.get("targets", []):
            assert 'namespace="$namespace"' in target["expr"]


def test_every_alert_says_what_is_wrong_and_how_badly() -> None:
    found = rules()
    assert len({rule["alert"] for rule in found}) == len(found) > 10
    for rule in found:
        assert rule["labels"]["severity"] in {"warning", "critical"}
        assert rule["annotations"]["summary"]
        # What Prometheus is to fill in has come through Helm's own templates.
        assert (
            "{{" not in rule["annotations"]["summary"]
            or "{{ $labels." in rule["annotations"]["summary"]
        )


def test_what_an_alert_quotes_is_left_by_its_expression() -> None:
    for rule in rules():
        for label in re.findall(r"\$labels\.([a-z_]+)", json.dumps(rule["annotations"])):
            assert re.search(rf"by \([^)]*\b{label}\b", rule["expr"]), rule


def test_panels_do_not_overlap_and_have_their_own_ids() -> None:
    panels = dashboard()["panels"]
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        assert place["x"] + place["w"] <= 24
        taken |= cells
    assert len({panel["id"] for panel in panels}) == len(panels)


def test_every_panel_is_asked_of_the_chosen_prometheus_and_has_a_unit() -> None:
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


def test_every_query_of_a_panel_has_a_name_of_its_own_and_known_variables() -> None:
    board = dashboard()
    known = {variable["name"] for variable in board["templating"]["list"]} | {"__rate_interval"}
    for panel in board["panels"]:
        targets = panel.get("targets", [])
        assert len({target["refId"] for target in targets}) == len(targets), panel["title"]
        for target in targets:
            assert target["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
            assert set(re.findall(r"\$\{?(\w+)", target["expr"])) <= known, panel["title"]
            # What a legend quotes is left by the expression: summed up by it, or not summed up at all.
            for label in re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]):
                summed = re.search(r"\bby \(([^)]*)\)", target["expr"])
                assert summed is None or label in summed[1].split(", "), panel["title"]


def test_panels_are_in_the_row_that_they_belong_to() -> None:
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


def test_the_list_of_the_apps_metrics_is_sorted() -> None:
    listed = Path(APP_METRICS).read_text().split()
    assert listed == sorted(set(listed))
