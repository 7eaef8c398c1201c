"""What a deploy would change, and what runs: diff, render, status, logs and open."""

from __future__ import annotations

import json
import re
import signal
import sys
from pathlib import Path

import pytest
import requests

from tests.commands import running
from tests.e2e.cluster import wait_for
from tests.e2e.platform import API, Platform, output_of

pytestmark = [pytest.mark.engine, pytest.mark.cluster]

ENVIRONMENT = ["--environment", "local"]
CHANGED = 3
SECONDS = 120


def test_nothing_differs_after_a_deploy_and_a_change_by_hand_does(platform: Platform) -> None:
    platform.cluster.settle()
    inv, cluster = platform.checkout.inv, platform.cluster
    revisions = cluster.revisions()
    assert "none differs" in output_of(inv("diff", *ENVIRONMENT))
    label = "app.kubernetes.io/part-of"
    with platform.changed_by_hand(label):
        found = inv("deploy", *ENVIRONMENT, "--dry-run")
    assert f"-    {label}: by-hand" in found.stdout
    assert found.returncode == CHANGED
    assert cluster.revisions() == revisions


def test_a_change_of_the_values_is_shown_without_a_value_of_a_secret(platform: Platform) -> None:
    values = platform.checkout.folder / "platform-chart" / "values-local.yaml"
    before = values.read_text(encoding="utf-8")
    file = platform.checkout.folder / ".delivery" / "diff.json"
    token = platform.token
    try:
        values.write_text(f"{before}\nextraObjects:\n- {json.dumps(SECRET)}\n", encoding="utf-8")
        found = platform.checkout.inv("diff", *ENVIRONMENT, "--json", "--file", str(file))
        rendered = output_of(platform.checkout.inv("render", *ENVIRONMENT))
    finally:
        values.write_text(before, encoding="utf-8")
    assert found.returncode == CHANGED, found.stdout
    objects = json.loads(file.read_text(encoding="utf-8"))["objects"]
    assert [(each["name"], each["change"]) for each in objects] == [("Secret/more", "new")]
    assert "SECRET-VALUE" not in found.stdout + file.read_text(encoding="utf-8")
    assert "SECRET-VALUE" in rendered
    assert token not in found.stdout


SECRET = {
    "apiVersion": "v1",
    "kind": "Secret",
    "metadata": {"name": "more"},
    "stringData": {"key": "SECRET-VALUE"},
}


def test_status_and_logs_are_those_of_the_pods(platform: Platform) -> None:
    platform.cluster.settle()
    pod = platform.cluster.pods(API)[0].name
    assert pod in output_of(platform.checkout.inv("status", *ENVIRONMENT))
    logs = output_of(platform.checkout.inv("logs", *ENVIRONMENT, "--component", API, "--tail", "3"))
    assert f"{pod}/{API} " in logs


def test_open_serves_the_page_until_ctrl_c(platform: Platform, tmp_path: Path) -> None:
    argv, log = [sys.executable, "-m", "delivery", "open", *ENVIRONMENT], tmp_path / "log"
    environment = {**platform.checkout.environment, "PYTHONUNBUFFERED": "1"}
    with running(argv, platform.checkout.folder, environment, log) as task:
        wait_for("an address", lambda: "http://" in log.read_text() or task.poll() is not None)
        address = re.search(r": (http://\S+)", log.read_text())
        assert address, log.read_text()
        assert "<title>" in requests.get(address[1], timeout=10).text
        task.send_signal(signal.SIGINT)
        assert task.wait(SECONDS) == 0
    assert "closed" in log.read_text()
    with pytest.raises(requests.ConnectionError):
        requests.get(address[1], timeout=10)
