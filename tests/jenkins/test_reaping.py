"""The nightly job removes previews by one task, with the rights of previews and no others."""

from __future__ import annotations

import pytest

from delivery.project.facts import Ref
from delivery.project.files import ROOT
from tests.jenkins.harness import VALUES, Case, configured, listing, record

TEXT = (ROOT / "ops" / "jenkins" / "previews.Jenkinsfile").read_text(encoding="utf-8")
REAP = "./run inv preview.reap"
STEPS = """\
agent delivery-deploy
credential delivery-kubeconfig-preview as KUBECONFIG
credential delivery-ledger-token as DELIVERY_LEDGER_TOKEN
reap
  credential delivery-git as GIT_USERNAME, GIT_PASSWORD
  ./run inv preview.reap
post always
./run inv ci.deliver
archive .delivery/records/outbox/**
SUCCESS"""
JOB = Case(Ref("", ""), configured(VALUES), job="delivery-previews")


def test_it_reaps_and_delivers_the_records() -> None:
    (run,) = record([(TEXT, JOB)])
    assert "\n".join(listing(run)) == STEPS


@pytest.mark.parametrize("command", [REAP, "./run inv ci.deliver"])
def test_a_failure_fails_the_job_and_keeps_the_records(command: str) -> None:
    case = Case(JOB.ref, JOB.credentials, failures={command: 2}, job=JOB.job)
    (run,) = record([(TEXT, case)])
    assert run.result == "FAILURE"
    assert run.commands == [REAP, "./run inv ci.deliver"]
    assert len(run.of("archive")) == 1


def test_without_the_right_to_previews_nothing_is_done() -> None:
    others = {name: of for name, of in JOB.credentials.items() if "preview" not in name}
    (run,) = record([(TEXT, Case(JOB.ref, others, job=JOB.job))])
    assert (run.result, run.commands) == ("FAILURE", [])
