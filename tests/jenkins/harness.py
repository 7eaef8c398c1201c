"""The Jenkinsfile without Jenkins: what it would do for a branch, a request or a tag, and doing it.

`record` runs nothing and says what would be run, in order; `perform` runs it, in clones, with real shells. What is known of a
Jenkinsfile is in declarative/: Jenkins' semantics of the part of them that ours uses. Anything else is an error.
"""

from __future__ import annotations

import atexit
import json
import os
import re
import secrets
import shlex
import shutil
import subprocess
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, cast
from urllib.parse import quote

from delivery.errors import DeliveryError
from delivery.host import programs
from delivery.project.declaration import Declaration
from delivery.project.facts import Ref
from delivery.project.gitflow import Decision, decide
from tests import yaml_strict

__all__ = [
    "REFUSED",
    "Approval",
    "Case",
    "Credential",
    "Event",
    "Run",
    "answers",
    "checkout",
    "configured",
    "decided",
    "listing",
    "perform",
    "record",
    "with_tags",
]

REFUSED = 64  # the exit code where the file has something that the runner does not know, or Jenkins does not take
_HERE = Path(__file__).parent
VALUES = _HERE.parent.parent / "ops" / "jenkins" / "values.yaml"
_INHERITED = ("PATH", "HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "TMPDIR", "TZ")

Event = dict[str, Any]


@dataclass(frozen=True)
class Credential:
    """A credential of Jenkins: kind is "string" or "file" (with a value, a file also by its path), or "usernamePassword"."""

    kind: str = "string"
    value: str = "secret"
    path: str = ""
    username: str = "someone"
    password: str = "secret"


@dataclass(frozen=True)
class Approval:
    """What is answered where the pipeline asks: somebody approves, or refuses (by is ""). No Approval: nobody answers."""

    by: str = ""


@dataclass(frozen=True)
class Case:
    """What one build is started with.

    answers are what commands print that are asked for their output, failures the exit codes of those that fail, lost the
    command during which the agent goes away. target and source are a pull request's branches.
    """

    ref: Ref
    credentials: Mapping[str, Credential] = field(default_factory=dict)
    answers: Mapping[str, str] = field(default_factory=dict)
    failures: Mapping[str, int] = field(default_factory=dict)
    approval: Approval | None = None
    lost: str = ""
    target: str = "develop"
    source: str = "feature/x"
    job: str = "delivery-platform"
    number: int = 1

    def variables(self) -> dict[str, str]:
        """What a multibranch job tells its build; nothing about a branch where it is none (kind "")."""
        name = f"PR-{self.ref.name}" if self.ref.kind == "pull-request" else self.ref.name
        job = f"{self.job}/{quote(name, safe='')}" if self.ref.kind else self.job
        path = "/job/".join(quote(part, safe="") for part in job.split("/", 1))
        found = {
            "JOB_NAME": job,
            "BUILD_NUMBER": str(self.number),
            "BUILD_URL": f"https://jenkins.example/job/{path}/{self.number}/",
        }
        if self.ref.kind:
            found["BRANCH_NAME"] = name
        if self.ref.kind == "tag":
            found["TAG_NAME"] = name
        if self.ref.kind == "pull-request":
            found |= {
                "CHANGE_ID": self.ref.name,
                "CHANGE_TARGET": self.target,
                "CHANGE_BRANCH": self.source,
            }
        return found


@dataclass(frozen=True)
class Run:
    """What came of a build: its result, or the error for which it never began; everything that happened, in order; the exit code.

    log is what a real run printed.
    """

    result: str
    error: str
    events: tuple[Event, ...]
    exit: int
    log: str = ""

    def of(self, *what: str) -> list[Event]:
        """The events of these kinds, in order."""
        return [event for event in self.events if event["what"] in what]

    @property
    def commands(self) -> list[str]:
        """What was run, in order."""
        return [event["command"] for event in self.of("sh")]

    @property
    def stages(self) -> list[str]:
        """The stages that ran, each with those around it, in the order in which they began."""
        return [event["stage"] for event in self.of("stage") if not self.skipped(event["stage"])]

    def skipped(self, stage: str) -> bool:
        """Whether a stage was skipped."""
        return any(event["stage"] == stage for event in self.of("skipped"))


def answers(decision: Decision) -> dict[str, str]:
    """What `inv plan --say` prints for a decision."""

    def yes(value: object) -> str:
        return "true" if value else "false"

    said = {
        "pushes": yes(decision.pushes),
        "environment": decision.environment,
        "approval": yes("approval" in decision.gates),
    }
    return {f"./run inv plan --say {what}": f"{value}\n" for what, value in said.items()}


def decided(ref: Ref, declaration: Declaration) -> dict[str, str]:
    """What `inv plan --say` prints for a ref."""
    return answers(decide(ref, declaration))


def configured(values: Path) -> dict[str, Credential]:
    """The credentials that Jenkins is given by the values of its chart: ids and kinds; what they are worth is made up."""
    scripts = yaml_strict.load(values.read_text(encoding="utf-8"))["controller"]["JCasC"][
        "configScripts"
    ].values()
    found: dict[str, Credential] = {}
    for script in scripts:
        for domain in (
            (yaml_strict.load(script).get("credentials") or {})
            .get("system", {})
            .get("domainCredentials", ())
        ):
            for one in domain["credentials"]:
                ((kind, told),) = one.items()
                name = told["id"]
                found[name] = Credential(
                    kind, value=f"<{name}>", username=f"<{name} user>", password=f"<{name} word>"
                )
    return found


def with_tags(values: Path) -> bool:
    """Whether the job in the values of Jenkins' chart fetches branches with their tags.

    The git plugin leaves tags out (GitSCMSourceDefaults) unless the job has a clone option.
    """
    scripts = yaml_strict.load(values.read_text(encoding="utf-8"))["controller"]["JCasC"][
        "configScripts"
    ]
    option = re.search(
        r"^\s*cloneOption \{\s*extension \{(.*?)\}", scripts["job"], re.DOTALL | re.MULTILINE
    )
    return bool(option and re.search(r"^\s*noTags false$", option[1], re.MULTILINE))


def checkout(project: Path, commit: str, *, tags: bool) -> list[str]:
    """The commands by which Jenkins' git plugin checks a commit out, into the current folder."""
    address, refs = (
        shlex.quote(project.as_uri()),
        shlex.quote("+refs/heads/*:refs/remotes/origin/*"),
    )
    return [
        "git init --quiet .",
        f"git fetch --quiet {'--tags' if tags else '--no-tags'} --force -- {address} {refs}",
        f"git config remote.origin.url {address}",
        f"git config --add remote.origin.fetch {refs}",
        f"git checkout --quiet --force {shlex.quote(commit)}",
    ]


def record(builds: Iterable[tuple[str, Case]]) -> list[Run]:
    """What each of these builds, a Jenkinsfile's text and a case, would do."""
    texts: dict[str, int] = {}
    runs = [
        {"text": texts.setdefault(text, len(texts)), "conditions": _conditions(case)}
        for text, case in list(builds)
    ]
    return [
        _run(one)
        for one in _ask({"texts": list(texts), "runs": runs, "real": False}, lambda _line: None)
    ]


def perform(
    text: str,
    case: Case,
    *,
    project: Path,
    commit: str,
    folder: Path,
    environment: Mapping[str, str] | None = None,
    on_line: Callable[[str], None] = lambda _line: None,
) -> Run:
    """Really run a build, and say line by line what it prints.

    Each agent's workspace, in `folder`, is the project's commit as the job of ops/jenkins/values.yaml
    checks it out. environment is what the agents have beside PATH, HOME and the like. Artifacts and test
    reports are kept in `folder`, under those names.
    """
    folder.mkdir(parents=True, exist_ok=True)
    told = _conditions(case) | {
        "folder": str(folder.resolve()),
        "environment": {name: os.environ[name] for name in _INHERITED if name in os.environ}
        | dict(environment or {}),
        "checkout": checkout(project, commit, tags=case.ref.kind == "tag" or with_tags(VALUES)),
    }
    lines: list[str] = []

    def keep(line: str) -> None:
        lines.append(line)
        on_line(line.rstrip("\n"))

    (one,) = _ask({"texts": [text], "runs": [{"text": 0, "conditions": told}], "real": True}, keep)
    return _run(one, "".join(lines))


def listing(run: Run) -> list[str]:
    """What a build did, for people: stage by stage, each step on a line of its own, indented by the stages around it."""
    if run.error:
        return [f"refused: {run.error}"]
    lines: list[str] = []
    for event in run.events:
        line = _line(event)
        if line:
            inside = event["what"] not in {"stage", "skipped", "options", "result"} and bool(
                event["stage"]
            )
            depth = event["stage"].count(" / ") + inside
            lines.append(f"{'  ' * depth}{line}")
    return _without_skipped_beginnings(lines)


def _without_skipped_beginnings(lines: list[str]) -> list[str]:
    """A stage that its `when` skips is said once: skipped, not begun and then skipped."""
    return [
        line
        for line, after in zip(lines, [*lines[1:], ""], strict=True)
        if not after.startswith(f"{line} (skipped")
    ]


def _line(event: Event) -> str:  # noqa: C901, PLR0911, PLR0912  # one line for each kind
    match event["what"]:
        case "stage":
            return str(event["stage"].rpartition(" / ")[2])
        case "skipped":
            return f"{event['stage'].rpartition(' / ')[2]} (skipped: {event['why']})"
        case "sh":
            return f"{event['command']}" + (
                f"  -> exit {event['exit']}" if event.get("exit") else ""
            )
        case "agent":
            return f"agent {event['label']}"
        case "lock":
            return f"lock {event['resource']}"
        case "unlock":
            return f"unlock {event['resource']}"
        case "credential":
            return f"credential {event['id']} as {', '.join(event['variables'])}"
        case "input":
            return f"input by {event['submitter']}: {event['message']} {event['answer']}"
        case "stash" | "unstash":
            return f"{event['what']} {event['name']}"
        case "junit":
            return f"reports {event['results']}"
        case "archive":
            return f"archive {event['artifacts']}"
        case "set":
            return f"{event['name']}={event['value']}"
        case "caught":
            return f"caught: {event['message']} ({event['result']})"
        case "post":
            return f"post {event['condition']}"
        case "result":
            return str(event["result"])
    return ""


def _conditions(case: Case) -> dict[str, Any]:
    return {
        "variables": case.variables(),
        "credentials": {name: vars(one) for name, one in case.credentials.items()},
        "answers": dict(case.answers),
        "failures": dict(case.failures),
        "approval": None if case.approval is None else {"by": case.approval.by},
        "lost": case.lost,
    }


def _run(one: Mapping[str, Any], log: str = "") -> Run:
    return Run(
        result=one["result"] or "",
        error=one["error"] or "",
        events=tuple(one["events"]),
        exit=one["exit"],
        log=log,
    )


class _Runner:
    """A process of runner.groovy, which answers one request after the other: starting one takes longer than most builds."""

    def __init__(self) -> None:
        self._mark = secrets.token_hex()  # what begins an answer, and no line of a build
        self._process = subprocess.Popen(
            [
                programs.require("groovy"),
                "-cp",
                str(_HERE),
                str(_HERE / "runner.groovy"),
                self._mark,
            ],
            env=_environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
        )

    def ask(self, request: Mapping[str, Any], on_line: Callable[[str], None]) -> dict[str, Any]:
        """The answer to a request; what is printed until then goes to on_line."""
        lines: deque[str] = deque(maxlen=100)
        pipe = cast("IO[str]", self._process.stdin)
        with suppress(BrokenPipeError):  # it has ended; its last lines say why
            pipe.write(f"{json.dumps(request)}\n")
            pipe.flush()
        for line in cast("IO[str]", self._process.stdout):
            if line.startswith(self._mark):
                return cast("dict[str, Any]", json.loads(line.removeprefix(self._mark)))
            lines.append(line)
            on_line(line)
        raise _broken("".join(lines))

    def end(self) -> None:
        """End the process, and what it runs."""
        with suppress(BrokenPipeError), self._process:  # it may have ended by itself
            self._process.terminate()


_idle: list[_Runner] = []


def _ask(request: Mapping[str, Any], on_line: Callable[[str], None]) -> list[Event]:
    """Ask a runner that has nothing to do, or a new one. Of one that ends, or is interrupted, nothing more is asked."""
    try:
        runner = _idle.pop()
    except IndexError:
        runner = _Runner()
    try:
        answer = runner.ask(request, on_line)
    except BaseException:
        runner.end()
        raise
    _idle.append(runner)
    if "broken" in answer:
        raise _broken(answer["broken"])
    return cast("list[Event]", answer["runs"])


@atexit.register
def _end_idle() -> None:
    while _idle:
        _idle.pop().end()


def _environment() -> dict[str, str]:
    """Our own, and where Java is: Debian's groovy knows the default one only, which a JDK of somebody else's does not bring."""
    found = {
        "JAVA_OPTS": "-XX:TieredStopAtLevel=1 -Xshare:auto -Dfile.encoding=UTF-8",
        **os.environ,
    }
    if not found.get("JAVA_HOME"):
        java = shutil.which("java")
        if java is None:
            raise DeliveryError(
                "run the Jenkinsfile: groovy is here, and no Java for it",
                hint="as root: apt-get install default-jre-headless; elsewhere set JAVA_HOME",
            )
        found["JAVA_HOME"] = str(Path(java).resolve().parent.parent)
    return found


def _broken(said: str) -> DeliveryError:
    ours = [
        line
        for line in said.strip().splitlines()
        if not line.startswith("\tat ") or "declarative" in line
    ]
    tail = "\n".join(ours[:20])
    return DeliveryError(
        f"run the Jenkinsfile: the runner itself failed: {tail or 'it says nothing'}",
        hint="this is a mistake in tests/jenkins, not in the Jenkinsfile",
    )
