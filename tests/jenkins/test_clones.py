"""The pipeline decides on the same versions however Jenkins has cloned the repository."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from delivery.project.facts import Ref
from delivery.project.files import ROOT
from tests.integration import small
from tests.jenkins.harness import Case, Clones, configured, perform

FETCHES = {
    "full": ("--tags",),
    "--no-tags": ("--no-tags",),
    "shallow": ("--no-tags", "--depth=1"),
}
# Only the plan is made: nothing else is said or done, and nothing deployed.
RUN = f"""#!/bin/sh
[ "$2 $3" = "plan --file" ] || exit 0
shift 2
exec "{sys.executable}" -m invoke plan "$@"
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> small.Small:
    """A project on develop, two commits after its first release."""
    project = small.make(tmp_path_factory.mktemp("project"), "localhost:1")
    for name in ("base-image", "apps", "platform-chart"):
        project.git("tag", f"{name}-v0.1.0")
    project.git("branch", "main")
    project.commit("chore: run", {"run": RUN})
    (project.folder / "run").chmod(0o755)
    project.commit("feat(api-rest): more", {"api-rest/file": "more"})
    project.commit("fix(api-rest): less", {"api-rest/file": "less"})
    return project


def planned(project: small.Small, folder: Path, *fetch: str) -> dict[str, Any]:
    """The plan that the pipeline archives."""
    case = Case(Ref("branch", "develop"), configured(ROOT / "ops/jenkins/values.yaml"))
    clones = Clones(project.folder, project.git("rev-parse", "HEAD"), folder, fetch=fetch)
    run = perform((ROOT / "Jenkinsfile").read_text(encoding="utf-8"), case, clones)
    assert run.result == "SUCCESS", run.log
    return dict(json.loads((folder / "artifacts" / ".delivery" / "plan.json").read_text()))


def test_versions_are_equal_from_every_kind_of_clone(project: small.Small, tmp_path: Path) -> None:
    plans = {name: planned(project, tmp_path / name, *fetch) for name, fetch in FETCHES.items()}
    assert plans["--no-tags"] == plans["shallow"] == plans["full"]
    published = {of["subproject"]: of["published"] for of in plans["full"]["versions"]}
    assert published == {
        "base-image": "0.1.0",
        "apps": "0.2.0-dev.2",
        "platform-chart": "0.1.1-dev.2",
    }
