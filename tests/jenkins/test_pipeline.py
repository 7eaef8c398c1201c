"""The Jenkinsfile does what gitflow decides for every ref, and no change to it is unnoticed."""

from __future__ import annotations

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
from delivery.project.gitflow import Decision, Line, decide
from tasks import namespace
from tests.conftest import add_previews
from tests.jenkins import __main__ as command_line
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
# A branch of a project that declares previews, as this one does not.
PREVIEW = "feature/x with previews"
LEAVES = {
    "prepare": "./run inv engine.up",
    "delivery": "./run inv ci.check --of delivery-platform",
    "base-image": "./run inv ci.check --of base-image",
    "apps": "./run inv ci.check --of apps",
    "platform-chart": "./run inv ci.check --of platform-chart",
    "coverage": "./run inv ci.report --of coverage",
    "plan": "./run inv plan --file .delivery/plan.json",
    "build": "./run inv build --plan .delivery/plan.json",
    "scan": "./run inv scan.secrets",
    "push": "./run inv push --plan .delivery/plan.json",
    "diff": "./run inv diff --plan .delivery/plan.json --file .delivery/diff.txt",
    "deploy": "./run inv deploy --plan .delivery/plan.json --yes",
    "verify": "./run inv verify --plan .delivery/plan.json",
}

FORGET = "rm -f .delivery/diff.txt"  # the only command that is no task


@cache
def declaration() -> Declaration:
    return files.load_declaration()


@cache
def declared() -> dict[str, Credential]:
    return configured(ROOT / "ops/jenkins/values.yaml")


def decision_of(ref: Ref) -> Decision:
    return decide(ref, declaration())


def preview() -> Decision:
    return decide(REFS["feature/x"], add_previews(declaration()))


def case(name: str = "main", **changes: Any) -> Case:
    """A build for one of the refs, which ana approves."""
    ref = REFS[name]
    build = Case(ref, declared(), answers(decision_of(ref)), approval=Approval("ana"))
    if name == "PR-8 of main":
        changes["source"] = "main"
    return replace(build, **changes)


# ---- A run, and what a decision expects of it, as lists of the same steps

Step = tuple[object, ...]

# The fields of each type of event that are compared; an event of another type is not.
FIELDS = {
    "agent": ("label",),
    "archive": ("artifacts", "allowEmpty"),
    "caught": ("result", "marks"),
    "checkout": ("agent",),
    "credential": ("id", "kind", "variables"),
    "input": ("agent", "locks", "message", "submitter", "timeout", "parameter", "answer"),
    "junit": ("results", "allowEmpty"),
    "lock": ("resource", "agent"),
    "options": (
        *("buildDiscarder", "disableConcurrentBuilds", "disableRestartFromStage"),
        *("timeout", "timestamps"),
    ),
    "publish": ("tools", "always"),
    "released": ("label",),
    "result": ("result",),
    "set": ("name", "value"),
    "sh": ("stage", "agent", "timeout", "credentials", "locks", "command", "variables"),
    "skipped": ("stage", "reason"),
    "stash": ("name", "includes", "allowEmpty"),
    "unlock": ("resource", "agent"),
    "unstash": ("name",),
}


def outline(run: Run) -> list[Step]:
    """The steps of a run: what is done, with what and where."""
    if run.error:
        return [("refused", run.error)]
    return [
        (event["type"], *(event.get(name) for name in FIELDS[event["type"]]))
        for event in run.events
        if event["type"] in FIELDS
    ]


PLAN = ".delivery/plan.json"
STASH = f"{PLAN}, .delivery/release.json, .delivery/records/**"
OUTBOX = ".delivery/records/outbox"
SARIF = ".delivery/reports/*.sarif, .delivery/scan/*.sarif"
ASKED = "Deploy? What would change: .delivery/diff.txt of this build."


class Expected:
    """The steps that a decision expects, written from the decision, not from the Jenkinsfile."""

    def __init__(self, decision: Decision) -> None:
        self.decision = decision
        self.is_preview = decision.line is Line.PREVIEW
        self.steps: list[Step] = [
            ("options", OPTIONS["discard"], OPTIONS["concurrent"], {}, {"seconds": 3 * DAY}, {})
        ]
        # The variables of every stage, and those of the present one.
        self.lasting = {"CI": "true", "DELIVERY_OUTBOX": OUTBOX}
        self.bound: dict[str, str] = {}
        self.credentials: list[str] = []
        self.locks: list[str] = []
        self.make()
        self.approve()
        self.deploy()
        self.steps.append(("result", "SUCCESS"))

    # What a stage consists of

    def begin(self, label: str) -> None:
        self.label = label
        self.steps += [("agent", label), ("checkout", label)]

    def end(self) -> None:
        self.steps.append(("released", self.label))
        self.bound, self.credentials = {}, []

    def bind(self, name: str, variable: str) -> None:
        credential = declared()[name]
        if credential.kind == "usernamePassword":
            values = {
                f"{variable}_USERNAME": credential.username,
                f"{variable}_PASSWORD": credential.password,
            }
        else:
            is_file = credential.kind == "file"
            values = {variable: f"/secrets/{name}" if is_file else credential.value}
        self.steps.append(("credential", name, credential.kind, list(values)))
        self.credentials.append(name)
        self.bound |= values

    def sh(self, stage: str, seconds: int, command: str) -> None:
        variables = self.lasting | self.bound
        known = [*self.credentials], [*self.locks]
        self.steps.append(("sh", stage, self.label, seconds, *known, command, variables))

    def set(self, name: str, value: str) -> None:
        self.steps.append(("set", name, value))
        if value:  # an empty variable is unset
            self.lasting[name] = value

    def notify(self, stage: str) -> None:
        self.sh(stage, 3 * DAY, "./run inv ci.deliver")
        self.sh(stage, 3 * DAY, "./run inv ci.notify --result SUCCESS")

    # The stages

    def make(self) -> None:
        self.begin(BUILD)
        self.sh("make / prepare", 2 * HOUR, "./run inv engine.up")
        checks = {
            "delivery": declaration().name,
            **{name: name for name in declaration().subprojects},
        }
        for stage, part in checks.items():
            self.sh(f"make / checks / {stage}", 2 * HOUR, f"./run inv ci.check --of {part}")
        self.sh("make / coverage", 2 * HOUR, "./run inv ci.report --of coverage")
        self.steps.append(("skipped", "make / sonar", "when"))
        self.bind("delivery-registry-read", "DELIVERY_REGISTRY")
        self.bind("delivery-ledger-token", "DELIVERY_LEDGER_TOKEN")
        self.sh("make / release / plan", 2 * HOUR, f"./run inv plan --file {PLAN}")
        for command, answer in answers(self.decision).items():
            self.sh("make / release / plan", 2 * HOUR, command)
            self.set(f"DELIVERY_{command.rpartition(' ')[2].upper()}", answer.strip())
        self.sh("make / release / build", 2 * HOUR, f"./run inv build --plan {PLAN}")
        self.sh("make / release / scan", 2 * HOUR, "./run inv scan.secrets")
        self.sh("make / release / scan", 2 * HOUR, "./run inv scan.vulnerabilities")
        self.push()
        warnings = {"sarif": SARIF, "myPy": ".delivery/reports/mypy.txt"}
        artifacts = ".delivery/*.json, .delivery/scan/*, .delivery/coverage/*"
        self.steps += [
            ("junit", ".delivery/reports/*.xml", True),
            ("publish", {"COBERTURA": ".delivery/coverage/*.xml"}, True),
            ("publish", warnings, True),
            ("archive", artifacts, True),
            ("stash", "delivery", STASH, True),
        ]
        self.end()

    def push(self) -> None:
        pushed = "push" if self.decision.pushes else "push images" if self.is_preview else ""
        for stage in ("push", "push images"):
            if stage != pushed:
                self.steps.append(("skipped", f"make / release / {stage}", "when"))
                continue
            self.bind("delivery-registry", "DELIVERY_REGISTRY")
            if stage == "push":
                self.bind("delivery-signing-key", "DELIVERY_SIGNING_KEY")
                self.bind("delivery-signing-password", "COSIGN_PASSWORD")
            self.sh(f"make / release / {stage}", 2 * HOUR, f"./run inv push --plan {PLAN}")

    def approve(self) -> None:
        if "approval" in self.decision.gates:
            self.bind("delivery-registry-read", "DELIVERY_REGISTRY")
            self.begin(DEPLOY)
            self.bind(f"delivery-kubeconfig-{self.decision.environment}", "KUBECONFIG")
            self.steps.append(("unstash", "delivery"))
            self.sh("diff", 30 * MINUTE, FORGET)
            self.sh("diff", 30 * MINUTE, LEAVES["diff"])
            self.set("DELIVERY_DIFF", "0")
            self.steps.append(("archive", ".delivery/diff.txt", False))
            self.end()
            self.steps.append(
                ("input", "", [], ASKED, "releasers", 2 * DAY, "APPROVED_BY", "approved")
            )
            self.set("DELIVERY_RESPONSIBLE", "ana")
        else:
            self.steps += [("skipped", stage, "when") for stage in ("diff", "approval")]

    def deploy(self) -> None:
        name = "preview" if self.is_preview else self.decision.environment
        if not name:
            self.steps.append(("skipped", "deploy", "when"))
            self.begin(DEPLOY)
            self.bind("delivery-ledger-token", "DELIVERY_LEDGER_TOKEN")
            self.bind("delivery-webhook", "DELIVERY_WEBHOOK")
            self.steps.append(("unstash", "delivery"))
            self.notify("")
        else:
            self.bind("delivery-registry-read", "DELIVERY_REGISTRY")
            self.begin(DEPLOY)
            self.bind(f"delivery-kubeconfig-{name}", "KUBECONFIG")
            self.bind("delivery-ledger-token", "DELIVERY_LEDGER_TOKEN")
            self.bind("delivery-webhook", "DELIVERY_WEBHOOK")
            self.steps.append(("unstash", "delivery"))
            self.locks = [f"delivery-{name}"]
            self.steps.append(("lock", *self.locks, DEPLOY))
            self.sh("deploy", 135 * MINUTE, f"./run inv deploy --plan {PLAN} --yes")
            self.sh("deploy", 135 * MINUTE, f"./run inv verify --plan {PLAN}")
            self.steps.append(("unlock", *self.locks, DEPLOY))
            self.locks = []
            self.notify("deploy")
            self.set("DELIVERY_NOTIFIED", "true")
        self.steps.append(("archive", f"{OUTBOX}/**", True))
        self.end()


OPTIONS = {
    "discard": {"artifactNumToKeepStr": "30", "numToKeepStr": "100"},
    "concurrent": {"abortPrevious": False},
}

# ---- Every case, from one process

SONAR = {"SONAR_HOST_URL": "https://sonar.example.com"}

CASES: dict[str, Callable[[], Case]] = {
    **{name: partial(case, name) for name in REFS},
    PREVIEW: lambda: case("feature/x", answers=answers(preview())),
    **{f"{stage} fails": partial(case, failures={command: 1}) for stage, command in LEAVES.items()},
    "main is not deployed": partial(case, failures={LEAVES["deploy"]: 1}),
    "refused": partial(case, approval=Approval()),
    "nobody approves": partial(case, approval=None),
    "the agent is lost": partial(case, lost=LEAVES["build"]),
    "the agent that deploys is lost": partial(case, lost=LEAVES["deploy"]),
    "something changes": partial(case, failures={LEAVES["diff"]: 3}),
    "an unknown environment": partial(
        case, answers=answers(replace(decision_of(REFS["main"]), environment="moon"))
    ),
    "records are not delivered": partial(case, failures={"./run inv ci.deliver": 1}),
    "sonar": partial(case, globals=SONAR),
    "sonar fails": partial(case, globals=SONAR, failures={"./run inv ci.report --of sonar": 1}),
}
# Every mutation must change the first case, or else one of the others.
WATCHED = (
    ("main",),
    (
        *(
            "feature/x",
            PREVIEW,
            "develop",
            "release/1.2",
            "nobody approves",
            "the agent is lost",
            "push fails",
            "main is not deployed",
            "the agent that deploys is lost",
            "records are not delivered",
            "sonar",
            "sonar fails",
            "something changes",
            "diff fails",
        ),
    ),
)


@pytest.fixture(scope="module")
def done() -> dict[str, Run]:
    """The runs of all cases, from one process: a JVM starts slowly."""
    builds = [(TEXT, make()) for make in CASES.values()]
    return dict(zip(CASES, record(builds), strict=True))


@pytest.mark.parametrize("name", REFS)
def test_does_what_gitflow_decides(done: dict[str, Run], name: str) -> None:
    assert outline(done[name]) == Expected(decision_of(REFS[name])).steps


def test_a_preview_is_deployed_to_without_an_approval_and_without_the_signing_key(
    done: dict[str, Run],
) -> None:
    assert outline(done[PREVIEW]) == Expected(preview()).steps


def test_the_documentation_lists_the_steps(done: dict[str, Run]) -> None:
    text = (ROOT / "docs" / "pipeline.md").read_text(encoding="utf-8")
    documented = {
        name: steps
        for names, steps in re.findall(
            r"^### ([^\n]+)\n\n```text\n(.*?)\n```$", text, re.MULTILINE | re.DOTALL
        )
        for name in re.findall(r"`([^`]+)`", names)
    }
    assert documented == {name: "\n".join(listing(done[name])) for name in documented}
    assert documented.keys() >= {
        name for name, ref in REFS.items() if ref.kind and name.isascii() and " " not in name
    } - {"bugfix/y"}


def test_the_command_line_lists_the_steps(
    done: dict[str, Run], capsys: pytest.CaptureFixture[str]
) -> None:
    assert command_line.main(["feature/x", "--pr", "7"]) == 0
    assert capsys.readouterr().out.splitlines() == listing(done["PR-7"])


@pytest.mark.parametrize("name", REFS)
def test_every_shell_command_is_one_existing_task(done: dict[str, Run], name: str) -> None:
    parser = Parser(contexts=namespace.to_contexts())
    for command in done[name].commands:
        if command == FORGET:
            continue
        program, inv, *arguments = command.split()
        assert (program, inv) == ("./run", "inv")
        assert len(parser.parse_argv(arguments)) == 1
        assert not re.search(r"[;&|<>`$*?]", command)


def test_jenkins_has_exactly_the_used_credentials(done: dict[str, Run]) -> None:
    used = {event["id"] for run in done.values() for event in run.of("credential")}
    assert used == declared().keys() - {"delivery-git"}  # for the clone of Jenkins itself


@pytest.mark.parametrize("stage", LEAVES)
def test_a_failure_ends_the_pipeline_and_is_notified(done: dict[str, Run], stage: str) -> None:
    run = done[f"{stage} fails"]
    usual = done["main"].commands
    # The other checks run beside the failed one; later stages do not.
    last = (
        LEAVES["platform-chart"] if stage in {"delivery", "base-image", "apps"} else LEAVES[stage]
    )
    assert run.commands == [
        *usual[: usual.index(last) + 1],
        "./run inv ci.deliver",
        "./run inv ci.notify --result FAILURE",
    ]
    assert run.result == "FAILURE"
    assert [event["type"] for event in run.of("junit", "archive", "stash")][:3] == [
        "junit",
        "archive",
        "stash",
    ]
    skipped = {
        event["stage"]
        for event in run.of("skipped")
        if event["reason"] == "an earlier stage failed"
    }
    assert bool(skipped) == (stage not in {"deploy", "verify"})


@pytest.mark.parametrize("name", ["refused", "nobody approves"])
def test_without_approval_no_agent_waits_and_nothing_is_deployed(
    done: dict[str, Run], name: str
) -> None:
    run = done[name]
    assert run.result == "ABORTED"
    assert not run.of("lock")
    assert not any(" deploy " in command for command in run.commands)
    assert run.commands[-1] == "./run inv ci.notify --result ABORTED"
    position = next(at for at, event in enumerate(run.events) if event["type"] == "input")
    agents = [
        event["type"] for event in run.events[:position] if event["type"] in {"agent", "released"}
    ]
    assert agents == ["agent", "released"] * 2


def test_a_lost_agent_is_notified_too(done: dict[str, Run]) -> None:
    run = done["the agent is lost"]
    assert run.result == "ABORTED"
    assert not run.of("stash")
    assert [event["marks"] for event in run.of("caught")] == ["FAILURE"]
    assert run.commands[-1] == "./run inv ci.notify --result ABORTED"
    assert not any(" push " in command or " deploy " in command for command in run.commands)
    # Of an agent that deployed, too: by the records that the first agent has left.
    run = done["the agent that deploys is lost"]
    assert run.result == "ABORTED"
    assert run.commands[-3:] == [
        LEAVES["deploy"],
        "./run inv ci.deliver",
        "./run inv ci.notify --result ABORTED",
    ]


def test_an_environment_without_a_credential_is_a_failure(done: dict[str, Run]) -> None:
    run = done["an unknown environment"]
    assert run.result == "FAILURE"
    assert LEAVES["push"] in run.commands
    assert LEAVES["deploy"] not in run.commands
    assert run.commands[-1] == "./run inv ci.notify --result FAILURE"


def test_sonar_is_optional_and_blocks_nothing(done: dict[str, Run]) -> None:
    command = "./run inv ci.report --of sonar"
    assert not any(command in done[name].commands for name in REFS)
    for name in ("sonar", "sonar fails"):
        run = done[name]
        assert (run.result, run.commands[-1]) == ("SUCCESS", done["main"].commands[-1])
        (event,) = (event for event in run.of("sh") if event["command"] == command)
        assert event["credentials"] == ["delivery-sonar-token"]


def test_records_that_cannot_be_sent_are_notified(done: dict[str, Run]) -> None:
    run = done["records are not delivered"]
    assert run.commands[-2:] == ["./run inv ci.deliver", "./run inv ci.notify --result FAILURE"]


# ---- Mutations: changes to the file, by mistake or on purpose


def _blocks(opening: str) -> Iterator[tuple[int, int]]:
    """The positions of each section that opens with this, from its line to the end of its block."""
    for match in re.finditer(rf"^ *{opening} ?\{{", TEXT, re.MULTILINE):
        depth, at = 1, match.end()
        while depth:
            depth += {"{": 1, "}": -1}.get(TEXT[at], 0)
            at += 1
        yield match.start(), at


def _each(title: str, pattern: str, to: str) -> Iterator[tuple[str, str]]:
    for number, match in enumerate(re.finditer(pattern, TEXT, re.MULTILINE), start=1):
        text = TEXT[: match.start()] + match.expand(to) + TEXT[match.end() :]
        yield f"{title} {number}: {match[0].strip()}", text


def _without(title: str, opening: str) -> Iterator[tuple[str, str]]:
    for number, (start, end) in enumerate(_blocks(opening), start=1):
        yield f"{title} {number}", TEXT[:start] + TEXT[end:]


def _swapped(name: str, other: str) -> str:
    (first,) = _blocks(rf"stage\('{name}'\)")
    (second,) = _blocks(rf"stage\('{other}'\)")
    between = TEXT[first[1] : second[0]]
    return (
        TEXT[: first[0]]
        + TEXT[second[0] : second[1]]
        + between
        + TEXT[first[0] : first[1]]
        + TEXT[second[1] :]
    )


_CONDITION = r"environment (name: '\w+'), value: '(\w*)'"
# A statement may go on in the next line.
_REST = r".*\n(?: +(?:script|artifacts|tools): .*\n| +'.*\n)?"
# The title of a change, the pattern of its places, and the replacement; each place by itself.
REPLACED = (
    ("a condition negated", _CONDITION, r"not { environment \1, value: '\2' }"),
    ("a condition of another value", _CONDITION, r"environment \1, value: '\2x'"),
    ("another variable", r"environment name: '(\w+)', value", r"environment name: '\1X', value"),
    ("a changeset", r"( +)environment name: '\w+', value: '\w*'", r"\g<0>\n\1changeset '**'"),
    ("not before", r"^ +before\w+ true\n", ""),
    ("no input's timeout", r"^ +options \{ timeout\(time: 2, unit: 'DAYS'\) \}\n", ""),
    ("another timeout", r"timeout\(time: (\d+)", r"timeout(time: 1\1"),
    ("no options", r"^ +options \{ .* \}\n", ""),
    ("another lock", r'lock\(resource: "', 'lock(resource: "x'),
    ("no lock", r"lock\(resource: .*\)", "timeout(time: 9, unit: 'DAYS')"),
    (
        "no option",
        r"^ +(?:disable\w+|timeout|buildDiscarder|timestamps)\(.*\)\n",
        "",
    ),
    ("aborting", "abortPrevious: false", "abortPrevious: true"),
    ("another credential", r"credentials\((['\"])", r"credentials(\1x"),
    ("another credential to bind", "credentialsId: '", "credentialsId: 'x"),
    ("another variable to bind", r"(\w*[vV]ariable): '", r"\1: 'X"),
    ("no variable", r"^ +[A-Z_]+ = .*\n", ""),
    ("notified again", r"^ +script \{ env\.DELIVERY_NOTIFIED = 'true' \}\n", ""),
    ("never notified", r"(DELIVERY_NOTIFIED) != 'true'", r"\1 != ''"),
    ("notified in any case", r"(DELIVERY_NOTIFIED) != 'true'", r"\1 != 'x'"),
    ("another stage's name", r"stage\('([\w -]+)'\)", r"stage('\1 x')"),
    ("no agent", r"^ +agent (?:none|\{.*\})\n", ""),
    ("another agent", r"label 'delivery-(\w+)'", r"label 'delivery-x\1'"),
    ("a shell gone", r"^ +sh .*\n", ""),
    (
        "a shell without a task",
        r"sh '(\./run inv push)[^']*'",
        "sh 'docker push registry/api-rest'",
    ),
    ("without the plan", r" --plan \.delivery/plan\.json", ""),
    ("no answer kept", rf"^ +env\.DELIVERY_\w+ = {_REST}", ""),
    ("nothing carried", rf"^ +(?:un)?stash {_REST}", ""),
    ("nothing kept", rf"^ +(?:junit|archiveArtifacts|recordCoverage) {_REST}", ""),
    ("no warnings", r"^ +recordIssues .*\n(?:.*\),\n)*.*\]\n", ""),
    ("not of a failure", "enabledForFailure: true", "enabledForFailure: false"),
    ("another report", r"(parser|pattern): '", r"\1: 'x"),
    ("no submitter", r"^ +submitter\w* .*\n", ""),
    ("another submitter", "submitter 'releasers'", "submitter 'everyone'"),
    ("always a success", r"\$\{currentBuild\.currentResult\}", "SUCCESS"),
    ("no checkout", r"^ +checkout scm\n", ""),
    ("another node", r"node\('delivery-deploy'\)", "node('delivery-build')"),
    ("nothing caught", r"catchError\([^)]*\)", "timeout(time: 9, unit: 'DAYS')"),
    ("caught as a success", "buildResult: 'FAILURE'", "buildResult: 'SUCCESS'"),
    ("caught as a failure", "buildResult: 'SUCCESS'", "buildResult: 'FAILURE'"),
    ("only when it went well", r"always \{", "success {"),
    ("steps twice", r"steps \{", "steps { }\n steps {"),
    (
        "an agent while it asks",
        r"stage\('approval'\) \{",
        r"\g<0>\nagent { label 'delivery-deploy' }",
    ),
    ("an unknown step", r"sh './run inv engine.up'", "bat 'run inv engine.up'"),
)
REMOVED = ("when", "post", "input", "environment", "options", r"stage\('[\w -]+'\)")
SWAPPED = (("scan", "push"), ("approval", "deploy"), ("plan", "build"))


@cache
def mutations() -> tuple[tuple[str, str], ...]:
    """The Jenkinsfile with one change, by the name of the change."""
    mutated = [mutation for row in REPLACED for mutation in _each(*row)]
    mutated += [mutation for name in REMOVED for mutation in _without(f"no {name}", name)]
    mutated += [(f"{name} after {other}", _swapped(name, other)) for name, other in SWAPPED]
    return tuple(mutated)


def test_every_mutation_changes_the_file_and_has_a_unique_name() -> None:
    assert all(text != TEXT for _, text in mutations())
    assert len(dict(mutations())) == len(mutations()) > 100


def test_every_mutation_is_noticed(done: dict[str, Run]) -> None:
    unnoticed = dict(mutations())
    for names in WATCHED:
        builds = {
            (title, name): (text, CASES[name]())
            for title, text in unnoticed.items()
            for name in names
        }
        runs = dict(zip(builds, record(builds.values()), strict=True))
        noticed = {
            title for title, name in builds if outline(runs[title, name]) != outline(done[name])
        }
        unnoticed = {title: text for title, text in unnoticed.items() if title not in noticed}
    assert list(unnoticed) == []
