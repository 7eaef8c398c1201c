"""Values alone make another image a component: the chart's example of an app with a database."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from delivery import process
from tests.e2e.cluster import Cluster
from tests.e2e.platform import API, DATABASE, Platform

pytestmark = [pytest.mark.engine, pytest.mark.cluster]

STORE = """
import json, urllib.request
data = json.dumps({"text": "bought milk"}).encode()
request = urllib.request.Request("http://127.0.0.1:8000/notes", data)
print(urllib.request.urlopen(request, timeout=10).status)
"""
LIST = """
import urllib.request
print(urllib.request.urlopen("http://notes-app/notes", timeout=10).read().decode())
"""


@pytest.fixture(scope="module")
def image(platform: Platform) -> str:
    """The example's app by digest, built on the API's image and pushed."""
    folder = platform.checkout.folder / "platform-chart" / "tests" / "apps" / "notes"
    base = f"BASE_IMAGE={platform.image(API)}"
    return platform.push("notes", folder, "--build-arg", base)


@pytest.fixture(scope="module")
def notes(platform: Platform, image: str) -> Iterator[Cluster]:
    """The example, installed as its comment says, in a namespace that enforces restricted."""
    literals = {"DB_DATABASE": "notes", "DB_USERNAME": "notes", "DB_PASSWORD": "not-a-secret"}
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "notes-database"},
        "stringData": literals,
    }
    chart = platform.checkout.folder / "platform-chart"
    names = {"components.app.image": image, "components.mysql.image": database_image(platform)}
    values = [part for path, name in names.items() for part in image_values(path, name)]
    file = process.csv_line(chart / "examples" / "notes-mysql.yaml")
    install = ("install", "notes", str(chart), f"--values={file}", "--wait", "--timeout", "150s")
    with platform.cluster.elsewhere("notes", "notes") as cluster:
        cluster.apply(secret)
        cluster.helm(*install, *values)
        yield cluster


def test_the_app_stores_notes_in_its_database(notes: Cluster) -> None:
    pods = notes.pods("app")
    assert len(pods) == 2
    assert run_python(notes, pods[0].name, STORE) == "201"
    assert json.loads(run_python(notes, pods[1].name, LIST)) == {"notes": ["bought milk"]}


def test_notes_survive_a_restart_of_the_database(notes: Cluster) -> None:
    notes.kubectl("delete", "pod", notes.pod("mysql").name)
    notes.settle()
    assert json.loads(run_python(notes, notes.pods("app")[0].name, LIST)) == {
        "notes": ["bought milk"]
    }


def run_python(notes: Cluster, pod: str, code: str) -> str:
    return notes.kubectl("exec", pod, "--", "/usr/bin/python3", "-c", code).strip()


def database_image(platform: Platform) -> str:
    (container,) = platform.cluster.pod(DATABASE).manifest["spec"]["containers"]
    return str(container["image"])


def image_values(path: str, image: str) -> list[str]:
    """Helm's options for an image by digest."""
    repository, _, digest = image.partition("@")
    return ["--set", f"{path}.repository={repository}", "--set", f"{path}.digest={digest}"]
