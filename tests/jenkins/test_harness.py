"""Performed, not only recorded: real shells in clones, files carried between them, secrets hidden, time limits held."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from delivery.project.facts import Ref
from delivery.project.files import ROOT
from tests.jenkins import __main__ as command_line
from tests.jenkins import harness
from tests.jenkins.harness import Approval, Case, Credential, Run, perform
from tests.repositories import Repository

ALL = """
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
                        stage('one') { steps { sh 'until test -e other; do sleep 0.05; done; echo "one says $TOKEN"' } }
                        stage('other') { steps { sh 'touch other' } }
                    }
                }
                stage('write') {
                    steps {
                        sh 'mkdir -p out/deep; cat what > out/deep/file; cp report.xml out; cat "$KEY"'
                        script { env.SAID = sh(script: 'echo " said "; echo aside >&2', returnStdout: true).trim() }
                    }
                }
            }
            post { always {
                junit 'out/*.xml'
                archiveArtifacts 'out/**'
                stash name: 'out', includes: 'out/**', excludes: '**/*.xml'
            } }
        }
        stage('ask') {
            input { message 'go on?'
                submitterParameter 'WHO' }
            steps { script { env.BY = env.WHO } }
        }
        stage('read') {
            agent { label 'deploy' }
            steps {
                unstash 'out'
                sh 'test ! -e out/report.xml; test "$PWD" = "$WORKSPACE"'
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


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    repository = Repository(tmp_path_factory.mktemp("project"))
    report = (
        '<testsuite><testcase name="t"><failure message="no">no</failure></testcase></testsuite>'
    )
    return repository.root, repository.commit("begin", what="something\n", **{"report.xml": report})


def run(text: str, project: tuple[Path, str], folder: Path, case: Case) -> Run:
    return perform(text, case, project=project[0], commit=project[1], folder=folder)


def simple(steps: str, options: str = "") -> str:
    return f"pipeline {{ agent {{ label 'a' }}\n stages {{ stage('s') {{ {options}\n steps {{ {steps} }} }} }} }}"


def test_really_runs_it(project: tuple[Path, str], tmp_path: Path) -> None:
    done = run(
        ALL, project, tmp_path, Case(Ref("branch", "main"), CREDENTIALS, approval=Approval("ana"))
    )
    assert (done.result, done.exit, done.error) == ("UNSTABLE", 2, ""), (
        done.log
    )  # for a test has failed
    deploy = tmp_path / "workspaces" / "deploy-2"
    assert f"[read] ana said main something {deploy}" in done.log
    assert (tmp_path / "artifacts/out/deep/file").read_text() == "something\n"
    assert (tmp_path / "reports/out/report.xml").exists()
    assert "[make / both / one] one says ****" in done.log
    assert "[make / write] aside" in done.log
    assert "very-secret" not in done.log + str(done.events)
    assert "kEy0" not in done.log + str(done.events)
    assert {event["stage"] for event in done.of("end") if event["seconds"] >= 0} >= {"make", "read"}
    assert "Finished: UNSTABLE" in done.log


def test_a_shell_that_fails_ends_it(project: tuple[Path, str], tmp_path: Path) -> None:
    done = run(
        simple("sh 'echo begun; false; echo never'"), project, tmp_path, Case(Ref("branch", "main"))
    )
    assert (done.result, done.exit) == ("FAILURE", 1)
    assert "[s] begun" in done.log
    assert "[s] never" not in done.log
    assert done.of("sh")[0]["exit"] == 1


def limited(steps: str, seconds: int) -> str:
    return simple(steps, f"options {{ timeout(time: {seconds}, unit: 'SECONDS') }}")


def test_a_time_limit_ends_what_runs(project: tuple[Path, str], tmp_path: Path) -> None:
    done = run(
        limited("sh 'sleep 300'\n sh 'echo never'", 1),
        project,
        tmp_path,
        Case(Ref("branch", "main")),
    )
    assert (done.result, done.exit) == ("ABORTED", 3)
    assert "[s] never" not in done.log


def test_an_interrupt_ends_what_runs_and_the_next_build_is_another_process(
    project: tuple[Path, str], tmp_path: Path
) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    pipe = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)

    def interrupt(line: str) -> None:
        if line == "[s] begun":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        perform(
            simple("sh 'exec 3> ../../../fifo; echo begun; sleep 300'"),
            Case(Ref("", "")),
            project=project[0],
            commit=project[1],
            folder=tmp_path / "1",
            on_line=interrupt,
        )
    with open(pipe, "rb") as held:  # noqa: PTH123  # a file descriptor
        assert held.read() == b""  # nobody has it open any more
    assert run(simple("sh 'x=1'"), project, tmp_path / "2", Case(Ref("", ""))).result == "SUCCESS"


def test_every_agent_has_a_clone_of_its_own_and_no_branch_checked_out(
    project: tuple[Path, str], tmp_path: Path
) -> None:
    text = simple(
        "sh 'touch mine; git rev-parse HEAD; git symbolic-ref HEAD || echo detached'\n node('b') { sh 'ls -a; test ! -e mine' }"
    )
    done = run(text, project, tmp_path, Case(Ref("branch", "main")))
    assert (done.result, f"[s] {project[1]}" in done.log, "[s] detached" in done.log) == (
        "SUCCESS",
        True,
        True,
    )


@pytest.mark.parametrize("option", [True, False])
def test_branches_have_tags_only_by_the_jobs_clone_option(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, option: bool
) -> None:
    repository = Repository(tmp_path / "project")
    made = repository.root, repository.commit("begin", what="something\n")
    repository.tag("apps-v1.0.0")
    values = (ROOT / "ops" / "jenkins" / "values.yaml").read_text()
    file = tmp_path / "values.yaml"
    file.write_text(values if option else re.sub(r"(?m)^ +noTags false$", "", values))
    monkeypatch.setattr(harness, "VALUES", file)
    text = simple("""sh 'echo "tags:$(git tag) branches:$(git branch --remotes)"'""")
    for ref, tags in (("branch", option), ("tag", True)):
        done = run(text, made, tmp_path / ref, Case(Ref(ref, "main")))
        said = f"tags:{'apps-v1.0.0' if tags else ''} branches:  origin/main"
        assert said in done.log, done.log


def test_agents_know_nothing_of_ours(
    project: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DELIVERY_REGISTRY", "ours")
    done = perform(
        simple("sh 'echo registry=$DELIVERY_REGISTRY told=$TOLD'"),
        Case(Ref("", "")),
        project=project[0],
        commit=project[1],
        folder=tmp_path,
        environment={"TOLD": "yes"},
    )
    assert "[s] registry= told=yes" in done.log


def test_nothing_found_is_a_failure_unless_it_may_be(
    project: tuple[Path, str], tmp_path: Path
) -> None:
    strict = (
        "stash name: 's', includes: 'nothing'",
        "junit 'nothing.xml'",
        "archiveArtifacts 'nothing'",
    )
    lenient = (
        "stash name: 's', includes: 'nothing', allowEmpty: true",
        "junit testResults: 'nothing.xml', allowEmptyResults: true",
        "archiveArtifacts artifacts: 'nothing', allowEmptyArchive: true",
    )
    steps = "\n".join([*lenient, *(f"catchError {{ {step} }}" for step in strict)])
    done = run(simple(steps), project, tmp_path, Case(Ref("branch", "main")))
    assert [event["error"].partition(" ")[0] for event in done.of("caught")] == ["No", "No", "No"]


def test_what_is_refused_never_begins(project: tuple[Path, str], tmp_path: Path) -> None:
    done = run(simple("bat 'x'"), project, tmp_path, Case(Ref("branch", "main")))
    assert (done.exit, done.error) == (harness.REFUSED, "line 3: step bat is not known")
    assert not (tmp_path / "workspaces").exists()


def test_the_command_line_lists_the_steps(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = """pipeline { agent none
    stages {
        stage('a') { agent { label 'x' }
            steps { catchError(buildResult: 'UNSTABLE', stageResult: 'UNSTABLE', message: 'm') { error 'no' } } }
        stage('b') { when { environment name: 'BRANCH_NAME', value: 'main' }
            steps { echo 'b' } }
    } }"""
    file = tmp_path / "Jenkinsfile"
    file.write_text(text)
    assert command_line.main(["develop", "--jenkinsfile", str(file)]) == 2
    assert capsys.readouterr().out.splitlines() == [
        "a",
        "  agent x",
        "  caught: m (UNSTABLE)",
        "b (skipped: when)",
        "UNSTABLE",
    ]
