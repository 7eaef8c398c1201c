"""`python -m tests.jenkins BRANCH`: the steps of the pipeline for a branch, request or tag."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from delivery.errors import DeliveryError
from delivery.project import files
from delivery.project.facts import Ref
from delivery.project.files import ROOT
from delivery.project.gitflow import decide
from tests.jenkins.harness import (
    REFUSED,
    Approval,
    Case,
    answers,
    configured,
    listing,
    record,
)


def main(argv: list[str]) -> int:
    """Print the steps, and return the exit code of the build."""
    options = _parser().parse_args(argv)
    ref = _ref(options)
    case = Case(
        ref,
        configured(ROOT / "ops/jenkins/values.yaml"),
        answers(decide(ref, files.load_declaration())),
        approval=Approval(options.approved_by) if options.approved_by else None,
        source=options.branch,
    )
    try:
        (run,) = record([(options.jenkinsfile.read_text(encoding="utf-8"), case)])
    except DeliveryError as error:
        _say(f"{error}" + (f" - {error.hint}" if error.hint else ""))
        return REFUSED
    _say("\n".join(listing(run)))
    return run.exit


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.jenkins", description=__doc__)
    parser.add_argument(
        "branch", nargs="?", default="", help="the branch; with --pr that of the request"
    )
    parser.add_argument("--pr", default="", metavar="N", help="a pull request, by its number")
    parser.add_argument("--tag", default="", metavar="NAME", help="a tag")
    parser.add_argument(
        "--approved-by",
        default="",
        metavar="NAME",
        help="the user who approves; by default nobody does",
    )
    parser.add_argument("--jenkinsfile", type=Path, default=ROOT / "Jenkinsfile")
    return parser


def _ref(options: argparse.Namespace) -> Ref:
    if options.pr:
        return Ref("pull-request", options.pr)
    if options.tag:
        return Ref("tag", options.tag)
    return Ref("branch", options.branch) if options.branch else Ref("", "")


def _say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
