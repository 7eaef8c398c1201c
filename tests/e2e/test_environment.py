"""What a deploy would change, and what runs: diff, render, status, logs and open."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import requests

from tests.e2e.platform import API, Platform, output_of
from tests.signals import with_default_signals

pytestmark = [pytest.mark.engine, pytest.mark.cluster]

ENVIRONMENT = ["--environment", "local"]
CHANGED = 3
SECONDS = 120


@contextmanager
def opened(platform: Platform) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """`inv open`, and the address that it prints."""
    with subprocess.Popen(
        with_default_signals([sys.executable, "-m", "delivery", "open", *ENVIRONMENT]),
        cwd=platform.checkout.folder,
        env={**platform.checkout.environment, "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as task:
        assert task.stdout is not None
        try:
            lines = []
            for line in task.stdout:
                lines.append(line)
                if "http://" in line:
                    yield task, line.split(": ", 1)[1].split(maxsplit=1)[0]
                    return
            raise AssertionError("".join(lines))
        finally:
            task.kill()


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


def test_open_serves_the_page_until_ctrl_c(platform: Platform) -> None:
    with opened(platform) as (task, address):
        assert "<title>" in requests.get(address, timeout=10).text
        task.send_signal(signal.SIGINT)
        output, _ = task.communicate(timeout=SECONDS)
        assert (task.returncode, "closed" in output) == (0, True)
    with pytest.raises(requests.ConnectionError):
        requests.get(address, timeout=10)
