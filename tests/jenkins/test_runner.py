"""The runner does what Jenkins does with what it supports, and refuses the rest."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from textwrap import indent

import pytest

from delivery.project.facts import Ref
from tests.jenkins.harness import REFUSED, Approval, Case, Credential, Run, listing, record

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
UNSTABLE = "buildResult: 'UNSTABLE', stageResult: 'UNSTABLE'"
ASK = "options { timeout(time: 1, unit: 'HOURS') }\ninput { message 'go?' }"
EXAMPLES: dict[str, Example] = {
    "stages may have stages": Example(
        pipeline(f"stage('o') {{ stages {{ {stage('a')} {stage('b')} }} }}\n{stage('c')}"),
        ("a", "b", "c"),
    ),
    "a failure ends the stages, and post runs": Example(
        pipeline(stage("x") + stage("b"), more="post { always { sh 'p' } }"),
        ("x", "p"),
        "FAILURE",
        FAIL,
    ),
    "a stage's post comes before the next stage": Example(
        pipeline(stage("a", more="post { always { sh 'p' } }") + stage("b")), ("a", "p", "b")
    ),
    "a failure in post fails the build": Example(
        pipeline(stage("a"), more="post { always { sh 'x' } }"), ("a", "x"), "FAILURE", FAIL
    ),
    "a skipped stage has no post": Example(
        pipeline(stage("a", more="when { on 'develop' }\npost { always { sh 'p' } }") + stage("b")),
        ("b",),
    ),
    "every parallel branch runs when one fails": Example(
        pipeline(
            f"stage('o') {{ parallel {{ {stage('x')} {stage('b')} }}\n"
            f" post {{ always {{ sh 'p' }} }} }}\n{stage('c')}"
        ),
        ("x", "b", "p"),
        "FAILURE",
        FAIL,
    ),
    "an unstable build goes on": Example(
        pipeline(stage("a", f"catchError({UNSTABLE}) {{ sh 'x' }}\nsh 'y'") + stage("b")),
        ("x", "y", "b"),
        "UNSTABLE",
        FAIL,
    ),
    "catchError fails the build by default": Example(
        pipeline(stage("a", "catchError { sh 'x' }\nsh 'y'") + stage("b")),
        ("x", "y", "b"),
        "FAILURE",
        FAIL,
    ),
    "a script reads output": Example(
        pipeline(
            stage(
                "a", "script { env.S = sh(script: 'q', returnStdout: true).trim() }\nsh \"y ${S}\""
            )
        ),
        ("q", "y 7"),
        case=case(answers={"q": " 7\n"}),
    ),
    "a stage's variables win over the pipeline's and a script's": Example(
        pipeline(
            stage("a", "script { env.V = 'script' }\nsh \"$V\"", "environment { V = 'stage' }")
            + stage("b", 'sh "$V"'),
            more="environment { V = 'all' }",
        ),
        ("stage", "all"),
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
    "credentials of three kinds": Example(
        pipeline(
            stage("a", 'sh "$W $P_USR $P_PSW $P $F $X"'),
            more="environment { X = \"<$W>\"\n W = credentials('word')\n"
            " P = credentials('pair')\n F = credentials('paper') }",
        ),
        ("w u p u:p /secrets/paper <w>",),
    ),
    "credentials for some steps": Example(
        pipeline(
            stage(
                "a",
                "withCredentials([string(credentialsId: 'word', variable: 'W')]) { sh \"$W\" }\n"
                'sh "${env.W}"',
            )
        ),
        ("w", "null"),
    ),
    "a credential of another kind": Example(
        pipeline(
            stage("a", "withCredentials([string(credentialsId: 'pair', variable: 'W')]) { sh 'x' }")
        ),
        (),
        "FAILURE",
    ),
    "a missing credential": Example(
        pipeline(stage("a", more="environment { W = credentials('missing') }")), (), "FAILURE"
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
    "a node of its own": Example(
        pipeline(stage("a", "node('b') { sh 'x' }"), agent="agent none"), ("x",)
    ),
    "a later stage has the stash": Example(
        pipeline(stage("a", "stash name: 's', includes: '*'") + stage("b", "unstash 's'\nsh 'x'")),
        ("x",),
    ),
    "all conditions must be met": Example(
        pipeline(
            stage("a", more="when { on 'main'\n environment name: 'X', value: 'y' }")
            + stage("b", more="when { environment name: 'X', value: '' }")
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
    "nobody answers": Example(pipeline(stage("a", more=ASK) + stage("b")), (), "ABORTED"),
    "the input is refused": Example(
        pipeline(stage("a", more=ASK), more="post { always { sh 'p' } }"),
        ("p",),
        "ABORTED",
        case(approval=Approval()),
    ),
    "the input is approved": Example(
        pipeline(
            stage("a", 'sh "$WHO"', ASK.replace("'go?'", "'go?'\n submitterParameter 'WHO'"))
            + stage("b", 'sh "${env.WHO}"')
        ),
        ("ana", "null"),
        case=case(approval=Approval("ana")),
    ),
    "post knows the result": Example(
        pipeline(stage("x"), more='post { always { sh "is ${currentBuild.currentResult}" } }'),
        ("x", "is FAILURE"),
        "FAILURE",
        FAIL,
    ),
    "a lost agent": Example(
        pipeline(stage("a", "sh 'x'\nsh 'y'", "post { always { sh 'z' } }")),
        ("x",),
        "ABORTED",
        case(lost="x"),
    ),
}
BY_LABEL = "line 2: agent is none or { label '...' }"
A_SCRIPT = "a script has env.NAME = value"
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
    pipeline(stage("a"), more="options { lock(resource: 'x') }"): "lock is not supported",
    pipeline(stage("a", more="options { timestamps() }")): "timestamps is not supported",
    pipeline(stage("a"), more="environment { X = 1 }"): "X is a text in quotes",
    pipeline(stage("a"), more="environment { X = 'a'\n X = 'b' }"): "environment has X twice",
    pipeline(stage("a"), more="environment { X = 'a'\n Y = \"$X\" }"): "of the same block",
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
        stage("a", more='options { lock(resource: "l-${env.E}") }')
    ): "a plain text is expected",
    pipeline(stage("a", "sh returnStdout: true")): "step sh needs script",
    pipeline(stage("a", "sh('x') { sh 'y' }")): "step sh has no block",
    pipeline(stage("a", "sh script: 'x', label: 'y'")): "step sh has no parameter label",
    pipeline(stage("a", "if (env.X) { sh 'x' }")): "a section or a step is expected",
    pipeline(stage("a", "script { sh 'x' }")): A_SCRIPT,
    pipeline(stage("a", "script { if (env.X) { sh 'x' } }")): A_SCRIPT,
    pipeline(stage("a", "script { currentBuild.result = 'SUCCESS' }")): A_SCRIPT,
    pipeline(
        stage("a", "script { env.S = sh(script: 'x', returnStatus: true) }")
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
    assert runs[text].exit == REFUSED
    assert runs[text].commands == []
    assert runs[text].error.startswith("line ")


LOCK = "options { lock(resource: 'l')\n timeout(time: 1) }"
AGENT = "agent { label 'b' }"
# Options come before the input, then the agent, then `when`, unless `when` says otherwise.
ORDERS = {
    pipeline(stage("a", more=f"when {{ on 'x' }}\n{AGENT}\n{LOCK}"), agent="agent none"): [
        *("a", "  lock l", "  agent b", "  unlock l", "a (skipped: when)", "SUCCESS")
    ],
    pipeline(
        stage("a", more=f"when {{ beforeOptions true\n on 'x' }}\n{AGENT}\n{LOCK}"),
        agent="agent none",
    ): ["a (skipped: when)", "SUCCESS"],
    pipeline(
        stage("a", more=f"when {{ beforeInput true\n on 'x' }}\ninput {{ message 'm' }}\n{LOCK}"),
        agent="agent none",
    ): ["a", "  lock l", "  unlock l", "a (skipped: when)", "SUCCESS"],
    pipeline(stage("a", more="agent none")): ["agent a", "a", "  a", "SUCCESS"],
}


@pytest.mark.parametrize("text", ORDERS)
def test_sections_come_in_jenkins_order(runs: Mapping[str, Run], text: str) -> None:
    assert listing(runs[text]) == ORDERS[text]
