"""The runner does what Jenkins does with what it supports, and refuses the rest."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from textwrap import indent

import pytest

from delivery.project.facts import Ref
from tests.jenkins.harness import Approval, Case, Credential, Run, listing, record

CREDENTIALS = {
    "word": Credential(value="w"),
    "pair": Credential("usernamePassword", username="u", password="p"),
    "paper": Credential("file"),
}
MAIN = Ref("branch", "main")


def case(ref: Ref = MAIN, **changes: object) -> Case:
    return Case(**{"ref": ref, "credentials": CREDENTIALS, **changes})  # type: ignore[arg-type]


def pipeline(stages: str, *, agent: str = "agent { label 'a' }", more: str = "") -> str:
    return f"pipeline {{\n{agent}\n{more}\nstages {{\n{stages}\n}}\n}}\n"


def stage(name: str, steps: str = "", more: str = "") -> str:
    """A stage, by default with a shell of its name; on 'x' stands for the condition of branch x."""
    condition = r"environment name: 'BRANCH_NAME', value: '\1'"
    more = indent(re.sub(r"\bon '(\w+)'", condition, more), "  ")
    steps = steps or f"sh '{name}'"
    return f"stage('{name}') {{\n{more}\nsteps {{ {steps} }}\n}}\n"


@dataclass(frozen=True)
class Example:
    """A Jenkinsfile, a case, and the expected commands and result."""

    text: str
    commands: tuple[str, ...] = ()
    result: str = "SUCCESS"
    case: Case = field(default_factory=case)


FAIL = case(failures={"x": 1})
WORD = "string(credentialsId: 'word', variable: 'W')"
ASK = "options { timeout(time: 1, unit: 'HOURS') }\ninput { message 'go?' }"
EXAMPLES: dict[str, Example] = {
    "a failure in post fails the build": Example(
        pipeline(stage("a"), more="post { always { sh 'x' } }"), ("a", "x"), "FAILURE", FAIL
    ),
    "catchError fails the build by default": Example(
        pipeline(stage("a", "catchError { sh 'x' }\nsh 'y'") + stage("b")),
        ("x", "y", "b"),
        "FAILURE",
        FAIL,
    ),
    "an empty variable is unset": Example(
        pipeline(
            stage("a", "script { env.V = '' }")
            + stage("b", 'sh "${env.V}"')
            + stage("c", 'sh "$V"')
        ),
        ("null",),
        "FAILURE",
    ),
    "a credential of another kind": Example(
        pipeline(
            stage("a", "withCredentials([string(credentialsId: 'pair', variable: 'W')]) { sh 'x' }")
        ),
        (),
        "FAILURE",
    ),
    "a variable has no login": Example(
        pipeline(stage("a", more="environment { P = credentials('pair') }")), (), "FAILURE"
    ),
    "post runs without the pipeline's agent and credentials": Example(
        pipeline(
            stage("a"),
            more="environment { W = credentials('missing') }\n"
            "post { always { node('n') { sh 'p' } } }",
        ),
        ("p",),
        "FAILURE",
    ),
    "a secret file needs an agent": Example(
        pipeline(
            stage("a", "script { env.V = 'x' }", "environment { F = credentials('paper') }"),
            agent="agent none",
        ),
        (),
        "FAILURE",
    ),
    "a shell needs an agent": Example(pipeline(stage("a"), agent="agent none"), (), "FAILURE"),
    "all conditions must be met": Example(
        pipeline(
            stage("a", more="when { on 'main'\n environment name: 'X', value: 'y' }")
            + stage("b", more="when { environment name: 'X', value: '' }")
            + stage("c", more="when { not { environment name: 'X', value: '' } }")
        ),
        ("b",),
    ),
    "a stage's own environment is not set for its when": Example(
        pipeline(
            stage("a", more="when { environment name: 'V', value: '1' }\nenvironment { V = '1' }")
            + stage("b")
        ),
        ("b",),
    ),
    "the names of the build": Example(
        pipeline(stage("a", 'sh "$STAGE_NAME $BRANCH_NAME $CHANGE_ID $JOB_NAME"')),
        ("a PR-7 7 delivery-platform/PR-7",),
        case=case(Ref("pull-request", "7")),
    ),
    "the input is approved": Example(
        pipeline(
            stage("a", 'sh "$WHO"', ASK.replace("'go?'", "'go?'\n submitterParameter 'WHO'"))
            + stage("b", 'sh "${env.WHO}"')
        ),
        ("ana", "null"),
        case=case(approval=Approval("ana")),
    ),
}
BY_LABEL = "line 2: agent is none or { label '...' }"
A_SCRIPT = "a script has env.NAME = value"
AN_IF = "if has env.NAME != 'text', not"
REFUSALS = {
    "": "one pipeline block",
    "node { sh 'x' }": "must begin with pipeline, not node",
    "def x = 1": "a section or a step is expected",
    "import java.util.Date\n" + pipeline(stage("a")): "imports, functions",
    "def f() { }\n" + pipeline(stage("a")): "imports, functions",
    pipeline(stage("a"), agent=""): "line 1: the pipeline has no agent",
    pipeline(stage("a"), agent="agent any"): f"{BY_LABEL}, not any",
    pipeline(stage("a"), agent="agent { docker 'x' }"): BY_LABEL,
    "pipeline { agent none }": "the pipeline has no stages",
    pipeline(""): "stages has no stage",
    pipeline(stage("a"), more="tools { maven 'x' }"): "tools is not supported in the pipeline",
    pipeline(stage("a"), more="when { on 'x' }"): "when is not supported in the pipeline",
    pipeline(stage("a"), more="agent none"): "the pipeline has agent twice",
    pipeline(stage("a"), more="options { retry(2) }"): "retry is not supported",
    pipeline(stage("a", more="options { lock(resource: 'x') }")): "lock is not supported",
    pipeline(stage("a", more="options { timestamps() }")): "timestamps is not supported",
    pipeline(stage("a"), more="environment { X = 1 }"): "X is a plain text",
    pipeline(stage("a"), more="environment { X = 'a'\n X = 'b' }"): "environment has X twice",
    pipeline(stage("a"), more='environment { X = "$Y" }'): "X is a plain text",
    pipeline(stage("a"), more="post { failure { sh 'x' } }"): "failure is not supported in post",
    pipeline(stage("a") + stage("a")): "two stages have the name 'a'",
    pipeline("stage('a') { }"): "needs one of steps, stages and parallel, and has 0",
    pipeline(
        f"stage('a') {{ agent none\n parallel {{ {stage('b')} }} }}"
    ): "Jenkins takes no agent there",
    pipeline(
        f"stage('a') {{ parallel {{ stage('b') {{ parallel {{ {stage('c')} }} }} }} }}"
    ): "Jenkins takes no parallel within a parallel",
    pipeline(stage("a", more="when { changeset '**' }")): "changeset is not supported in when",
    pipeline(stage("a", more="when { beforeInput true }")): "when has no condition",
    pipeline(stage("a", more="input { message 'm' }")): "an input and no timeout",
    pipeline(stage("a", more='input { message "to $WHERE?" }')): "a plain text is expected",
    pipeline(
        stage(
            "a", more="options { withCredentials([string(credentialsId: \"$I\", variable: 'V')]) }"
        )
    ): "a plain text is expected",
    pipeline(stage("a", more="options { disableRestartFromStage() }")): "is not supported in",
    pipeline(stage("a", more="when { not { on 'x'\n on 'y' } }")): "not has one condition",
    pipeline(stage("a", more="when { not { not { on 'x' } } }")): "not is not supported in when",
    pipeline(stage("a", "timeout(time: 1)")): "step timeout needs a block",
    pipeline(stage("a", "timeout(time: 1, activity: true) { sh 'x' }")): "takes only [time, unit]",
    pipeline(stage("a", "lock { sh 'x' }")): "step lock needs resource",
    pipeline(stage("a", "recordIssues tool: myPy()")): "step recordIssues has no parameter tool",
    pipeline(stage("a", "recordIssues tools: [java(pattern: 'x')]")): "is not supported in tools",
    pipeline(stage("a", "recordCoverage tools: [[parser: 'COBERTURA']]")): "is not supported in",
    pipeline(stage("a", "recordCoverage enabledForFailure: true")): "recordCoverage needs tools",
    pipeline(stage("a", "sh returnStdout: true")): "step sh needs script",
    pipeline(stage("a", "sh('x') { sh 'y' }")): "step sh has no block",
    pipeline(stage("a", "sh script: 'x', label: 'y'")): "step sh has no parameter label",
    pipeline(stage("a", "if (env.X) { sh 'x' }")): "a section or a step is expected",
    pipeline(stage("a", "script { sh 'x' }")): A_SCRIPT,
    pipeline(stage("a", "script { if (env.X) { sh 'x' } }")): AN_IF,
    pipeline(stage("a", "script { if (env.X == 'y') { sh 'x' } }")): AN_IF,
    pipeline(stage("a", "script { if (env.X != 'y' || env.X != 'z') { sh 'x' } }")): AN_IF,
    pipeline(
        stage("a", "script { if (env.X != 'y') { sh 'x' } else { sh 'y' } }")
    ): "a script has no else",
    pipeline(stage("a", "script { currentBuild.result = 'SUCCESS' }")): A_SCRIPT,
    pipeline(stage("a", "script { env.S = sh(script: 'x') }")): "a script may call sh",
    pipeline(
        stage("a", "script { env.S = sh(script: 'x', returnStatus: true).trim() }")
    ): "a script may call sh",
    pipeline(
        stage("a", "withCredentials([sshUserPrivateKey(credentialsId: 'x')]) { sh 'x' }")
    ): "is not supported in withCredentials",
    # Also where no build comes by.
    pipeline(stage("a", "bat 'x'", "when { on 'none' }")): "step bat is not supported",
}


@pytest.fixture(scope="module")
def runs() -> Mapping[str, Run]:
    """Every example and refusal, from one process."""
    builds = {name: (example.text, example.case) for name, example in EXAMPLES.items()}
    builds |= {text: (text, case()) for text in (*REFUSALS, *ORDERS)}
    return dict(zip(builds, record(builds.values()), strict=True))


@pytest.mark.parametrize("name", EXAMPLES)
def test_runs(runs: Mapping[str, Run], name: str) -> None:
    run, example = runs[name], EXAMPLES[name]
    assert (run.error, tuple(run.commands), run.result) == ("", example.commands, example.result)


@pytest.mark.parametrize("text", REFUSALS)
def test_refuses(runs: Mapping[str, Run], text: str) -> None:
    assert REFUSALS[text] in runs[text].error
    assert runs[text].commands == []
    assert runs[text].error.startswith("line ")


BIND = f"options {{ withCredentials([{WORD}])\n timeout(time: 1) }}"
BOUND = "credential word as W"
AGENT = "agent { label 'b' }"
# Options come before the input, then the agent, then `when`, unless `when` says otherwise.
ORDERS = {
    pipeline(stage("a", more=f"when {{ on 'x' }}\n{AGENT}\n{BIND}"), agent="agent none"): [
        *("a", f"  {BOUND}", "  agent b", "a (skipped: when)", "SUCCESS")
    ],
    pipeline(
        stage("a", more=f"when {{ beforeOptions true\n on 'x' }}\n{AGENT}\n{BIND}"),
        agent="agent none",
    ): ["a (skipped: when)", "SUCCESS"],
    pipeline(
        stage("a", more=f"when {{ beforeInput true\n on 'x' }}\ninput {{ message 'm' }}\n{BIND}"),
        agent="agent none",
    ): ["a", f"  {BOUND}", "a (skipped: when)", "SUCCESS"],
    pipeline(stage("a", more="agent none")): ["agent a", "a", "  a", "SUCCESS"],
    pipeline(
        stage("a", "lock('l') { sh 'x' }", f"{AGENT}\nenvironment {{ W = credentials('word') }}"),
        agent="agent none",
    ): ["a", "  agent b", f"  {BOUND}", "  lock l", "  x", "  unlock l", "SUCCESS"],
}


@pytest.mark.parametrize("text", ORDERS)
def test_sections_come_in_jenkins_order(runs: Mapping[str, Run], text: str) -> None:
    assert listing(runs[text]) == ORDERS[text]
