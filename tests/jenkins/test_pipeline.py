"""The Jenkinsfile does for every branch, pull request and tag what gitflow.py decides, and no change to it goes unnoticed."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache, partial
from typing import Any

import pytest
from invoke.parser import Parser

from delivery.project import files
from delivery.project.declaration import Declaration
from delivery.project.facts import Ref
from delivery.project.files import ROOT
from delivery.project.gitflow import Decision, decide
from tasks import namespace
from tests.jenkins.harness import (
    Approval,
    Case,
    Credential,
    Run,
    answers,
    configured,
    listing,
    record,
)

TEXT = (ROOT / "Jenkinsfile").read_text(encoding="utf-8")
BUILD, DEPLOY = "delivery-build", "delivery-deploy"
DAY, HOUR, MINUTE = 86400, 3600, 60
REFS = {
    "feature/x": Ref("branch", "feature/x"),
    "bugfix/y": Ref("branch", "bugfix/y"),
    "PR-7": Ref("pull-request", "7"),
    "PR-8 of main": Ref("pull-request", "8"),
    "develop": Ref("branch", "develop"),
    "desenvolvimento": Ref("branch", "desenvolvimento"),
    "release/1.2": Ref("branch", "release/1.2"),
    "hotfix/1.2.1": Ref("branch", "hotfix/1.2.1"),
    "main": Ref("branch", "main"),
    "master": Ref("branch", "master"),
    "platform-chart-v1.2.0": Ref("tag", "platform-chart-v1.2.0"),
    "a foreign tag": Ref("tag", "nightly"),
    "detached": Ref("", ""),
}
LEAVES = {
    "prepare": "./run inv engine.up",
    "delivery": "./run inv ci.check --of delivery-platform",
    "base-image": "./run inv ci.check --of base-image",
    "apps": "./run inv ci.check --of apps",
    "platform-chart": "./run inv ci.check --of platform-chart",
    "plan": "./run inv plan --file .delivery/plan.json",
    "build": "./run inv build --plan .delivery/plan.json",
    "scan": "./run inv scan.secrets",
    "push": "./run inv push --plan .delivery/plan.json",
    "deploy to production": "./run inv deploy --plan .delivery/plan.json --yes",
    "verify production": "./run inv verify --plan .delivery/plan.json",
    "record": "./run inv ci.deliver",
}


@cache
def declaration() -> Declaration:
    return files.load_declaration()


@cache
def declared() -> dict[str, Credential]:
    return configured(ROOT / "ops/jenkins/values.yaml")


def decision_of(ref: Ref) -> Decision:
    return decide(ref, declaration())


def case(name: str = "main", **changes: Any) -> Case:  # noqa: ANN401  # whatever a case has
    """A build for one of the refs, which ana approves if it asks."""
    ref = REFS[name]
    one = Case(ref, declared(), answers(decision_of(ref)), approval=Approval("ana"))
    return (
        replace(one, source="main", **changes)
        if name == "PR-8 of main"
        else replace(one, **changes)
    )


# ---- What happened, and what is to happen: the same lines of text


def outline(run: Run) -> list[str]:  # noqa: C901, PLR0912  # one branch for each kind of event
    """A run as lines: all that is done, with what, where and under what."""
    if run.error:
        return [f"refused {run.error}"]
    lines = []
    for event in run.events:
        name = event["stage"].rpartition(" / ")[2]
        match event["what"]:
            case "sh":
                known = " ".join(sorted(set(event["credentials"])))
                locks = " ".join(event["locks"])
                place = f"{event['stage'] or 'post'} | {event['agent']} | {event['timeout']} | {known} | {locks}"
                lines.append(f"sh {place} | {event['command']}")
                lines.append(f"knows {json.dumps(event['variables'], sort_keys=True)}")
            case "agent" | "released":
                lines.append(f"{event['what']} {event['label']}")
            case "lock" | "unlock":
                lines.append(f"{event['what']} {event['resource']} agent={event['agent']}")
            case "input":
                asked = f"{event['submitter']} {event['timeout']} as {event['parameter']}: {event['answer']}"
                lines.append(f"input agent={event['agent']} locks={event['locks']} {asked}")
            case "credential":
                lines.append(
                    f"credential {event['id']} {event['kind']} {' '.join(event['variables'])}"
                )
            case "skipped":
                lines.append(f"skipped {name}: {event['why']}")
            case "set":
                lines.append(f"set {event['name']}={event['value']}")
            case "stash":
                lines.append(f"stash {event['name']}: {event['includes']} {event['allowEmpty']}")
            case "unstash":
                lines.append(f"unstash {event['name']}")
            case "archive":
                lines.append(f"archive {event['artifacts']} {event['allowEmpty']}")
            case "junit":
                lines.append(f"junit {event['results']} {event['allowEmpty']}")
            case "caught":
                lines.append(f"caught {event['result']} {event['marks']}")
            case "checkout":
                lines.append(f"checkout {event['agent']}")
            case "result":
                lines.append(f"result {event['result']}")
            case "options":
                given = {
                    key: value
                    for key, value in event.items()
                    if key not in {"what", "stage", "agent"}
                }
                lines.append(f"options {json.dumps(given, sort_keys=True)}")
    return lines


def expected(decision: Decision) -> list[str]:  # noqa: C901, PLR0915  # as long as a pipeline
    """The lines that a decision asks for, written from the issue and the decision, not from the Jenkinsfile."""
    lines = [f"options {json.dumps(OPTIONS, sort_keys=True)}"]
    known: set[str] = set()
    variables = {"CI": "true"}
    locks: list[str] = []
    plan, stash = (
        ".delivery/plan.json",
        ".delivery/plan.json, .delivery/release.json, .delivery/records/**",
    )
    approval = "approval" in decision.gates

    def credential(name: str, variable: str) -> None:
        known.add(name)
        bound = _bound(name, variable)
        lines.append(f"credential {name} {declared()[name].kind} {' '.join(bound)}")
        variables.update(bound)

    def registry(name: str) -> None:
        credential(name, "REGISTRY")
        for what, suffix in (("USERNAME", "USR"), ("PASSWORD", "PSW")):
            variables[f"DELIVERY_REGISTRY_{what}"] = variables[f"REGISTRY_{suffix}"]

    def forget() -> None:
        """A stage has ended: what it knew, its agent and those after it do not."""
        known.clear()
        for name in variables.keys() - kept:
            del variables[name]

    def sh(stage: str, agent: str, seconds: int, command: str) -> None:
        lines.append(
            f"sh {stage} | {agent} | {seconds} | {' '.join(sorted(known))} | {' '.join(locks)} | {command}"
        )
        lines.append(f"knows {json.dumps(variables, sort_keys=True)}")

    def node(label: str) -> None:
        lines.extend([f"agent {label}", f"checkout {label}"])

    def keep() -> None:
        lines.append(f"stash delivery: {stash} True")

    kept = set(variables)
    node(BUILD)
    sh("make / prepare", BUILD, 2 * HOUR, "./run inv engine.up")
    for stage, part in (
        ("delivery", declaration().name),
        *((name, name) for name in declaration().subprojects),
    ):
        sh(f"make / checks / {stage}", BUILD, 2 * HOUR, f"./run inv ci.check --of {part}")
    credential("delivery-ledger-token", "DELIVERY_LEDGER_TOKEN")
    registry("delivery-registry-read")
    sh("make / release / plan", BUILD, 2 * HOUR, f"./run inv plan --file {plan}")
    for variable, what in (
        ("PUSHES", "pushes"),
        ("ENVIRONMENT", "environment"),
        ("APPROVAL", "approval"),
    ):
        sh("make / release / plan", BUILD, 2 * HOUR, f"./run inv plan --say {what}")
        said = {
            "pushes": decision.pushes,
            "environment": decision.environment,
            "approval": approval,
        }[what]
        value = said if isinstance(said, str) else str(said).lower()
        lines.append(f"set DELIVERY_{variable}={value}")
        kept.add(f"DELIVERY_{variable}")
        if value:  # an empty variable is none
            variables[f"DELIVERY_{variable}"] = value
    sh("make / release / build", BUILD, 2 * HOUR, f"./run inv build --plan {plan}")
    sh("make / release / scan", BUILD, 2 * HOUR, "./run inv scan.secrets")
    if decision.pushes:
        registry("delivery-registry")
        credential("delivery-signing-key", "DELIVERY_SIGNING_KEY")
        credential("delivery-signing-password", "COSIGN_PASSWORD")
        sh("make / release / push", BUILD, 2 * HOUR, f"./run inv push --plan {plan}")
    else:
        lines.append("skipped push: when")
    lines.append("junit .delivery/reports/*.xml True")
    lines.append("archive .delivery/plan.json, .delivery/release.json, .delivery/scan/* True")
    keep()
    lines.append(f"released {BUILD}")
    forget()
    if approval:
        variables["DELIVERY_RESPONSIBLE"] = "ana"
        kept.add("DELIVERY_RESPONSIBLE")
        lines.append(f"input agent= locks=[] releasers {2 * DAY} as APPROVED_BY: approved")
        lines.append("set DELIVERY_RESPONSIBLE=ana")
    else:
        lines.append("skipped approval: when")
    for name in declaration().gitflow.deploys.values():
        if name != decision.environment:
            lines.extend(
                f"skipped {stage}: when" for stage in (name, f"deploy to {name}", f"verify {name}")
            )
            continue
        lines.append(f"lock delivery-{name} agent=")
        locks = [f"delivery-{name}"]
        node(DEPLOY)
        credential(f"delivery-kubeconfig-{name}", "KUBECONFIG")
        credential("delivery-ledger-token", "DELIVERY_LEDGER_TOKEN")
        registry("delivery-registry-read")
        lines.append("unstash delivery")
        sh(
            f"{name} / deploy to {name}",
            DEPLOY,
            90 * MINUTE,
            f"./run inv deploy --plan {plan} --yes",
        )
        sh(f"{name} / verify {name}", DEPLOY, 45 * MINUTE, f"./run inv verify --plan {plan}")
        keep()
        lines.append(f"released {DEPLOY}")
        lines.append(f"unlock delivery-{name} agent=")
        locks = []
        forget()
    node(DEPLOY)
    credential("delivery-ledger-token", "DELIVERY_LEDGER_TOKEN")
    lines.append("unstash delivery")
    sh("record", DEPLOY, 3 * DAY, "./run inv ci.deliver")
    keep()
    lines.append(f"released {DEPLOY}")
    forget()
    node(DEPLOY)
    lines.append("unstash delivery")
    credential("delivery-ledger-token", "DELIVERY_LEDGER_TOKEN")
    credential("delivery-webhook", "DELIVERY_WEBHOOK")
    sh("post", DEPLOY, 3 * DAY, "./run inv ci.notify --result SUCCESS")
    return [*lines, f"released {DEPLOY}", "result SUCCESS"]


def _bound(name: str, variable: str) -> dict[str, str]:
    """What a credential is worth, by the variables that it is bound to."""
    one = declared()[name]
    if one.kind == "usernamePassword":
        return {
            variable: f"{one.username}:{one.password}",
            f"{variable}_USR": one.username,
            f"{variable}_PSW": one.password,
        }
    return {variable: f"/secrets/{name}" if one.kind == "file" else one.value}


OPTIONS = {
    "buildDiscarder": {"artifactNumToKeepStr": "30", "numToKeepStr": "100"},
    "disableConcurrentBuilds": {"abortPrevious": False},
    "timeout": {"seconds": 3 * DAY},
    "timestamps": {},
}

# ---- Everything in one process


CASES: dict[str, Callable[[], Case]] = {
    **{name: partial(case, name) for name in REFS},
    **{f"{stage} fails": partial(case, failures={command: 1}) for stage, command in LEAVES.items()},
    **{
        f"{name} is not deployed": partial(case, name, failures={LEAVES["deploy to production"]: 1})
        for name in ("develop", "release/1.2", "main")
    },
    "refused": partial(case, approval=Approval()),
    "nobody approves": partial(case, approval=None),
    "the agent is lost": partial(case, lost=LEAVES["build"]),
}
# A change is looked for in the first of these; only where it does not show there, in the others, which takes another process.
WATCHED = (
    ("main",),
    (
        *(
            "feature/x",
            "develop",
            "release/1.2",
            "nobody approves",
            "the agent is lost",
            "push fails",
            "record fails",
        ),
        *("develop is not deployed", "release/1.2 is not deployed", "main is not deployed"),
    ),
)


@pytest.fixture(scope="module")
def done() -> dict[str, Run]:
    """What came of every case, made at once, for a JVM takes its time to start."""
    return dict(zip(CASES, record((TEXT, made()) for made in CASES.values()), strict=True))


@pytest.mark.parametrize("name", REFS)
def test_does_what_gitflow_decides(done: dict[str, Run], name: str) -> None:
    assert outline(done[name]) == expected(decision_of(REFS[name]))


def test_the_documentation_lists_what_is_done(done: dict[str, Run]) -> None:
    text = (ROOT / "docs" / "pipeline.md").read_text(encoding="utf-8")
    told = {
        name: steps
        for names, steps in re.findall(
            r"^### ([^\n]+)\n\n```text\n(.*?)\n```$", text, re.MULTILINE | re.DOTALL
        )
        for name in re.findall(r"`([^`]+)`", names)
    }
    assert told == {name: "\n".join(listing(done[name])) for name in told}
    assert told.keys() >= {
        name for name, ref in REFS.items() if ref.kind and name.isascii() and " " not in name
    } - {"bugfix/y"}


@pytest.mark.parametrize("name", REFS)
def test_every_shell_is_one_task_that_there_is(done: dict[str, Run], name: str) -> None:
    parser = Parser(contexts=namespace.to_contexts())
    for command in done[name].commands:
        program, inv, *arguments = command.split()
        assert (program, inv) == ("./run", "inv")
        assert len(parser.parse_argv(arguments)) == 1
        assert not re.search(r"[;&|<>`$*?]", command)


def test_credentials_are_those_that_jenkins_is_given(done: dict[str, Run]) -> None:
    used = {event["id"] for run in done.values() for event in run.of("credential")}
    assert used == declared().keys() - {"delivery-git"}  # which Jenkins itself clones with


def test_what_has_not_been_reviewed_can_write_nowhere(done: dict[str, Run]) -> None:
    for event in done["PR-7"].of("sh"):
        if event["stage"].startswith(("make / prepare", "make / checks")):
            assert event["credentials"] == []
        assert set(event["credentials"]) <= {
            "delivery-ledger-token",
            "delivery-registry-read",
            "delivery-webhook",
        }


@pytest.mark.parametrize("stage", LEAVES)
def test_a_failure_ends_the_line_and_is_told(done: dict[str, Run], stage: str) -> None:
    run = done[f"{stage} fails"]
    usual = done["main"].commands
    # The branches beside a check that fails are run, what comes after is not.
    last = (
        LEAVES["platform-chart"] if stage in {"delivery", "base-image", "apps"} else LEAVES[stage]
    )
    assert run.commands == [*usual[: usual.index(last) + 1], "./run inv ci.notify --result FAILURE"]
    assert (run.result, run.exit) == ("FAILURE", 1)
    assert [event["what"] for event in run.of("junit", "archive", "stash")][:3] == [
        "junit",
        "archive",
        "stash",
    ]
    skipped = {
        event["stage"] for event in run.of("skipped") if event["why"] == "an earlier stage failed"
    }
    assert bool(skipped) == (stage != "record")


@pytest.mark.parametrize("name", ["refused", "nobody approves"])
def test_without_approval_nothing_is_held_and_nothing_deployed(
    done: dict[str, Run], name: str
) -> None:
    run = done[name]
    assert (run.result, run.exit) == ("ABORTED", 3)
    assert not run.of("lock")
    assert not any(" deploy " in command for command in run.commands)
    assert run.commands[-1] == "./run inv ci.notify --result ABORTED"
    asked = next(at for at, event in enumerate(run.events) if event["what"] == "input")
    held = [event["what"] for event in run.events[:asked] if event["what"] in {"agent", "released"}]
    assert held == ["agent", "released"]


def test_an_agent_that_is_lost_is_told_of_too(done: dict[str, Run]) -> None:
    run = done["the agent is lost"]
    assert run.result == "ABORTED"
    assert not run.of("stash")
    assert [event["marks"] for event in run.of("caught")] == ["FAILURE"]
    assert run.commands[-1] == "./run inv ci.notify --result ABORTED"
    assert not any(" push " in command or " deploy " in command for command in run.commands)


# ---- Mutations: what somebody may do to the file, by mistake or not


def _blocks(opening: str) -> Iterator[tuple[int, int]]:
    """Where each section is that opens with this: from the beginning of its line to the end of its block."""
    for found in re.finditer(rf"^ *{opening} ?\{{", TEXT, re.MULTILINE):
        depth, at = 1, found.end()
        while depth:
            depth += {"{": 1, "}": -1}.get(TEXT[at], 0)
            at += 1
        yield found.start(), at


def _each(title: str, pattern: str, to: str) -> Iterator[tuple[str, str]]:
    for number, found in enumerate(re.finditer(pattern, TEXT, re.MULTILINE), start=1):
        yield (
            f"{title} {number}: {found[0].strip()}",
            TEXT[: found.start()] + found.expand(to) + TEXT[found.end() :],
        )


def _without(title: str, opening: str) -> Iterator[tuple[str, str]]:
    for number, (start, end) in enumerate(_blocks(opening), start=1):
        yield f"{title} {number}", TEXT[:start] + TEXT[end:]


def _swapped(one: str, other: str) -> str:
    (first,) = _blocks(rf"stage\('{one}'\)")
    (second,) = _blocks(rf"stage\('{other}'\)")
    between = TEXT[first[1] : second[0]]
    return (
        TEXT[: first[0]]
        + TEXT[second[0] : second[1]]
        + between
        + TEXT[first[0] : first[1]]
        + TEXT[second[1] :]
    )


@cache
def mutations() -> tuple[tuple[str, str], ...]:
    """The Jenkinsfile with one thing changed, by what that is."""
    condition = r"environment (name: '\w+'), value: '(\w*)'"
    made = [
        *_without("no when", "when"),
        *_each("a condition negated", condition, r"not { environment \1, value: '\2' }"),
        *_each("a condition of another value", condition, r"environment \1, value: '\2x'"),
        *_each(
            "a condition of another variable",
            r"environment name: '(\w+)', value",
            r"environment name: '\1X', value",
        ),
        *_each(
            "a changeset", r"( +)environment name: '\w+', value: '\w*'", r"\g<0>\n\1changeset '**'"
        ),
        *_each("not before", r"^ +before\w+ true\n", ""),
        *_each("no input's timeout", r"^ +options \{ timeout\(time: 2, unit: 'DAYS'\) \}\n", ""),
        *_each("another timeout", r"timeout\(time: (\d+)", r"timeout(time: 1\1"),
        *_each("no options", r"^ +options \{ .* \}\n", ""),
        *_each("another lock", r"lock\(resource: '", "lock(resource: 'x"),
        *_each(
            "no option",
            r"^ +(?:disableConcurrentBuilds|timeout|buildDiscarder|timestamps)\(.*\n",
            "",
        ),
        *_each("aborting", "abortPrevious: false", "abortPrevious: true"),
        *_each("another credential", r"credentials\('([\w-]+)'\)", r"credentials('\1-x')"),
        *_each("no variable", r"^ +[A-Z_]+ = .*\n", ""),
        *_each(
            "another webhook", "credentialsId: 'delivery-webhook'", "credentialsId: 'delivery-hook'"
        ),
        *_each("another stage's name", r"stage\('([\w -]+)'\)", r"stage('\1 x')"),
        *_each("no stage", r"^ +agent (?:none|\{.*\})\n", ""),
        *_each("another agent", r"label 'delivery-(\w+)'", r"label 'delivery-x\1'"),
        *_each("a shell gone", r"^ +sh .*\n", ""),
        *_each(
            "a shell of its own",
            r"sh '(\./run inv push)[^']*'",
            "sh 'docker push localhost:5001/api-rest'",
        ),
        *_each("without the plan", r" --plan \.delivery/plan\.json", ""),
        *_each("no question", r"^ +env\.DELIVERY_\w+ = .*\n", ""),
        *_each("nothing carried", r"^ +(?:un)?stash .*\n", ""),
        *_each("nothing kept", r"^ +(?:junit|archiveArtifacts) .*\n", ""),
        *_each("nobody in particular", r"^ +submitter\w* .*\n", ""),
        *_each("anybody", "submitter 'releasers'", "submitter 'everyone'"),
        *_each("always a success", r"\$\{currentBuild\.currentResult\}", "SUCCESS"),
        *_each("no checkout", r"^ +checkout scm\n", ""),
        *_each("another node", r"node\('delivery-deploy'\)", "node('delivery-build')"),
        *_each("nothing caught", r"catchError\([^)]*\)", "timeout(time: 9, unit: 'DAYS')"),
        *_each("caught as a success", "buildResult: 'FAILURE'", "buildResult: 'SUCCESS'"),
        *_each("only when it went well", r"always \{", "success {"),
        *_each("steps twice", r"steps \{", "steps { }\n steps {"),
        *_without("no post", "post"),
        *_without("no input", "input"),
        *_without("no stage at all", r"stage\('[\w -]+'\)"),
        *_without("no environment", "environment"),
        (
            "an agent while it asks",
            TEXT.replace(
                "stage('approval') {", "stage('approval') {\nagent { label 'delivery-deploy' }", 1
            ),
        ),
        ("push before scan", _swapped("scan", "push")),
        ("approval after production", _swapped("approval", "production")),
        ("build before plan", _swapped("plan", "build")),
        (
            "a step that nobody knows",
            TEXT.replace("sh './run inv engine.up'", "bat 'run inv engine.up'", 1),
        ),
    ]
    return tuple(made)


def test_every_mutation_changes_the_file_and_has_a_name_of_its_own() -> None:
    assert all(text != TEXT for _, text in mutations())
    assert len(dict(mutations())) == len(mutations()) > 100


def test_no_change_goes_unnoticed(done: dict[str, Run]) -> None:
    left = dict(mutations())
    for names in WATCHED:
        builds = {
            (title, name): (text, CASES[name]()) for title, text in left.items() for name in names
        }
        runs = dict(zip(builds, record(builds.values()), strict=True))
        noticed = {
            title for title, name in builds if outline(runs[title, name]) != outline(done[name])
        }
        left = {title: text for title, text in left.items() if title not in noticed}
    assert list(left) == []
