"""`python -m tests.jenkins BRANCH`: what the pipeline does for a branch, a pull request or a tag, step by step; or doing it."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

from delivery.errors import DeliveryError
from delivery.project import files
from delivery.project.declaration import Declaration
from delivery.project.facts import Ref
from delivery.project.files import ROOT
from tests.jenkins.harness import (
    REFUSED,
    Approval,
    Case,
    Credential,
    Run,
    configured,
    decided,
    listing,
    perform,
    record,
)


def main(argv: list[str]) -> int:
    """Print the steps, and return the exit code that the build has."""
    told = _parser().parse_args(argv)
    ref = _ref(told)
    text = told.jenkinsfile.read_text(encoding="utf-8")
    declaration = files.load_declaration()
    try:
        if told.real is None:
            run = _recorded(text, ref, told, declaration)
            _say("\n".join(listing(run)))
        else:
            run = _performed(text, ref, told)
    except DeliveryError as error:
        _say(f"{error}" + (f" - {error.hint}" if error.hint else ""))
        return REFUSED
    if run.error:
        _say(run.error)
    return run.exit


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.jenkins", description=__doc__)
    parser.add_argument("branch", nargs="?", default="", help="the branch; with --pr the request's own")
    parser.add_argument("--pr", default="", metavar="N", help="a pull request, by its number")
    parser.add_argument("--tag", default="", metavar="NAME", help="a tag")
    parser.add_argument("--approved-by", default="", metavar="NAME", help="who approves; without it nobody does")
    parser.add_argument("--jenkinsfile", type=Path, default=ROOT / "Jenkinsfile")
    parser.add_argument(
        "--real", type=Path, metavar="FOLDER", help="run it, with workspaces and artifacts in this folder"
    )
    parser.add_argument("--project", type=Path, default=ROOT, help="what --real clones")
    parser.add_argument(
        "--credentials", type=Path, metavar="FILE", help="JSON: {id: {kind, value, path, username, password}}"
    )
    return parser


def _ref(told: argparse.Namespace) -> Ref:
    if told.pr:
        return Ref("pull-request", told.pr)
    if told.tag:
        return Ref("tag", told.tag)
    return Ref("branch", told.branch) if told.branch else Ref("", "")


def _recorded(text: str, ref: Ref, told: argparse.Namespace, declaration: Declaration) -> Run:
    """As the Jenkins would that ops/jenkins/values.yaml configures."""
    approval = Approval(told.approved_by) if told.approved_by else None
    case = Case(
        ref,
        configured(ROOT / "ops/jenkins/values.yaml"),
        decided(ref, declaration),
        approval=approval,
        source=told.branch,
    )
    (run,) = record([(text, case)])
    return run


def _performed(text: str, ref: Ref, told: argparse.Namespace) -> Run:
    given = json.loads(told.credentials.read_text(encoding="utf-8")) if told.credentials else {}
    commit = subprocess.run(
        ["git", "rev-parse", "--verify", f"{told.tag or told.branch or 'HEAD'}^{{commit}}"],
        cwd=told.project,
        capture_output=True,
        text=True,
        check=False,
    )
    if commit.returncode != 0:
        raise DeliveryError(
            f"find {told.tag or told.branch}: git does not know it", hint="name a branch or a tag of the project"
        )
    return perform(
        text,
        Case(
            ref,
            {name: Credential(**one) for name, one in given.items()},
            approval=Approval(told.approved_by) if told.approved_by else None,
            source=told.branch,
        ),
        project=told.project,
        commit=commit.stdout.strip(),
        folder=told.real,
        on_line=_say,
    )


def _say(text: str) -> None:
    print(text, flush=True)  # noqa: T201  # what it is for


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
