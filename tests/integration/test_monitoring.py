"""Prometheus of `inv up --monitoring` has the apps' metrics, the alerts and the dashboard."""

from __future__ import annotations

import json
import re
import subprocess
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import pytest
import requests
from kafka import KafkaProducer

from delivery import process
from delivery.host import programs
from delivery.host.docker_api import Engine
from delivery.project.files import ROOT
from tests import yaml_strict
from tests.integration.conftest import Platform
from tests.waiting import wait_for

pytestmark = pytest.mark.engine

PATIENCE = 60.0
CHART = ROOT / "platform-chart"
# What the variables of the dashboard stand for here; a rate needs two readings, a second apart.
STANDS_FOR = {"$namespace": "local", "$__rate_interval": "1m"}
METRIC = re.compile(r"\b([a-z][a-z0-9_]*)\{([^}]*)\}")
LABEL = re.compile(r"\b([a-z_]+)(?:=~|!~|!=|=)")


@dataclass(frozen=True)
class Asked:
    """An expression of the dashboard or of an alert, and whose it is."""

    whose: str
    expression: str

    def __str__(self) -> str:
        return self.whose


def dashboard() -> list[Asked]:
    """Every expression of the dashboard, with its variables filled in."""
    found = []
    for panel in json.loads((CHART / "dashboards" / "platform.json").read_text(encoding="utf-8"))[
        "panels"
    ]:
        for target in panel.get("targets", []):
            expression = target["expr"]
            for variable, value in STANDS_FOR.items():
                expression = expression.replace(variable, value)
            found.append(Asked(f"{panel['title']} {target['refId']}", expression))
    return found


def alerts() -> list[dict[str, Any]]:
    (group,) = yaml_strict.load(
        (ROOT / "ops" / "monitoring" / "rules.yaml").read_text(encoding="utf-8")
    )["groups"]
    found: list[dict[str, Any]] = group["rules"]
    return found


PANELS = dashboard()
ALERTS = [Asked(rule["alert"], rule["expr"]) for rule in alerts()]
OF_THE_PROXY = [one for one in PANELS if "haproxy_" in one.expression]
OF_THE_APPS = [one for one in (*PANELS, *ALERTS) if one not in OF_THE_PROXY]


@dataclass(frozen=True)
class Monitored:
    """The second platform, and what is asked of its Prometheus."""

    platform: Platform

    def ask(self, path: str, **parameters: str) -> Any:  # as many kinds as there are calls
        """What Prometheus' API answers; anything but success fails the test."""
        address = f"http://127.0.0.1:{self.platform.ports['PROMETHEUS_PORT']}/api/v1/{path}"
        answer = requests.get(address, params=parameters, timeout=10)
        assert answer.json()["status"] == "success", answer.text
        return answer.json()["data"]

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The series that an expression has now."""
        found: list[dict[str, Any]] = self.ask("query", query=expression)["result"]
        return found

    def post(self) -> None:
        """Record an event."""
        event = dict.fromkeys(("component", "version", "environment", "responsible"), "monitored")
        event |= {"stage": "verify", "status": "succeeded"}
        address = f"http://127.0.0.1:{self.platform.ports['API_PORT']}/deployments"
        assert requests.post(address, json=event, timeout=10).status_code == 202

    def put_aside(self) -> None:
        """Send what no worker can process."""
        broker = f"localhost:{self.platform.ports['KAFKA_PORT']}"
        with closing(KafkaProducer(bootstrap_servers=broker, acks="all")) as producer:
            producer.send("deployments", b"no event").get(timeout=30)


@pytest.fixture(scope="module")
def monitored(platform: Platform) -> Monitored:
    """The platform after some traffic that Prometheus has read."""
    made = Monitored(platform)
    made.put_aside()
    traffic(made)
    return made


def traffic(made: Monitored) -> None:
    """Post until Prometheus has seen the counters grow, which takes two readings."""

    def seen() -> bool:
        made.post()
        stored = made.query('increase(worker_messages_total{outcome="stored"}[1m]) > 0')
        posted = made.query('increase(http_requests_total{route="/deployments"}[1m]) > 0')
        return bool(stored and posted and made.query("worker_dead_letters_total"))

    wait_for("Prometheus to have seen the traffic", seen, seconds=PATIENCE)


def test_both_apps_are_read(monitored: Monitored) -> None:
    targets = monitored.ask("targets", state="active")["activeTargets"]
    assert {one["labels"].get("pod"): (one["health"], one["lastError"]) for one in targets} == {
        "api-rest": ("up", ""),
        "async-worker": ("up", ""),
        None: ("up", ""),  # itself
    }


def test_the_alerts_are_loaded_and_evaluated(monitored: Monitored) -> None:
    def loaded() -> list[dict[str, Any]]:
        (group,) = monitored.ask("rules")["groups"]
        found: list[dict[str, Any]] = group["rules"]
        return found

    wait_for(
        "every alert to be evaluated", lambda: all(rule["health"] != "unknown" for rule in loaded())
    )
    assert {rule["name"]: (rule["health"], rule.get("lastError", "")) for rule in loaded()} == {
        rule["alert"]: ("ok", "") for rule in alerts()
    }


def test_nothing_is_wrong_but_what_was_put_aside(monitored: Monitored) -> None:
    wait_for(
        "the alert on what was put aside",
        lambda: bool(
            monitored.query('ALERTS{alertname="WorkerPutsAsideMessages", alertstate="firing"}')
        ),
        seconds=PATIENCE,
    )
    firing = {one["metric"]["alertname"] for one in monitored.query('ALERTS{alertstate="firing"}')}
    assert firing == {"WorkerPutsAsideMessages"}


@pytest.mark.parametrize("asked", OF_THE_APPS, ids=str)
def test_every_metric_and_label_in_an_expression_is_there(
    monitored: Monitored, asked: Asked
) -> None:
    used = METRIC.findall(asked.expression)
    assert used
    for metric, selector in used:
        series = monitored.ask("series", **{"match[]": f'{metric}{{namespace="local"}}'})
        assert series, f"{metric} is not measured"
        wanted = set(LABEL.findall(selector))
        # What is summed up by a label, and what a selector asks for; `le` is a histogram's own.
        for labels in re.findall(r"by \(([^)]*)\)", asked.expression):
            wanted |= {label.strip() for label in labels.split(",")}
        assert wanted <= set().union(*series), (
            f"{metric} has no label {wanted - set().union(*series)}"
        )


@pytest.mark.parametrize("asked", OF_THE_PROXY, ids=str)
def test_prometheus_understands_what_is_asked_of_the_proxy(
    monitored: Monitored, asked: Asked
) -> None:
    assert (
        monitored.query(asked.expression) == []
    )  # none runs here; platform-chart's tests ask a real one


@pytest.mark.parametrize("asked", [one for one in PANELS if one not in OF_THE_PROXY], ids=str)
def test_every_panel_of_the_apps_shows_something(monitored: Monitored, asked: Asked) -> None:
    assert monitored.query(asked.expression), asked.expression


def test_the_dashboards_list_of_namespaces_has_this_one(monitored: Monitored) -> None:
    assert monitored.ask("label/namespace/values", **{"match[]": "worker_ready"}) == ["local"]


def test_prometheus_can_change_nothing_but_its_data(monitored: Monitored, engine: Engine) -> None:
    name = f"{monitored.platform.environment['COMPOSE_PROJECT_NAME']}-prometheus-1"
    attributes = engine.client.containers.get(name).attrs
    assert attributes["Config"]["User"] == "65534:65534"
    assert attributes["HostConfig"]["ReadonlyRootfs"]
    assert attributes["HostConfig"]["CapDrop"] == ["ALL"]
    assert attributes["HostConfig"]["PortBindings"]["9090/tcp"][0]["HostIp"] == "127.0.0.1"
    assert [mount["Destination"] for mount in attributes["Mounts"] if mount["RW"]] == [
        "/prometheus"
    ]


def run(*argv: str) -> str:
    """What a command prints in this clone."""
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, f"{' '.join(argv)}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def test_it_is_no_part_of_the_platform_unless_asked_for() -> None:
    files = ("--file", "docker-compose.yaml", "--file", "ops/docker-compose.apps.yaml")
    plain = run("docker", "compose", *files, "config", "--services")
    assert sorted(plain.split()) == ["api-rest", "async-worker", "database", "kafka"]


def rendered(*options: str) -> list[dict[str, Any]]:
    """What helm renders of the chart."""
    argv = ["template", "platform", str(CHART), "--namespace", "local", *options]
    return yaml_strict.load_all(run(programs.ensure("helm"), *argv))


def test_the_charts_values_for_traces_reach_both_apps() -> None:
    documents = rendered(
        f"--values={process.csv_line(ROOT / 'ops' / 'monitoring' / 'traces-values.yaml')}"
    )
    for app in ("api-rest", "async-worker"):
        (config,) = [
            one
            for one in documents
            if one["kind"] == "ConfigMap"
            and one["metadata"]["name"].startswith(f"platform-{app}")
            and "LOG_LEVEL" in one["data"]
        ]
        assert (
            config["data"]["OTEL_EXPORTER_OTLP_ENDPOINT"]
            == "http://collector.observability.svc:4318"
        )
        (policy,) = [
            one
            for one in documents
            if one["kind"] == "NetworkPolicy" and one["metadata"]["name"] == f"platform-{app}"
        ]
        assert [4318] in [
            [port["port"] for port in rule.get("ports", [])] for rule in policy["spec"]["egress"]
        ]


def test_the_alerts_are_those_that_the_chart_renders_for_helm() -> None:
    (made,) = [
        one
        for one in rendered("--set", "monitoring.rules.enabled=true")
        if one["kind"] == "PrometheusRule"
    ]
    (group,) = made["spec"]["groups"]
    assert [rule for rule in group["rules"] if "haproxy_" not in rule["expr"]] == alerts()
