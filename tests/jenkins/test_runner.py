"""The runner has Jenkins' semantics for the part of a Jenkinsfile that it knows, and refuses the rest with its line."""

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
    """A stage, which by default runs its own name; on 'x' is short for the condition that the branch is x."""
    more = indent(
        re.sub(r"\bon '(\w+)'", r"environment name: 'BRANCH_NAME', value: '\1'", more), "  "
    )
    steps = steps or f"sh '{name}'"
    return f"stage('{name}') {{\n{more}\nsteps {{ {steps} }}\n}}\n"


@dataclass(frozen=True)
class Example:
    """A Jenkinsfile, a case, and what came of it: the commands, the result, or what is said where it is refused."""

    text: str
    commands: tuple[str, ...] = ()
    result: str = "SUCCESS"
    case: Case = field(default_factory=case)
    error: str = ""


FAIL = case(failures={"x": 1})
EXAMPLES: dict[str, Example] = {
    "stages may stand in stages": Example(
        pipeline(f"stage('o') {{ stages {{ {stage('a')} {stage('b')} }} }}\n{stage('c')}"),
        ("a", "b", "c"),
    ),
    "a failure ends the stages, and post runs": Example(
        pipeline(stage("x") + stage("b"), more="post { always { sh 'p' } }"),
        ("x", "p"),
        "FAILURE",
        FAIL,
    ),
    "post has Jenkins' order, whatever order it is written in": Example(
        pipeline(
            stage("x"),
            more="post { cleanup { sh 'c' }\n unsuccessful { sh 'u' }\n success { sh 's' }\n"
            " failure { sh 'f' }\n always { sh 'a' } }",
        ),
        ("x", "a", "f", "u", "c"),
        "FAILURE",
        FAIL,
    ),
    "a stage's post comes before the next stage": Example(
        pipeline(stage("a", more="post { success { sh 'p' } }") + stage("b")), ("a", "p", "b")
    ),
    "a failure in post is one, and the other conditions still run": Example(
        pipeline(stage("a"), more="post { always { sh 'x' }\n cleanup { sh 'c' } }"),
        ("a", "x", "c"),
        "FAILURE",
        FAIL,
    ),
    "a skipped stage has no post": Example(
        pipeline(stage("a", more="when { on 'develop' }\npost { always { sh 'p' } }") + stage("b")),
        ("b",),
    ),
    "parallel branches all run when one fails": Example(
        pipeline(
            f"stage('o') {{ parallel {{ {stage('x')} {stage('b')} }}\n post {{ failure {{ sh 'p' }} }} }}\n{stage('c')}"
        ),
        ("x", "b", "p"),
        "FAILURE",
        FAIL,
    ),
    "unstable goes on": Example(
        pipeline(
            stage(
                "a",
                "catchError(buildResult: 'UNSTABLE', stageResult: 'UNSTABLE') { sh 'x' }\nsh 'y'",
            )
            + stage("b")
        ),
        ("x", "y", "b"),
        "UNSTABLE",
        FAIL,
    ),
    "catchError fails the build unless it says otherwise": Example(
        pipeline(stage("a", "catchError { sh 'x' }\nsh 'y'") + stage("b")),
        ("x", "y", "b"),
        "FAILURE",
        FAIL,
    ),
    "returnStatus is no failure": Example(
        pipeline(
            stage("a", "script { env.S = sh(script: 'x', returnStatus: true) }\nsh \"y ${env.S}\"")
        ),
        ("x", "y 1"),
        case=FAIL,
    ),
    "output is asked of the case": Example(
        pipeline(
            stage(
                "a", "script { env.S = sh(script: 'q', returnStdout: true).trim() }\nsh \"y ${S}\""
            )
        ),
        ("q", "y 7"),
        case=case(answers={"q": " 7\n"}),
    ),
    "the environment of a stage wins over the pipeline's, and over what a script sets": Example(
        pipeline(
            stage(
                "a",
                "script { env.V = 'script' }\nsh \"$V ${env.W}\"",
                "environment { V = 'stage' }",
            )
            + stage("b", 'sh "$V"'),
            more="environment { V = 'all'\n W = \"${V}!\" }",
        ),
        ("stage all!", "all"),
    ),
    "an empty variable is none": Example(
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
            more="environment { X = \"<$W>\"\n W = credentials('word')\n P = credentials('pair')\n F = credentials('paper') }",
        ),
        ("w u p u:p /secrets/paper <w>",),
    ),
    "credentials for some steps": Example(
        pipeline(
            stage(
                "a",
                "withCredentials([string(credentialsId: 'word', variable: 'W'),"
                " usernamePassword(credentialsId: 'pair', usernameVariable: 'U', passwordVariable: 'P')]) { sh \"$W $U $P\" }\n"
                'sh "${env.W}"',
            )
        ),
        ("w u p", "null"),
    ),
    "a credential that there is not": Example(
        pipeline(stage("a", more="environment { W = credentials('nobody') }")), (), "FAILURE"
    ),
    "a file needs a disk": Example(
        pipeline(
            stage("a", "echo 'x'", "environment { F = credentials('paper') }"), agent="agent none"
        ),
        (),
        "FAILURE",
    ),
    "no agent, no shell": Example(pipeline(stage("a"), agent="agent none"), (), "FAILURE"),
    "a node of its own": Example(
        pipeline(stage("a", "node('b') { sh 'x' }"), agent="agent none"), ("x",)
    ),
    "a stash is there for those after it": Example(
        pipeline(
            stage("a", "stash name: 's', allowEmpty: true") + stage("b", "unstash 's'\nsh 'x'")
        ),
        ("x",),
    ),
    "conditions are joined": Example(
        pipeline(
            stage("a", more="when { not { on 'main' } }")
            + stage(
                "b",
                more="when { anyOf { on 'main'\n on 'x' } }",
            )
            + stage(
                "c",
                more="when { allOf { on 'main'\n on 'x' } }",
            )
            + stage(
                "d",
                more="when { on 'main'\n on 'x' }",
            )
            + stage("e", more="when { environment name: 'NOBODY', value: '' }")
        ),
        ("b", "e"),
    ),
    "a stage's own environment is not there yet when it is asked": Example(
        pipeline(
            stage("a", more="when { environment name: 'V', value: '1' }\nenvironment { V = '1' }")
            + stage("b")
        ),
        ("b",),
    ),
    "the names of things": Example(
        pipeline(stage("a", 'sh "$STAGE_NAME $BRANCH_NAME $CHANGE_ID $JOB_NAME"')),
        ("a PR-7 7 delivery-platform/PR-7",),
        case=case(Ref("pull-request", "7")),
    ),
    "nobody answers": Example(
        pipeline(
            stage("a", more="options { timeout(time: 1, unit: 'HOURS') }\ninput { message 'go?' }")
            + stage("b")
        ),
        (),
        "ABORTED",
    ),
    "somebody approves": Example(
        pipeline(
            stage("a", 'sh "$WHO"', "input { message 'go?'\n submitterParameter 'WHO' }")
            + stage("b", 'sh "${env.WHO}"')
        ),
        ("ana", "null"),
        case=case(approval=Approval("ana")),
    ),
    "nobody answers, for ever": Example(
        pipeline(stage("a", more="input { message 'go?' }")), error="nothing ends the wait"
    ),
    "an aborted build is not unstable or failed": Example(
        pipeline(
            stage("a", more="input { message 'go?' }"),
            more="post { aborted { sh 'a' }\n failure { sh 'f' }\n unsuccessful { sh 'u' } }",
        ),
        ("a", "u"),
        "ABORTED",
        case(approval=Approval()),
    ),
    "the result is known in post": Example(
        pipeline(stage("x"), more='post { always { sh "now ${currentBuild.currentResult}" } }'),
        ("x", "now FAILURE"),
        "FAILURE",
        FAIL,
    ),
    "an agent that is lost": Example(
        pipeline(
            stage("a", "sh 'x'\nsh 'y'", "post { always { sh 'z' } }"), agent="agent { label 'a' }"
        ),
        ("x",),
        "ABORTED",
        case(lost="x"),
    ),
}
REFUSALS = {
    "": "only one pipeline block",
    "node { sh 'x' }": "has to begin with pipeline, not node",
    "def x = 1": "a section or a step is expected",
    "import java.util.Date\n" + pipeline(stage("a")): "no imports",
    "def f() { }\n" + pipeline(stage("a")): "no imports, functions",
    pipeline(stage("a"), agent=""): "line 1: the pipeline has no agent",
    pipeline(stage("a"), agent="agent any"): "line 2: agent is none, or { label '...' }, not any",
    pipeline(stage("a"), agent="agent { docker 'x' }"): "line 2: agent { docker } is not known",
    "pipeline { agent none }": "the pipeline has no stages",
    pipeline(""): "stages has no stage",
    pipeline(stage("a"), more="tools { maven 'x' }"): "line 3: tools is not known in the pipeline",
    pipeline(stage("a"), more="when { on 'x' }"): "when is not known in the pipeline",
    pipeline(stage("a"), more="agent none"): "the pipeline has agent twice",
    pipeline(
        stage("a"), more="options { retry(2) }"
    ): "retry is not known in the pipeline's options",
    pipeline(
        stage("a"), more="options { lock(resource: 'x') }"
    ): "lock is not known in the pipeline's options",
    pipeline(stage("a"), more="environment { X = 1 }"): "X is given a text in quotes",
    pipeline(stage("a"), more="environment { X = 'a'\n X = 'b' }"): "environment has X twice",
    pipeline(stage("a"), more='environment { X = "$Y"\n Y = "$X" }'): "are made from each other",
    pipeline(stage("a"), more="post { changed { sh 'x' } }"): "changed is not known in post",
    pipeline(stage("a") + stage("a")): "there are two stages called 'a'",
    pipeline("stage('a') { }"): "needs one of steps, stages and parallel, and has 0",
    pipeline(
        f"stage('a') {{ agent none\n parallel {{ {stage('b')} }} }}"
    ): "Jenkins takes no agent there",
    pipeline(
        f"stage('a') {{ parallel {{ stage('b') {{ parallel {{ {stage('c')} }} }} }} }}"
    ): "Jenkins takes no parallel within a parallel",
    pipeline(
        stage("a", more="when { changeset '**' }")
    ): "changeset is refused: it is empty on a branch's first build",
    pipeline(stage("a", more="when { beforeAgent true }")): "when has no condition",
    pipeline(
        stage(
            "a",
            more="when { not { on 'x'\n on 'y' } }",
        )
    ): "not takes one condition",
    pipeline(
        stage("a", more='input { message "to $WHERE?" }')
    ): "when the build begins, and WHERE is not set by then",
    pipeline(
        stage("a", more='options { lock(resource: "l-${env.E}") }')
    ): "and env.E is not set by then",
    pipeline(stage("a", "bat 'x'")): "step bat is not known",
    pipeline(stage("a", "sh returnStdout: true")): "step sh needs script",
    pipeline(stage("a", "sh('x') { echo 'y' }")): "step sh has no block",
    pipeline(stage("a", "if (env.X) { sh 'x' }")): "a section or a step is expected",
    pipeline(
        stage("a", "script { if (env.X) { sh 'x' } }")
    ): "a script has env.NAME = value and sh",
    pipeline(
        stage("a", "script { currentBuild.result = 'SUCCESS' }")
    ): "a script has env.NAME = value and sh",
    pipeline(
        stage("a", "withCredentials([sshUserPrivateKey(credentialsId: 'x')]) { sh 'x' }")
    ): "is not known in withCredentials",
    # Also where no build comes by.
    pipeline(stage("a", "bat 'x'", "when { on 'nobody' }")): "step bat is not known",
}


@pytest.fixture(scope="module")
def runs() -> Mapping[str, Run]:
    """Every example and every refusal, made in one process."""
    builds = {name: (one.text, one.case) for name, one in EXAMPLES.items()}
    builds |= {text: (text, case()) for text in (*REFUSALS, *ORDERS)}
    return dict(zip(builds, record(builds.values()), strict=True))


@pytest.mark.parametrize("name", EXAMPLES)
def test_runs(runs: Mapping[str, Run], name: str) -> None:
    run, example = runs[name], EXAMPLES[name]
    if example.error:
        assert example.error in run.error
        return
    assert (run.error, tuple(run.commands), run.result) == ("", example.commands, example.result)


@pytest.mark.parametrize("text", REFUSALS)
def test_refuses(runs: Mapping[str, Run], text: str) -> None:
    assert REFUSALS[text] in runs[text].error
    assert runs[text].exit == REFUSED
    assert runs[text].commands == []
    assert runs[text].error.startswith("line ")


LOCK = "options { lock(resource: 'l') }"
OTHER = "on 'develop'"
# What is taken before `when` is asked: options, then the input, then the agent, unless `when` comes before them.
ORDERS = {
    pipeline(
        stage("a", more=f"when {{ {OTHER} }}\nagent {{ label 'b' }}\n{LOCK}"), agent="agent none"
    ): [*("a", "  lock l", "  agent b", "  unlock l", "a (skipped: when)", "SUCCESS")],
    pipeline(
        stage("a", more=f"when {{ beforeAgent true\n {OTHER} }}\nagent {{ label 'b' }}\n{LOCK}"),
        agent="agent none",
    ): [*("a", "  lock l", "  unlock l", "a (skipped: when)", "SUCCESS")],
    pipeline(
        stage("a", more=f"when {{ beforeOptions true\n {OTHER} }}\nagent {{ label 'b' }}\n{LOCK}"),
        agent="agent none",
    ): [*("a (skipped: when)", "SUCCESS")],
    pipeline(
        stage("a", more=f"when {{ beforeInput true\n {OTHER} }}\ninput {{ message 'm' }}\n{LOCK}"),
        agent="agent none",
    ): [*("a", "  lock l", "  unlock l", "a (skipped: when)", "SUCCESS")],
    pipeline(stage("a", "lock('l') { sh 'x' }")): [
        "agent a",
        "a",
        "  lock l",
        "  x",
        "  unlock l",
        "SUCCESS",
    ],
    pipeline(stage("a", more="agent none")): ["agent a", "a", "  a", "SUCCESS"],
}


@pytest.mark.parametrize("text", ORDERS)
def test_takes_things_in_jenkins_order(runs: Mapping[str, Run], text: str) -> None:
    assert listing(runs[text]) == ORDERS[text]
