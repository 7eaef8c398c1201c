import re
from pathlib import Path
from types import SimpleNamespace

import pytest
from api_rest.drift_reports import Drifted
from api_rest.lag import LagMonitor
from api_rest.metrics import Metrics


def lines(metrics: Metrics) -> set[str]:
    return set(metrics.render("")[1].decode().splitlines())


def test_requests_are_counted_and_timed_by_route() -> None:
    metrics = Metrics("1.2.3")
    metrics.observe("GET", "/deployments/{event_id}", 200, 0.003)
    metrics.observe("GET", "/deployments/{event_id}", 200, 0.03)
    metrics.observe("GET", "/deployments/{event_id}", 404, 0.3)
    labels = 'method="GET",route="/deployments/{event_id}"'
    assert {
        f'http_requests_total{{{labels},status="200"}} 2.0',
        f'http_requests_total{{{labels},status="404"}} 1.0',
        f"http_request_duration_seconds_count{{{labels}}} 3.0",
        f'http_request_duration_seconds_bucket{{le="0.005",{labels}}} 1.0',
        'api_rest_build_info{version="1.2.3"} 1.0',
    } <= lines(metrics)


def test_unknown_methods_share_a_series() -> None:
    metrics = Metrics("1")
    for method in ("A", "B", "C"):
        metrics.observe(method, "none", 405, 0.0)
    assert 'http_requests_total{method="other",route="none",status="405"} 3.0' in lines(metrics)


def test_server_metrics_are_current() -> None:
    metrics = Metrics("1")
    server = SimpleNamespace(queued=1, connections=2, counters={"stalled": 3})
    metrics.watch(server)
    server.queued = 5
    assert {
        "http_queued_requests 5.0",
        "http_connections 2.0",
        'http_refused_total{reason="stalled"} 3.0',
    } <= lines(metrics)


def test_backend_metrics_are_current() -> None:
    metrics = Metrics("1")
    well = {"kafka": True, "database": False}
    metrics.watch_backends(well)
    assert {
        'api_rest_backend_up{backend="kafka"} 1.0',
        'api_rest_backend_up{backend="database"} 0.0',
    } <= lines(metrics)
    well["kafka"] = False
    assert 'api_rest_backend_up{backend="kafka"} 0.0' in lines(metrics)


def test_lag_metrics_are_nan_without_a_sample() -> None:
    metrics, lag = Metrics("1"), LagMonitor()
    metrics.watch_lag(lag)
    assert {"api_rest_store_waiting_events NaN", "api_rest_store_delay_seconds NaN"} <= lines(
        metrics
    )
    lag.sample({0: 7}, {0: 5})
    assert {"api_rest_store_waiting_events 2.0", "api_rest_store_delay_seconds 0.0"} <= lines(
        metrics
    )


def test_two_instances_do_not_collide() -> None:
    Metrics("1").watch(SimpleNamespace(queued=0, connections=0, counters={}))
    Metrics("1").watch(SimpleNamespace(queued=0, connections=0, counters={}))


@pytest.mark.parametrize(
    ("accept", "media_type"),
    [
        ("", "text/plain"),
        ("text/html", "text/plain"),
        ("application/openmetrics-text;version=1.0.0", "application/openmetrics-text"),
    ],
)
def test_the_format_is_one_that_the_client_accepts(accept: str, media_type: str) -> None:
    content_type, body = Metrics("1").render(accept)
    assert content_type.partition(";")[0] == media_type
    assert body.endswith(b"# EOF\n") == (media_type != "text/plain")


def test_the_readme_names_every_metric() -> None:
    metrics = Metrics("1")
    metrics.watch(SimpleNamespace(queued=0, connections=0, counters={"stalled": 0}))
    metrics.watch_backends({"kafka": True})
    metrics.watch_lag(LagMonitor())
    metrics.watch_drift(Drifted())
    metrics.observe("GET", "/", 200, 0.1)
    declared = re.findall(r"^# TYPE (\S+) (\S+)$", metrics.render("")[1].decode(), re.MULTILINE)
    ours = {entry for entry in declared if not entry[0].startswith(("process_", "python_gc_"))}
    readme = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
    assert (
        set(re.findall(r"^\| `(\w+)` \| (counter|gauge|histogram) \|", readme, re.MULTILINE))
        == ours
    )


def test_drift_is_counted_by_environment() -> None:
    metrics, drifted = Metrics("1"), Drifted()
    metrics.watch_drift(drifted)
    assert not any(line.startswith("api_rest_drifted_fields{") for line in lines(metrics))
    drifted.by_environment = {"staging": 2, "production": 0}
    assert {
        'api_rest_drifted_fields{environment="staging"} 2.0',
        'api_rest_drifted_fields{environment="production"} 0.0',
    } <= lines(metrics)
