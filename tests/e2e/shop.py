"""A small project that the real Jenkinsfile delivers on the tests' cluster, and what its pipelines are run with."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests

from delivery.project.facts import parse_ref
from delivery.project.files import ROOT
from delivery.release.released import Release
from tests.e2e.cluster import Cluster
from tests.integration import small
from tests.jenkins.harness import Approval, Case, Credential, Event, Run, perform
from tests.registries import Answer

__all__ = [
    "COMPONENTS",
    "ENVIRONMENTS",
    "Delivery",
    "Shop",
    "Sink",
    "base_of",
    "docker",
    "make",
    "stand_on",
]

ENVIRONMENTS = ("develop", "staging", "production")
COMPONENTS = ("api-rest", "async-worker")
_ENGINE_ROOM = "delivery-platform"  # what the Jenkinsfile calls it
_PARTS = ("base-image", "apps", "platform-chart", _ENGINE_ROOM)
# The parts of the project's own noxfile, with a check that a wrong commit does not pass.
_NOXFILE = f"""
import pathlib
import nox

@nox.session(venv_backend="none")
@nox.parametrize("part", [nox.param(part, tags=[part]) for part in {_PARTS!r}])
def unit(session, part):
    wrong = [str(file) for file in pathlib.Path().glob("*/file") if "wrong" in file.read_text()]
    if wrong:
        session.error("these are wrong: " + ", ".join(wrong))
"""
# The project's own makes an environment from locks first, which other tests are about.
_RUN = """#!/bin/sh
PATH="{programs}:$PATH"
export PATH
exec "$@"
"""


@dataclass
class Sink:
    """A webhook that remembers what it was told, the newest last."""

    told: list[dict[str, Any]] = field(default_factory=list)

    def __call__(self, method: str, _path: str, _headers: dict[str, str], body: bytes) -> Answer:
        """Take a message as Slack does."""
        assert method == "POST"
        self.told.append(json.loads(body))
        return 200, {"Content-Type": "text/plain"}, b"ok"


@dataclass(frozen=True)
class Delivery:
    """A pipeline that has ended, and where it kept what it archived."""

    run: Run
    folder: Path

    def archived(self, name: str) -> dict[str, Any]:
        """A JSON file that it archived."""
        return dict(
            json.loads((self.folder / "artifacts" / ".delivery" / name).read_text(encoding="utf-8"))
        )

    @property
    def build(self) -> str:
        """The build's address, which its records name."""
        return str(self.archived("release.json")["builder"])


@dataclass(frozen=True)
class Shop:
    """The project with what its pipelines need: a registry, a cluster, a ledger, a webhook."""

    project: small.Small
    cluster: Cluster
    folder: Path
    environment: Mapping[str, str]
    credentials: Mapping[str, Credential]
    say: Callable[[str], None]

    def deliver(self, branch: str, *, approved_by: str = "") -> Delivery:
        """Run the pipeline for what a branch is at."""
        number = len(list(self.folder.glob("build-*"))) + 1
        run = perform(
            (ROOT / "Jenkinsfile").read_text(encoding="utf-8"),
            Case(
                ref=parse_ref(branch),
                credentials=self.credentials,
                approval=Approval(approved_by) if approved_by else None,
                # A ledger that an earlier run left has builds of other names.
                job=self.project.registry.rpartition("/")[2],
                number=number,
            ),
            project=self.project.folder,
            commit=self.project.git("rev-parse", branch),
            folder=self.folder / f"build-{number}",
            environment=self.environment,
            on_line=self.say,
        )
        return Delivery(run, self.folder / f"build-{number}")

    def serving(self, environment: str) -> dict[str, set[str]]:
        """The digests that the nodes report for the containers that are ready there, by component."""
        told = self.cluster.kubectl(
            "get",
            "pods",
            "--selector=app.kubernetes.io/name",
            f"--namespace=pipeline-{environment}",
            "--output=json",
        )
        found: dict[str, set[str]] = {}
        for pod in json.loads(told)["items"]:
            for one in pod["status"].get("containerStatuses", ()):
                if one["ready"] and "deletionTimestamp" not in pod["metadata"]:
                    found.setdefault(one["name"], set()).add(str(one["imageID"]).rpartition("@")[2])
        return found

    def stored(self, **filters: str) -> list[Event]:
        """What the ledger holds of this, the oldest first."""
        answer = requests.get(
            f"{self.environment['DELIVERY_LEDGER']}/deployments",
            params={**filters, "limit": "500"},
            timeout=30,
        )
        answer.raise_for_status()
        return list(reversed(answer.json()["deployments"]))

    def runs(self, environment: str) -> dict[str, str]:
        """Which version the ledger says an environment runs, by component."""
        answer = requests.get(f"{self.environment['DELIVERY_LEDGER']}/environments", timeout=30)
        answer.raise_for_status()
        return {
            one["component"]: one["version"]
            for place in answer.json()["environments"]
            if place["environment"] == environment
            for one in place["components"]
        }


def make(
    folder: Path, registry: str, base: str, context: str, environment: Mapping[str, str]
) -> small.Small:
    """Make the project, whose images stand on `base` and can run, with signed releases in production."""
    folder.mkdir()
    made = small.make(
        folder, registry, {name: (context, f"pipeline-{name}") for name in ENVIRONMENTS}
    )
    for name in ("Jenkinsfile", "ops/gitleaks.toml"):
        (folder / name).parent.mkdir(exist_ok=True)
        shutil.copy2(ROOT / name, folder / name)
    programs = Path(shutil.which("nox") or ROOT / ".venv" / "bin" / "nox").parent
    (folder / "run").write_text(_RUN.format(programs=programs))
    (folder / "run").chmod(0o755)
    (folder / "noxfile.py").write_text(_NOXFILE)
    code, printed = made.inv("signing.keys", "--to", str(folder.parent), environment=environment)
    assert code == 0, printed
    shutil.copy2(folder.parent / "cosign.pub", folder)
    stand_on(folder, base)
    file = folder / "delivery.toml"
    text = file.read_text().replace('name = "small"', f'name = "{_ENGINE_ROOM}"', 1)
    # The last environment is production.
    file.write_text(text + 'signed = true\n[signing]\npublic_key = "cosign.pub"\n')
    made.commit("build: sign, and stand on an image with Python")
    return made


def stand_on(folder: Path, base: str) -> None:
    """Have the images of a small project stand on this one, so that they can run."""
    (folder / "base-image" / "Dockerfile").write_text(
        "ARG DEBIAN_IMAGE\nFROM ${DEBIAN_IMAGE}\nCOPY file /base-image\n"
    )
    file = folder / "delivery.toml"
    text = file.read_text()
    declared = text.partition("[upstream.debian]\nimage = ")[2].partition("\n")[0]
    file.write_text(text.replace(declared, f'"{base}"', 1))


def base_of(release: Release, docker: Callable[..., str]) -> str:
    """Our own base image under a name that an upstream image may have: what the small project's pods run Python from."""
    pinned = release.images["base-image"]
    name = f"pipeline-test/python:{pinned.key}"
    docker("pull", "--quiet", pinned.pinned)
    docker("tag", pinned.pinned, name)
    return name


def docker(environment: Mapping[str, str]) -> Callable[..., str]:
    """The docker command line at the tests' engine."""

    def run(*arguments: str) -> str:
        return subprocess.run(
            ["docker", *arguments],
            env=dict(environment),
            capture_output=True,
            text=True,
            check=True,
            timeout=120,
        ).stdout

    return run
