"""`python -m tests.jenkins BRANCH`: the steps of the pipeline for a branch, request or tag."""

from __future__ import annotations

import argparse
import sys

from delivery.errors import DeliveryError
from delivery.project import files
from delivery.project.facts import Ref, parse_ref
from delivery.project.files import ROOT
from delivery.project.gitflow import decide
from tests.jenkins.harness import (
    VALUES,
    Approval,
    Case,
    answers,
    configured,
    listing,
    record,
)


def main(argv: list[str]) -> int:
    """Print the steps; return 0 if the build would succeed."""
    options = _parser().parse_args(argv)
    ref = Ref("pull-request", options.pr) if options.pr else parse_ref(options.branch)
    case = Case(
        ref,
        configured(VALUES),
        answers(decide(ref, files.load_declaration())),
        approval=Approval(options.approved_by) if options.approved_by else None,
        source=options.branch,
    )
    (run,) = record([((ROOT / "Jenkinsfile").read_text(encoding="utf-8"), case)])
    print("\n".join(listing(run)), flush=True)
    return int(run.result != "SUCCESS")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.jenkins", description=__doc__)
    parser.add_argument("branch", help="a branch, or refs/tags/NAME; with --pr that of the request")
    parser.add_argument("--pr", default="", metavar="N", help="a pull request, by its number")
    parser.add_argument(
        "--approved-by", metavar="NAME", help="the user who approves; by default nobody does"
    )
    return parser


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except DeliveryError as error:
        sys.exit(f"{error} - {error.hint}")
