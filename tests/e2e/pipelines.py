"""A sample project, and runs of its pipeline: the real Jenkinsfile on the tests' cluster."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from delivery.platform import lifecycle
from delivery.project.facts import Ref, parse_ref
from delivery.project.files import ROOT
from delivery.records.ledger import Ledger
from tests.commands import output
from tests.e2e.cluster import Cluster
from tests.integration import small
from tests.jenkins.harness import Approval, Case, Clones, Credential, Event, Run, perform
from tests.registries import Answer

__all__ = [
    "COMPONENTS",
    "ENVIRONMENTS",
    "PipelineRun",
    "Pipelines",
    "Webhook",
    "machine_variables",
    "make_project",
    "table",
    "upstream_base",
    "use_base",
]

ENVIRONMENTS = ("develop", "staging", "production")
COMPONENTS = ("api-rest", "async-worker")
_OF_THE_MACHINE = (
    "DOCKER_HOST",
    "DOCKER_CONTEXT",
    "DELIVERY_BUILD_CA",
    "REQUESTS_CA_BUNDLE",
    "SSL_CERT_FILE",
    "XDG_CACHE_HOME",
)
# Of the table: stages, then the tasks of the deploy.
_ROWS = (
    *("prepare", "checks", "coverage", "plan", "build", "scan", "push", "push images", "diff"),
    *("deploy", "verify", "ci.deliver", "ci.notify"),
)
_PROJECT = "delivery-platform"  # its name in the Jenkinsfile
_PARTS = ("base-image", "apps", "platform-chart", _PROJECT)
# Sessions with the tags of the real noxfile, and a check that fails for a wrong commit.
_NOXFILE = f"""
import pathlib
import nox

@nox.session(venv_backend="none")
@nox.parametrize("part", [nox.param(part, tags=[part]) for part in {_PARTS!r}])
def unit(session, part):
    wrong = [str(file) for file in pathlib.Path().glob("*/file") if "wrong" in file.read_text()]
    if wrong:
        session.error("wrong: " + ", ".join(wrong))

@nox.session(venv_backend="none")
def coverage(session):
    session.log("measured nothing")
"""
# Previews of feature/*, beside develop.
_PREVIEWS = {
    "[gitflow]\n": '[gitflow]\npreview = ["feature/*"]\n',
    "[gitflow.deploys]\n": '[gitflow.deploys]\npreview = "preview"\n',
    "[environments.develop]\n": """[environments.preview]
contexts = ["{context}"]
namespace = "pipeline-preview"
values = "values-develop.yaml"
[environments.develop]
""",
}
# The real `run` makes an environment from locks first; other tests cover that.
_RUN = """#!/bin/sh
PATH="{programs}:$PATH"
export PATH
exec "$@"
"""


@dataclass
class Webhook:
    """A webhook that keeps the messages that it gets, the newest last."""

    messages: list[dict[str, Any]] = field(default_factory=list)

    def __call__(self, method: str, _path: str, _headers: dict[str, str], body: bytes) -> Answer:
        """Answer as Slack does."""
        assert method == "POST"
        self.messages.append(json.loads(body))
        return 200, {"Content-Type": "text/plain"}, b"ok"


@dataclass(frozen=True)
class PipelineRun:
    """A finished run, and the folder of its artifacts."""

    build: Run
    folder: Path
    seconds: float = 0.0

    def archived(self, name: str) -> dict[str, Any]:
        """A JSON file that the run archived."""
        return dict(
            json.loads((self.folder / "artifacts" / ".delivery" / name).read_text(encoding="utf-8"))
        )

    @property
    def version(self) -> str:
        """The version that the run planned, or "-"."""
        try:
            return str(self.archived("plan.json")["chart"]["version"])
        except FileNotFoundError:
            return "-"

    @property
    def url(self) -> str:
        """The build's URL, as in its records."""
        return str(self.archived("release.json")["builder"])


@dataclass(frozen=True)
class Pipelines:
    """The project, and the surroundings of its pipeline: cluster, credentials and environment."""

    project: small.Small
    cluster: Cluster
    folder: Path
    environment: Mapping[str, str]
    credentials: Mapping[str, Credential]
    say: Callable[[str], None]
    # The newest run of each branch.
    done: dict[str, PipelineRun] = field(default_factory=dict)

    def run(self, branch: str, *, approved_by: str = "") -> PipelineRun:
        """Run the pipeline for the head of a branch."""
        done = self._perform("Jenkinsfile", parse_ref(branch), branch, approved_by)
        self.done[branch] = done
        return done

    def reap(self) -> PipelineRun:
        """Run the nightly job, which no branch belongs to."""
        return self._perform("ops/jenkins/previews.Jenkinsfile", Ref("", ""), "develop")

    def _perform(self, file: str, ref: Ref, commit: str, approved_by: str = "") -> PipelineRun:
        number = len(list(self.folder.glob("build-*"))) + 1
        began = time.monotonic()
        build = perform(
            (ROOT / file).read_text(encoding="utf-8"),
            Case(
                ref=ref,
                credentials=self.credentials,
                approval=Approval(approved_by) if approved_by else None,
                # A kept ledger has the builds of earlier runs: the job has another name each time.
                job=self.project.registry.rpartition("/")[2],
                number=number,
            ),
            Clones(
                self.project.folder,
                self.project.git("rev-parse", commit),
                self.folder / f"build-{number}",
                self.environment,
            ),
            on_line=self.say,
        )
        return PipelineRun(build, self.folder / f"build-{number}", time.monotonic() - began)

    def deployed(self, environment: str) -> dict[str, set[str]]:
        """The digests of the ready containers in an environment, by component."""
        options = ("--selector=app.kubernetes.io/name", f"--namespace=pipeline-{environment}")
        digests: dict[str, set[str]] = {}
        for pod in self.cluster.get("pods", *options):
            for container in pod["status"].get("containerStatuses", ()):
                if container["ready"] and "deletionTimestamp" not in pod["metadata"]:
                    digest = str(container["imageID"]).rpartition("@")[2]
                    digests.setdefault(container["name"], set()).add(digest)
        return digests

    def events(self, **filters: str) -> list[Event]:
        """The ledger's events that match the filters, the oldest first."""
        return self._ledger.events(filters, "2020-01-01T00:00:00Z")[::-1]

    def versions(self, environment: str) -> dict[str, str]:
        """The versions in an environment by component, as the ledger reports them."""
        return self._ledger.running(environment)

    @property
    def _ledger(self) -> Ledger:
        return Ledger(self.environment["DELIVERY_LEDGER"])


def table(runs: Mapping[str, PipelineRun]) -> list[str]:
    """The table of these runs, by branch, for docs/pipeline.md ("Measured")."""
    rows = [
        ("seconds of", *runs),
        ("---", *("---:" for _ in runs)),
        ("result", *(run.build.result.lower() for run in runs.values())),
        ("version", *(run.version for run in runs.values())),
        ("agents", *(str(len(run.build.of("agent"))) for run in runs.values())),
    ]
    durations = [run.build.durations for run in runs.values()]
    for name in _ROWS:
        cells = (f"{of[name]:.1f}" if name in of else "-" for of in durations)
        rows.append((name, *cells))
    rows.append(("all", *(f"{run.seconds:.0f}" for run in runs.values())))
    return [f"| {' | '.join(row)} |" for row in rows]


def make_project(
    folder: Path, registry: str, base: str, context: str, environment: Mapping[str, str]
) -> small.Small:
    """Make the project: its images are based on `base`, and production needs signed releases."""
    folder.mkdir()
    project = small.make(
        folder, registry, {name: (context, f"pipeline-{name}") for name in ENVIRONMENTS}
    )
    for name in ("Jenkinsfile", "ops/gitleaks.toml"):
        (folder / name).parent.mkdir(exist_ok=True)
        shutil.copy2(ROOT / name, folder / name)
    programs = Path(shutil.which("nox") or ROOT / ".venv" / "bin" / "nox").parent
    (folder / "run").write_text(_RUN.format(programs=programs))
    (folder / "run").chmod(0o755)
    (folder / "noxfile.py").write_text(_NOXFILE)
    project.succeed("signing.keys", "--to", str(folder.parent), environment=environment)
    shutil.copy2(folder.parent / "cosign.pub", folder)
    use_base(folder, base)
    file = folder / "delivery.toml"
    text = file.read_text().replace('name = "small"', f'name = "{_PROJECT}"', 1)
    for old, new in _PREVIEWS.items():
        assert text.count(old) == 1
        text = text.replace(old, new.format(context=context))
    # The last environment is production.
    file.write_text(text + 'signed = true\n[signing]\npublic_key = "cosign.pub"\n')
    project.commit("build: sign, and use a base with Python")
    return project


def use_base(folder: Path, base: str) -> None:
    """Base the images of a sample project on this one, which has Python."""
    (folder / "base-image" / "Dockerfile").write_text(
        "ARG DEBIAN_IMAGE\nFROM ${DEBIAN_IMAGE}\nCOPY file /base-image\n"
    )
    file = folder / "delivery.toml"
    text = file.read_text()
    declared = text.partition("[upstream.debian]\nimage = ")[2].partition("\n")[0]
    file.write_text(text.replace(declared, f'"{base}"', 1))


def upstream_base(environment: Mapping[str, str]) -> str:
    """The project's base image under a name that an upstream image may have."""
    release = lifecycle.released()
    assert release, "run `./run inv images.ensure` first"
    image = release.images["base-image"]
    name = f"pipeline-test/python:{image.key}"
    for command in (["pull", "--quiet", image.pinned], ["tag", image.pinned, name]):
        output(["docker", *command], environment=environment)
    return name


def machine_variables(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables for this machine's engine and network; a Jenkins agent has such ones, too."""
    return {name: environment[name] for name in _OF_THE_MACHINE if name in environment}
