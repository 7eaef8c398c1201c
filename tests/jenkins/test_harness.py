"""A performed build: shells in clones, copied files, hidden secrets and time limits."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from delivery.project.facts import Ref
from delivery.project.files import ROOT
from tests.jenkins import harness
from tests.jenkins.harness import Approval, Case, Clones, Credential, Run, perform
from tests.repositories import Repository

EVERYTHING = """
pipeline {
    agent none
    environment { TOKEN = credentials('token') }
    stages {
        stage('make') {
            agent { label 'build' }
            environment { KEY = credentials('key') }
            stages {
                stage('both') {
                    parallel {
                        stage('one') { steps {
                            sh 'until test -e other; do sleep 0.05; done; echo "one says $TOKEN"'
                        } }
                        stage('other') { steps { sh 'touch other' } }
                    }
                }
                stage('write') {
                    steps {
                        sh 'mkdir -p out/deep; cat what > out/deep/file; cat "$KEY"'
                        script { env.SAID = sh(
                            script: 'echo " said "; echo aside >&2', returnStdout: true).trim() }
                    }
                }
            }
            post { always {
                junit '*.xml'
                archiveArtifacts 'out/**'
                stash name: 'out', includes: 'out/**'
            } }
        }
        stage('ask') {
            options { timeout(time: 1, unit: 'HOURS') }
            input { message 'go on?'
                submitterParameter 'WHO' }
            steps { script { env.BY = env.WHO } }
        }
        stage('read') {
            agent { label 'deploy' }
            steps {
                unstash 'out'
                sh 'test ! -e other; test "$PWD" = "$WORKSPACE"'
                sh 'echo "$BY $SAID $BRANCH_NAME $(cat out/deep/file) $(pwd)"'
            }
        }
    }
}
"""
CREDENTIALS = {
    "token": Credential(value="very-secret"),
    "key": Credential("file", value=f"-----\n{'kEy0' * 10}\n-----\n"),
}
REPORT = '<testsuite><testcase name="t"><failure message="no">no</failure></testcase></testsuite>'
MAIN = Case(Ref("branch", "main"))


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    repository = Repository(tmp_path_factory.mktemp("project"))
    files = {"what": "something\n", "report.xml": REPORT}
    return repository.root, repository.commit("begin", **files)


@pytest.fixture
def clones(project: tuple[Path, str], tmp_path: Path) -> Clones:
    return Clones(*project, tmp_path)


def simple(steps: str, options: str = "") -> str:
    return (
        "pipeline { agent { label 'a' }\n"
        f" stages {{ stage('s') {{ {options}\n steps {{ {steps} }} }} }} }}"
    )


def test_everything_runs(clones: Clones) -> None:
    case = Case(Ref("branch", "main"), CREDENTIALS, approval=Approval("ana"))
    run = perform(EVERYTHING, case, clones)
    # The report has a failed test.
    assert (run.result, run.error) == ("UNSTABLE", ""), run.log
    deploy = clones.folder / "workspaces" / "deploy-2"
    assert f"[read] ana said main something {deploy}" in run.log
    assert (clones.folder / "artifacts/out/deep/file").read_text() == "something\n"
    assert (clones.folder / "reports/report.xml").exists()
    assert "[make / both / one] one says ****" in run.log
    assert "[make / write] aside" in run.log
    assert "very-secret" not in run.log + str(run.events)
    assert "kEy0" not in run.log + str(run.events)
    ended = {event["stage"] for event in run.of("end") if event["seconds"] >= 0}
    assert ended >= {"make", "read"}
    assert "Finished: UNSTABLE" in run.log


def test_durations_are_of_stages_and_of_the_tasks_of_the_deploy() -> None:
    ended = [("make / checks / apps", 2.0), ("make / checks", 3.0), ("deploy", 9.0)]
    tasks = [("make / plan", "./run inv plan", 1.0), ("deploy", "./run inv deploy --yes", 4.0)]
    tasks.append(("deploy", "./run inv verify", 5.0))
    events = [{"type": "end", "stage": stage, "seconds": seconds} for stage, seconds in ended]
    events += [
        {"type": "sh", "stage": stage, "command": command, "seconds": seconds}
        for stage, command, seconds in tasks
    ]
    run = Run("SUCCESS", "", tuple(events))
    assert run.durations == {"apps": 2.0, "checks": 3.0, "deploy": 4.0, "verify": 5.0}


def test_a_failed_shell_ends_the_build(clones: Clones) -> None:
    run = perform(simple("sh 'echo begun; false; echo never'"), MAIN, clones)
    assert run.result == "FAILURE"
    assert "[s] begun" in run.log
    assert "[s] never" not in run.log
    assert run.of("sh")[0]["exit"] == 1


def test_a_timeout_ends_the_shell(clones: Clones) -> None:
    timeout = "options { timeout(time: 1, unit: 'SECONDS') }"
    run = perform(simple("sh 'sleep 300'\n sh 'echo never'", timeout), MAIN, clones)
    assert run.result == "ABORTED"
    assert "[s] never" not in run.log


def test_an_interrupt_ends_the_shell_and_the_runner(
    clones: Clones, project: tuple[Path, str], tmp_path: Path
) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    pipe = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)

    def interrupt(line: str) -> None:
        if line == "[s] begun":
            raise KeyboardInterrupt

    text = simple("sh 'exec 3> ../../../fifo; echo begun; sleep 300'")
    with pytest.raises(KeyboardInterrupt):
        perform(text, MAIN, Clones(*project, tmp_path / "1"), on_line=interrupt)
    with open(pipe, "rb") as reader:  # noqa: PTH123  a file descriptor
        assert reader.read() == b""  # no process has it open
    assert perform(simple("sh 'x=1'"), MAIN, clones).result == "SUCCESS"


def test_every_agent_has_its_own_clone_without_a_branch(
    clones: Clones, project: tuple[Path, str]
) -> None:
    steps = (
        "sh 'touch file; git rev-parse HEAD; git symbolic-ref HEAD || echo detached'\n"
        " node('b') { sh 'ls -a; test ! -e file' }"
    )
    run = perform(simple(steps), MAIN, clones)
    assert run.result == "SUCCESS"
    assert f"[s] {project[1]}" in run.log
    assert "[s] detached" in run.log


@pytest.mark.parametrize("option", [True, False])
def test_branches_have_tags_only_with_the_jobs_clone_option(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, option: bool
) -> None:
    repository = Repository(tmp_path / "project")
    commit = repository.commit("begin", what="something\n")
    repository.tag("apps-v1.0.0")
    values = (ROOT / "ops" / "jenkins" / "values.yaml").read_text()
    file = tmp_path / "values.yaml"
    file.write_text(values if option else re.sub(r"(?m)^ +noTags false$", "", values))
    monkeypatch.setattr(harness, "VALUES", file)
    text = simple("""sh 'echo "tags:$(git tag) branches:$(git branch --remotes)"'""")
    for ref, tags in (("branch", option), ("tag", True)):
        clones = Clones(repository.root, commit, tmp_path / ref)
        run = perform(text, Case(Ref(ref, "main")), clones)
        output = f"tags:{'apps-v1.0.0' if tags else ''} branches:  origin/main"
        assert output in run.log, run.log


def test_agents_have_only_the_variables_that_are_passed(
    project: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DELIVERY_REGISTRY", "ours")
    clones = Clones(*project, tmp_path, {"PASSED": "yes"})
    run = perform(simple("sh 'echo registry=$DELIVERY_REGISTRY passed=$PASSED'"), MAIN, clones)
    assert "[s] registry= passed=yes" in run.log


def test_missing_files_are_a_failure_unless_they_are_optional(clones: Clones) -> None:
    strict = (
        "stash name: 's', includes: 'nothing'",
        "junit 'nothing.xml'",
        "archiveArtifacts 'nothing'",
    )
    optional = (
        "stash name: 's', includes: 'nothing', allowEmpty: true",
        "junit testResults: 'nothing.xml', allowEmptyResults: true",
        "archiveArtifacts artifacts: 'nothing', allowEmptyArchive: true",
    )
    steps = "\n".join([*optional, *(f"catchError {{ {step} }}" for step in strict)])
    run = perform(simple(steps), MAIN, clones)
    errors = [event["error"].partition(" ")[0] for event in run.of("caught")]
    assert errors == ["No", "No", "No"], run.log
