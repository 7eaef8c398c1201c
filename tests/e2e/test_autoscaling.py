"""The comments example scales from 3 to 6 pods under load and back, by metrics-server."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from delivery import process
from tests.e2e.addons import METRICS_SERVER, installed
from tests.e2e.cluster import Cluster, wait_for
from tests.e2e.conftest import Say
from tests.e2e.platform import API, Platform
from tests.e2e.traffic import client_pod

pytestmark = [pytest.mark.engine, pytest.mark.cluster, pytest.mark.compiled]

# Answers each request after a little work.
APP = """
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

class Comments(BaseHTTPRequestHandler):
    def do_GET(self):
        for number in range(20_000):
            sha256(b"%d" % number).digest()
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_):
        pass

ThreadingHTTPServer(("", 8000), Comments).serve_forever()
"""
# Eight clients without a pause between requests.
LOAD = """
import threading, time, urllib.request

def ask():
    while True:
        try:
            urllib.request.urlopen("http://comments-api", timeout=10).close()
        except OSError:
            time.sleep(0.1)

for _ in range(8):
    threading.Thread(target=ask).start()
"""
# A busy machine gives the pods less than they may use: they ask for less than in the example.
VALUES = {
    "components.api.command": ["/usr/bin/python3", "-c", APP],
    "components.api.resources": {"requests": {"cpu": "40m"}, "limits": {"cpu": "200m"}},
    # Five minutes by default.
    "components.api.scaling.behavior": {"scaleDown": {"stabilizationWindowSeconds": 10}},
}


@pytest.fixture(scope="module")
def comments(platform: Platform, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """The example with an app of the API's image."""
    chart = platform.checkout.folder / "platform-chart"
    repository, _, digest = platform.image(API).partition("@")
    values = VALUES | {"components.api.image": {"repository": repository, "digest": digest}}
    options = [f"--set-json={path}={json.dumps(value)}" for path, value in values.items()]
    file = process.csv_line(chart / "examples" / "comments.yaml")
    with (
        platform.cluster.elsewhere("comments", "comments") as cluster,
        installed(platform, METRICS_SERVER, tmp_path_factory.mktemp("metrics-server")),
    ):
        cluster.helm("install", "comments", str(chart), f"--values={file}", *options, "--wait")
        yield cluster


def ready(cluster: Cluster) -> int:
    """How many pods of the app are ready and stay."""
    return sum(pod.ready and not pod.terminating for pod in cluster.pods("api"))


def test_it_scales_from_3_to_6_under_load_and_back(
    platform: Platform, comments: Cluster, say: Say
) -> None:
    wait_for("3 pods without load", lambda: ready(comments) == 3)
    wait_for("the autoscaler to know the load", lambda: utilisation(comments) is not None)
    load = ["/usr/bin/python3", "-c", LOAD]
    with client_pod(platform, "load", load, {}, comments):
        seconds = wait_for("6 pods under load", lambda: ready(comments) == 6, seconds=300)
        say(f"3 to 6 pods: {seconds:.0f} s, at {utilisation(comments)} % of the requested CPU")
    seconds = wait_for("3 pods after the load", lambda: ready(comments) == 3, seconds=300)
    say(f"6 to 3 pods: {seconds:.0f} s")


def utilisation(cluster: Cluster) -> int | None:
    """The average CPU of the pods in per cent of their request, as the autoscaler knows it."""
    status = cluster.get_one("horizontalpodautoscaler", "comments-api").get("status", {})
    values = [
        metric["resource"]["current"].get("averageUtilization")
        for metric in status.get("currentMetrics") or ()
        if metric.get("type") == "Resource"
    ]
    return next(iter(values), None)
