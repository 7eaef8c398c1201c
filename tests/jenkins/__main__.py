"""`python -m tests.jenkins BRANCH`: what the pipeline does for a branch, a pull request or a tag, step by step."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from delivery.errors import DeliveryError
from delivery.project import files
from delivery.project.facts import Ref
from delivery.project.files import ROOT
from tests.jenkins.harness import (
    REFUSED,
    Approval,
    Case,
    configured,
    decided,
    listing,
    record,
)


def main(argv: list[str]) -> int:
    """Print the steps, and return the exit code that the build has."""
    told = _parser().parse_args(argv)
    ref = _ref(told)
    case = Case(
        ref,
        configured(ROOT / "ops/jenkins/values.yaml"),
        decided(ref, files.load_declaration()),
        approval=Approval(told.approved_by) if told.approved_by else None,
        source=told.branch,
    )
    try:
        (run,) = record([(told.jenkinsfile.read_text(encoding="utf-8"), case)])
    except DeliveryError as error:
        _say(f"{error}" + (f" - {error.hint}" if error.hint else ""))
        return REFUSED
    _say("\n".join(listing(run)))
    return run.exit


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.jenkins", description=__doc__)
    parser.add_argument(
        "branch", nargs="?", default="", help="the branch; with --pr the request's own"
    )
    parser.add_argument("--pr", default="", metavar="N", help="a pull request, by its number")
    parser.add_argument("--tag", default="", metavar="NAME", help="a tag")
    parser.add_argument(
        "--approved-by", default="", metavar="NAME", help="who approves; without it nobody does"
    )
    parser.add_argument("--jenkinsfile", type=Path, default=ROOT / "Jenkinsfile")
    return parser


def _ref(told: argparse.Namespace) -> Ref:
    if told.pr:
        return Ref("pull-request", told.pr)
    if told.tag:
        return Ref("tag", told.tag)
    return Ref("branch", told.branch) if told.branch else Ref("", "")


def _say(text: str) -> None:
    print(text, flush=True)  # noqa: T201  # what it is for


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
