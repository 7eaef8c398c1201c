"""The real OpenTelemetry Collector, by the configuration of collector-values.yaml, takes the apps' traces and reads their logs.

COLLECTOR names the program: `go build -C ops/monitoring/collector -o FILE .` makes it. Of the
configuration only what needs a cluster
is another here: where the files are, where it all goes, and the names of pods.
"""

from __future__ import annotations

import json
import os
import secrets
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

from delivery.host import engines
from delivery.platform.lifecycle import released
from delivery.project.files import ROOT
from tests import yaml_strict
from tests.integration.conftest import free_port
from tests.ledger.stack import HOST, Stack, running
from tests.waiting import wait_for

pytestmark = pytest.mark.engine

PATIENCE = 60.0
POD = "platform_{service}-0_0a1b2c3d-0000-4000-8000-000000000001"  # as the kubelet calls a pod's folder: namespace, name, uid


@dataclass(frozen=True)
class Collector:
    """A collector that runs: the port of its OTLP over HTTP, where it reads logs, and what it writes."""

    port: int
    folder: Path

    def spans(self, trace_id: str) -> list[dict[str, Any]]:
        """The spans of a trace that were taken, each with its service."""
        found = []
        for batch in self._written("traces", "resourceSpans"):
            service = _attributes(batch["resource"])["service.name"]
            spans = [span for scope in batch["scopeSpans"] for span in scope["spans"]]
            found += [{**span, "service": service} for span in spans if span["traceId"] == trace_id]
        return found

    def records(self) -> list[dict[str, Any]]:
        """The log records that were read, each with its attributes and its pod's as plain values."""
        found = []
        for batch in self._written("logs", "resourceLogs"):
            resource = _attributes(batch["resource"])
            records = [record for scope in batch["scopeLogs"] for record in scope["logRecords"]]
            found += [
                {
                    "resource": resource,
                    **_attributes(record),
                    **record,
                    "body": _value(record["body"]),
                }
                for record in records
            ]
        return found

    def logged(self, service: str, lines: list[str]) -> None:
        """Write lines, each behind its time, as the kubelet has them."""
        file = self.folder / "pods" / POD.format(service=service) / service / "0.log"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(
            "".join(f"{line.replace(' ', ' stdout F ', 1)}\n" for line in lines), encoding="utf-8"
        )

    def _written(self, name: str, key: str) -> list[dict[str, Any]]:
        file = self.folder / f"{name}.json"
        lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
        return [batch for line in lines for batch in json.loads(line)[key]]


def _value(value: dict[str, Any]) -> Any:  # as many kinds as OTLP has
    ((kind, held),) = value.items()
    return int(held) if kind == "intValue" else held


def _attributes(of: dict[str, Any]) -> dict[str, Any]:
    return {one["key"]: _value(one["value"]) for one in of.get("attributes", [])}


def configuration(folder: Path, port: int) -> dict[str, Any]:
    """What collector-values.yaml says, without a cluster."""
    values = yaml_strict.load(
        (ROOT / "monitoring" / "collector-values.yaml").read_text(encoding="utf-8")
    )["config"]
    pipelines = values["service"]["pipelines"]
    for name in ("logs", "traces"):
        pipelines[name]["processors"].remove("k8sattributes")
        pipelines[name]["exporters"] = [f"file/{name}"]
    otlp = {"protocols": {"http": {"endpoint": f"0.0.0.0:{port}"}}}
    files = {
        "include": [f"{folder}/pods/*/*/*.log"],
        "start_at": "beginning",
        "include_file_path": True,
    }
    return {
        "receivers": {"otlp": otlp, "filelog": {**files, **values["receivers"]["filelog"]}},
        "processors": {**values["processors"], "batch": {}},
        "exporters": {
            f"file/{name}": {"path": f"{folder}/{name}.json"} for name in ("logs", "traces")
        },
        "service": {
            "pipelines": {name: pipelines[name] for name in ("logs", "traces")},
            "telemetry": {"metrics": {"level": "none"}},
        },
    }


@pytest.fixture(scope="module")
def collector(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Collector]:
    program = os.environ.get("COLLECTOR")
    if not program:
        pytest.fail(
            "COLLECTOR is not set: `go build -C ops/monitoring/collector -o FILE .` makes the program that it is to name"
        )
    folder = tmp_path_factory.mktemp("collector")
    made = Collector(free_port(), folder)
    file = folder / "config.yaml"
    file.write_text(yaml.safe_dump(configuration(folder, made.port)), encoding="utf-8")

    def listens() -> bool:
        assert process.poll() is None, (folder / "said").read_text(encoding="utf-8")
        try:
            return (
                requests.post(f"http://localhost:{made.port}/v1/traces", timeout=5).status_code > 0
            )
        except requests.ConnectionError:
            return False

    with (folder / "said").open("wb") as said:
        process = subprocess.Popen([program, "--config", str(file)], stdout=said, stderr=said)
    try:
        wait_for("the collector to listen", listens, seconds=PATIENCE)
        yield made
    finally:
        process.terminate()
        process.wait(timeout=30)


@pytest.fixture(scope="module")
def stack(collector: Collector, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Both apps, which send their traces to it."""
    release = released()
    if release is None:
        pytest.fail("no image of the apps: `./run inv push` publishes them")
    images = {name: image.pinned for name, image in release.images.items()}
    told = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{HOST}:{collector.port}",
        "OTEL_BSP_SCHEDULE_DELAY": "200",
    }
    name, folder = f"collector-test-{secrets.token_hex(4)}", tmp_path_factory.mktemp("stack")
    with running(
        engines.require(),
        name,
        folder,
        images=images,
        environment=told,
        services=("api-rest", "async-worker"),
    ) as made:
        made.wait_ready("api-rest")
        yield made


@dataclass(frozen=True)
class Sent:
    """A request that was answered: the trace it was part of, its span there, and the event's id."""

    trace_id: str
    span_id: str
    event_id: str


@pytest.fixture(scope="module")
def sent(stack: Stack) -> Sent:
    trace_id, span_id = secrets.token_hex(16), secrets.token_hex(8)
    event = dict.fromkeys(("component", "version", "environment", "responsible"), "traced")
    host, port = stack.address("api-rest")
    answer = requests.post(
        f"http://{host}:{port}/deployments",
        json={**event, "stage": "verify", "status": "succeeded"},
        headers={"traceparent": f"00-{trace_id}-{span_id}-01", "X-Request-ID": "collected"},
        timeout=10,
    )
    assert answer.status_code == 202
    return Sent(trace_id, span_id, answer.json()["id"])


def test_one_trace_leads_from_the_request_through_kafka_to_the_worker(
    collector: Collector, sent: Sent
) -> None:
    def arrived() -> bool:
        return {span["service"] for span in collector.spans(sent.trace_id)} == {
            "api-rest",
            "async-worker",
        }

    wait_for("spans of both apps", arrived, seconds=PATIENCE)
    spans = {span["spanId"]: span for span in collector.spans(sent.trace_id)}
    (last,) = [span for span in spans.values() if span["service"] == "async-worker"]
    way = [last]
    while parent := spans.get(way[-1]["parentSpanId"]):
        way.append(parent)
    print(  # noqa: T201
        "\n".join(
            f"{span['traceId']} {span['service']:12} {span['name']}" for span in reversed(way)
        )
    )  # to be shown
    assert [span["service"] for span in way] == ["async-worker", "api-rest", "api-rest"]
    assert way[-1]["parentSpanId"] == sent.span_id


def test_the_apps_lines_are_read_as_what_they_say(
    collector: Collector, stack: Stack, sent: Sent
) -> None:
    def lines() -> list[str]:
        return stack.container("api-rest").logs(timestamps=True).decode().splitlines()

    wait_for(
        "the request's line",
        lambda: any(sent.trace_id in line for line in lines()),
        seconds=PATIENCE,
    )
    collector.logged("api-rest", lines())

    def found() -> list[dict[str, Any]]:
        return [one for one in collector.records() if one.get("event_id") == sent.event_id]

    wait_for("the request's record", lambda: bool(found()), seconds=PATIENCE)
    (record,) = found()
    print(  # noqa: T201
        json.dumps(
            {name: value for name, value in record.items() if name != "attributes"}, indent=2
        )
    )  # to be shown
    assert (record["body"], record["severityText"], record["severityNumber"]) == (
        "request",
        "info",
        9,
    )
    assert (record["request_id"], record["traceId"], record["status"]) == (
        "collected",
        sent.trace_id,
        202,
    )
    place = [record["resource"][f"k8s.{name}.name"] for name in ("namespace", "pod", "container")]
    assert place == ["platform", "api-rest-0", "api-rest"]
    # The time is the app's own, not the one at which the line was written.
    said = json.loads(next(line for line in lines() if sent.trace_id in line).partition(" ")[2])
    since = datetime.fromisoformat(said["timestamp"]) - datetime.fromtimestamp(0, UTC)
    assert int(record["timeUnixNano"]) == since // timedelta(microseconds=1) * 1000


@pytest.mark.parametrize(
    "line",
    ["[2026-11-21 21:54:33,585] INFO plain text", '{"no json', '{"msg": "of another program"}'],
)
def test_what_is_not_the_apps_stays_as_it_is(collector: Collector, line: str) -> None:
    collector.logged(f"other{abs(hash(line))}", [f"2026-11-21T21:54:33.585Z {line}"])
    wait_for(
        "the line", lambda: line in [one["body"] for one in collector.records()], seconds=PATIENCE
    )
