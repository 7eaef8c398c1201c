"""The stage diff takes only a comparison for a difference: exit code 3 also has other meanings."""

from __future__ import annotations

from pathlib import Path

import pytest

from delivery.project.facts import Ref
from delivery.project.files import ROOT
from tests.jenkins.harness import Approval, Case, Clones, configured, perform
from tests.repositories import Repository

FILE = Path(".delivery/diff.txt")
# Only what is said of the plan, and the comparison.
RUN = f"""#!/bin/sh
case "$2 $3 $4" in
"plan --say pushes") echo false ;;
"plan --say environment") echo production ;;
"plan --say approval") echo true ;;
"diff "*)
    [ "$COMPARED" = no ] || echo new >{FILE}
    exit "$EXIT"
    ;;
esac
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    repository = Repository(tmp_path_factory.mktemp("project"))
    repository.commit("chore: begin", run=RUN)
    (repository.root / "run").chmod(0o755)
    return repository.root, repository.commit("chore: run it", run=RUN)


@pytest.mark.parametrize(
    ("code", "compared", "asks"),
    [
        (0, True, True),
        (3, True, True),
        (3, False, False),  # such as no engine
        (4, True, False),
        (4, False, False),
    ],
)
def test_only_a_comparison_leads_to_the_approval(
    project: tuple[Path, str], tmp_path: Path, *, code: int, compared: bool, asks: bool
) -> None:
    earlier = tmp_path / "workspaces" / "delivery-deploy-2" / FILE
    earlier.parent.mkdir(parents=True)
    earlier.write_text("of another build\n")
    variables = {"EXIT": str(code), "COMPARED": "yes" if compared else "no"}
    credentials = configured(ROOT / "ops/jenkins/values.yaml")
    case = Case(Ref("branch", "main"), credentials, approval=Approval("ana"))
    text = (ROOT / "Jenkinsfile").read_text(encoding="utf-8")
    run = perform(text, case, Clones(*project, tmp_path, variables))
    assert (bool(run.of("input")), run.result) == (asks, "SUCCESS" if asks else "FAILURE"), run.log
    archived = tmp_path / "artifacts" / FILE
    assert (archived.read_text() if archived.exists() else "") == ("new\n" if asks else "")
