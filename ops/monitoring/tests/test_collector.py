"""The real OpenTelemetry Collector takes the apps' traces and reads their logs.

Its configuration is that of collector-values.yaml, but for what needs a cluster: the files, the
destinations and the names of pods. COLLECTOR names the program, which
`go build -C ops/monitoring/collector -o FILE .` makes.
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
from tests.ledger.stack import HOST, Stack, running
from tests.ports import free_port
from tests.waiting import wait_for

pytestmark = pytest.mark.engine

TIMEOUT = 60.0
# The kubelet's name of a pod's folder: namespace, name, uid.
POD = "platform_{service}-0_0a1b2c3d-0000-4000-8000-000000000001"


@dataclass(frozen=True)
class Collector:
    """A running collector."""

    # Of OTLP over HTTP.
    port: int
    # Of the logs that it reads, and the files that it writes.
    folder: Path

    def spans(self, trace_id: str) -> list[dict[str, Any]]:
        """The received spans of a trace, each with its service."""
        taken = []
        for batch in self._written("traces", "resourceSpans"):
            service = _attributes(batch["resource"])["service.name"]
            spans = [span for scope in batch["scopeSpans"] for span in scope["spans"]]
            taken += [{**span, "service": service} for span in spans if span["traceId"] == trace_id]
        return taken

    def records(self) -> list[dict[str, Any]]:
        """The log records, each with its attributes and those of its pod."""
        read = []
        for batch in self._written("logs", "resourceLogs"):
            resource = _attributes(batch["resource"])
            records = [record for scope in batch["scopeLogs"] for record in scope["logRecords"]]
            read += [
                {
                    "resource": resource,
                    **_attributes(record),
                    **record,
                    "body": _value(record["body"]),
                }
                for record in records
            ]
        return read

    def logged(self, service: str, lines: list[str]) -> None:
        """Write lines with their times, as the kubelet does."""
        file = self.folder / "pods" / POD.format(service=service) / service / "0.log"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(
            "".join(f"{line.replace(' ', ' stdout F ', 1)}\n" for line in lines), encoding="utf-8"
        )

    def _written(self, name: str, key: str) -> list[dict[str, Any]]:
        file = self.folder / f"{name}.json"
        lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
        return [batch for line in lines for batch in json.loads(line)[key]]


def _value(value: dict[str, Any]) -> Any:
    ((kind, content),) = value.items()
    return int(content) if kind == "intValue" else content


def _attributes(of: dict[str, Any]) -> dict[str, Any]:
    return {entry["key"]: _value(entry["value"]) for entry in of.get("attributes", [])}


def configuration(folder: Path, port: int) -> dict[str, Any]:
    """The configuration of collector-values.yaml, without a cluster."""
    values = yaml_strict.load(
        (ROOT / "ops" / "monitoring" / "collector-values.yaml").read_text(encoding="utf-8")
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
            "COLLECTOR is not set: make it by `go build -C ops/monitoring/collector -o FILE .`"
        )
    folder = tmp_path_factory.mktemp("collector")
    collector = Collector(free_port(), folder)
    file = folder / "config.yaml"
    file.write_text(yaml.safe_dump(configuration(folder, collector.port)), encoding="utf-8")

    def listens() -> bool:
        assert process.poll() is None, (folder / "log").read_text(encoding="utf-8")
        try:
            return (
                requests.post(f"http://localhost:{collector.port}/v1/traces", timeout=5).status_code
                > 0
            )
        except requests.ConnectionError:
            return False

    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([program, "--config", str(file)], stdout=log, stderr=log)
    try:
        wait_for("the collector to listen", listens, seconds=TIMEOUT)
        yield collector
    finally:
        process.terminate()
        process.wait(timeout=30)


@pytest.fixture(scope="module")
def stack(collector: Collector) -> Iterator[Stack]:
    """Both apps, which send their traces to the collector."""
    release = released()
    if release is None:
        pytest.fail("no image of the apps: `./run inv push` publishes them")
    images = {name: image.pinned for name, image in release.images.items()}
    environment = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{HOST}:{collector.port}",
        "OTEL_BSP_SCHEDULE_DELAY": "200",
    }
    with running(
        engines.require(),
        images=images,
        environment=environment,
        services=("api-rest", "async-worker"),
    ) as stack:
        stack.wait_ready("api-rest")
        yield stack


@dataclass(frozen=True)
class Sent:
    """An accepted request: its trace, its span, and the event's id."""

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

    wait_for("spans of both apps", arrived, seconds=TIMEOUT)
    spans = {span["spanId"]: span for span in collector.spans(sent.trace_id)}
    (last,) = [span for span in spans.values() if span["service"] == "async-worker"]
    path = [last]
    while parent := spans.get(path[-1]["parentSpanId"]):
        path.append(parent)
    print(
        "\n".join(
            f"{span['traceId']} {span['service']:12} {span['name']}" for span in reversed(path)
        )
    )
    assert [span["service"] for span in path] == ["async-worker", "api-rest", "api-rest"]
    assert path[-1]["parentSpanId"] == sent.span_id


def test_the_apps_lines_are_read_as_records(collector: Collector, stack: Stack, sent: Sent) -> None:
    def lines() -> list[str]:
        return stack.container("api-rest").logs(timestamps=True).decode().splitlines()

    wait_for(
        "the request's line",
        lambda: any(sent.trace_id in line for line in lines()),
        seconds=TIMEOUT,
    )
    collector.logged("api-rest", lines())

    def records() -> list[dict[str, Any]]:
        return [record for record in collector.records() if record.get("event_id") == sent.event_id]

    wait_for("the request's record", lambda: bool(records()), seconds=TIMEOUT)
    (record,) = records()
    print(
        json.dumps(
            {name: value for name, value in record.items() if name != "attributes"}, indent=2
        )
    )
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
    names = [record["resource"][f"k8s.{name}.name"] for name in ("namespace", "pod", "container")]
    assert names == ["platform", "api-rest-0", "api-rest"]
    # The time is the app's, not that of the line.
    logged = json.loads(next(line for line in lines() if sent.trace_id in line).partition(" ")[2])
    since = datetime.fromisoformat(logged["timestamp"]) - datetime.fromtimestamp(0, UTC)
    assert int(record["timeUnixNano"]) == since // timedelta(microseconds=1) * 1000


@pytest.mark.parametrize(
    "line",
    ["[2026-11-21 21:54:33,585] INFO plain text", '{"no json', '{"msg": "of another program"}'],
)
def test_other_lines_stay_unchanged(collector: Collector, line: str) -> None:
    collector.logged(f"other{abs(hash(line))}", [f"2026-11-21T21:54:33.585Z {line}"])
    wait_for(
        "the line",
        lambda: line in [record["body"] for record in collector.records()],
        seconds=TIMEOUT,
    )
