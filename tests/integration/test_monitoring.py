"""Prometheus of `inv up --monitoring` reads the apps and the alerts, and answers the dashboard."""

from __future__ import annotations

import json
import re
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import pytest
import requests
from kafka import KafkaProducer

from delivery.host.docker_api import Engine
from delivery.project.files import ROOT
from delivery.records.ledger import Ledger
from tests import yaml_strict
from tests.integration.conftest import Platform
from tests.load.generator import event
from tests.waiting import wait_for

pytestmark = pytest.mark.engine

CHART = ROOT / "platform-chart"
# The values of the dashboard's variables; a rate needs two readings, a second apart.
VARIABLES = {"$namespace": "local", "$__rate_interval": "1m"}
METRIC = re.compile(r"\b([a-z][a-z0-9_]*)\{([^}]*)\}")
LABEL = re.compile(r"\b([a-z_]+)(?:=~|!~|!=|=)")


@dataclass(frozen=True)
class Query:
    """An expression of the dashboard or of an alert."""

    # The panel or alert, as the test's id.
    name: str
    expression: str

    def __str__(self) -> str:
        return self.name


def dashboard() -> list[Query]:
    """Every expression of the dashboard, with values for its variables."""
    queries = []
    text = (CHART / "dashboards" / "platform.json").read_text(encoding="utf-8")
    for panel in json.loads(text)["panels"]:
        for target in panel.get("targets", []):
            expression = target["expr"]
            for variable, value in VARIABLES.items():
                expression = expression.replace(variable, value)
            queries.append(Query(f"{panel['title']} {target['refId']}", expression))
    return queries


def alerts() -> list[dict[str, Any]]:
    text = (ROOT / "ops" / "monitoring" / "rules.yaml").read_text(encoding="utf-8")
    (group,) = yaml_strict.load(text)["groups"]
    return list(group["rules"])


# No proxy runs; platform-chart's tests query a real one.
PANELS = [query for query in dashboard() if "haproxy_" not in query.expression]
ALERTS = [Query(rule["alert"], rule["expr"]) for rule in alerts()]


@dataclass(frozen=True)
class Monitored:
    """The platform, and requests to its Prometheus."""

    platform: Platform

    def get(self, path: str, **parameters: str) -> Any:  # as many kinds as there are calls
        """The data that Prometheus' API answers with; any error fails the test."""
        address = f"http://127.0.0.1:{self.platform.ports['PROMETHEUS_PORT']}/api/v1/{path}"
        answer = requests.get(address, params=parameters, timeout=10)
        assert answer.json()["status"] == "success", answer.text
        return answer.json()["data"]

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The present series of an expression."""
        return list(self.get("query", query=expression)["result"])

    def report_no_drift(self) -> None:
        """Report an environment without drift, which is measured from then on."""
        report = {"environment": "monitored", "found": []}
        requests.post(f"{self.api}/drift", json=report, timeout=10).raise_for_status()

    @property
    def api(self) -> str:
        """The address of api-rest."""
        return f"http://127.0.0.1:{self.platform.ports['API_PORT']}"

    def post_invalid(self) -> None:
        """Send an invalid message, which becomes a dead letter."""
        broker = f"localhost:{self.platform.ports['KAFKA_PORT']}"
        with closing(KafkaProducer(bootstrap_servers=broker, acks="all")) as producer:
            producer.send("deployments", b"no event").get(timeout=30)


@pytest.fixture(scope="module")
def monitored(platform: Platform) -> Monitored:
    """The platform, after traffic that Prometheus has read."""
    monitored = Monitored(platform)
    monitored.post_invalid()
    monitored.report_no_drift()
    make_traffic(monitored)
    return monitored


def make_traffic(monitored: Monitored) -> None:
    """Post events until Prometheus has seen the counters grow, which needs two readings."""
    ledger = Ledger(monitored.api)

    def seen() -> bool:
        ledger.post(event("monitored", 1))
        stored = monitored.query('increase(worker_messages_total{outcome="stored"}[1m]) > 0')
        posted = monitored.query('increase(http_requests_total{route="/deployments"}[1m]) > 0')
        others = ("worker_dead_letters_total", "api_rest_drifted_fields")
        return bool(stored and posted and all(map(monitored.query, others)))

    wait_for("Prometheus to have seen the traffic", seen)


def test_both_apps_are_read(monitored: Monitored) -> None:
    targets = monitored.get("targets", state="active")["activeTargets"]
    assert {
        target["labels"].get("pod"): (target["health"], target["lastError"]) for target in targets
    } == {
        "api-rest": ("up", ""),
        "async-worker": ("up", ""),
        None: ("up", ""),  # itself
    }


def test_the_alerts_are_loaded_and_evaluated(monitored: Monitored) -> None:
    def loaded() -> list[dict[str, Any]]:
        (group,) = monitored.get("rules")["groups"]
        return list(group["rules"])

    wait_for(
        "every alert to be evaluated", lambda: all(rule["health"] != "unknown" for rule in loaded())
    )
    assert {rule["name"]: (rule["health"], rule.get("lastError", "")) for rule in loaded()} == {
        rule["alert"]: ("ok", "") for rule in alerts()
    }


def test_only_the_alert_on_dead_letters_fires(monitored: Monitored) -> None:
    wait_for(
        "the alert on dead letters",
        lambda: bool(
            monitored.query('ALERTS{alertname="WorkerPutsAsideMessages", alertstate="firing"}')
        ),
    )
    firing = {
        alert["metric"]["alertname"] for alert in monitored.query('ALERTS{alertstate="firing"}')
    }
    assert firing == {"WorkerPutsAsideMessages"}


@pytest.mark.parametrize("query", ALERTS, ids=str)
def test_every_metric_and_label_of_an_alert_exists(monitored: Monitored, query: Query) -> None:
    used = METRIC.findall(query.expression)
    assert used
    for metric, selector in used:
        series = monitored.get("series", **{"match[]": f'{metric}{{namespace="local"}}'})
        assert series, f"{metric} is not measured"
        labels = set(LABEL.findall(selector))
        # The labels of selectors and of `by (...)`; `le` is a histogram's own.
        for group in re.findall(r"by \(([^)]*)\)", query.expression):
            labels |= {label.strip() for label in group.split(",")}
        missing = labels - set().union(*series)
        assert not missing, f"{metric} has no label {missing}"


@pytest.mark.parametrize("query", PANELS, ids=str)
def test_every_panel_of_the_apps_shows_something(monitored: Monitored, query: Query) -> None:
    assert monitored.query(query.expression), query.expression


def test_the_dashboard_lists_the_namespace(monitored: Monitored) -> None:
    assert monitored.get("label/namespace/values", **{"match[]": "worker_ready"}) == ["local"]


def test_prometheus_can_write_only_its_data(monitored: Monitored, engine: Engine) -> None:
    name = f"{monitored.platform.environment['COMPOSE_PROJECT_NAME']}-prometheus-1"
    attributes = engine.client.containers.get(name).attrs
    assert attributes["Config"]["User"] == "65534:65534"
    assert attributes["HostConfig"]["ReadonlyRootfs"]
    assert attributes["HostConfig"]["CapDrop"] == ["ALL"]
    assert attributes["HostConfig"]["PortBindings"]["9090/tcp"][0]["HostIp"] == "127.0.0.1"
    assert [mount["Destination"] for mount in attributes["Mounts"] if mount["RW"]] == [
        "/prometheus"
    ]
