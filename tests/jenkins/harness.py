"""The Jenkinsfile without Jenkins: list what it does for a branch, a request or a tag, or do it.

`record` runs nothing and returns the steps in order. `perform` runs them, in clones, with shells.
declarative/ supports the part of Jenkins that our Jenkinsfile uses; anything else is an error.
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
from delivery.project.facts import Ref
from delivery.project.gitflow import Decision, Line
from tests import yaml_strict

__all__ = [
    "OF_PREVIEWS",
    "Approval",
    "Case",
    "Clones",
    "Credential",
    "Event",
    "Run",
    "answers",
    "checkout",
    "configured",
    "listing",
    "perform",
    "record",
    "with_tags",
]

_HERE = Path(__file__).parent
# Begins each line of the values that a project without previews does not need.
OF_PREVIEWS = "# preview: "
VALUES = _HERE.parent.parent / "ops" / "jenkins" / "values.yaml"
_INHERITED = ("PATH", "HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "TMPDIR", "TZ")

Event = dict[str, Any]


@dataclass(frozen=True)
class Credential:
    """A credential of Jenkins."""

    # string, file or usernamePassword.
    kind: str = "string"
    # Of a string, or the content of a file.
    value: str = "secret"
    username: str = "someone"
    password: str = "secret"


@dataclass(frozen=True)
class Approval:
    """The answer to the pipeline's input: a user approves, or `by` is empty and it is refused."""

    by: str = ""


@dataclass(frozen=True)
class Case:
    """The conditions of one build."""

    ref: Ref
    credentials: Mapping[str, Credential] = field(default_factory=dict)
    # The output of commands that the pipeline asks for it.
    answers: Mapping[str, str] = field(default_factory=dict)
    # The exit codes of commands that fail.
    failures: Mapping[str, int] = field(default_factory=dict)
    # The variables of every node.
    globals: Mapping[str, str] = field(default_factory=dict)
    # None: nobody answers the input.
    approval: Approval | None = None
    # The command during which the agent is lost.
    lost: str = ""
    # The branches of a pull request.
    target: str = "develop"
    source: str = "feature/x"
    job: str = "delivery-platform"
    number: int = 1

    def variables(self) -> dict[str, str]:
        """The variables that a multibranch job sets; a ref without a kind has none of a branch."""
        name = f"PR-{self.ref.name}" if self.ref.kind == "pull-request" else self.ref.name
        job = f"{self.job}/{quote(name, safe='')}" if self.ref.kind else self.job
        path = "/job/".join(quote(part, safe="") for part in job.split("/", 1))
        variables = {
            **self.globals,
            "JOB_NAME": job,
            "BUILD_NUMBER": str(self.number),
            "BUILD_URL": f"https://jenkins.example/job/{path}/{self.number}/",
        }
        if self.ref.kind:
            variables["BRANCH_NAME"] = name
        if self.ref.kind == "tag":
            variables["TAG_NAME"] = name
        if self.ref.kind == "pull-request":
            variables["CHANGE_ID"] = self.ref.name
            variables["CHANGE_TARGET"] = self.target
            variables["CHANGE_BRANCH"] = self.source
        return variables


@dataclass(frozen=True)
class Clones:
    """Where `perform` runs a build."""

    # The repository, and its commit.
    project: Path
    commit: str
    # The folder of the workspaces, artifacts and reports.
    folder: Path
    # The agents' variables, beside PATH, HOME and the like.
    environment: Mapping[str, str] = field(default_factory=dict)
    # Options of `git fetch`, instead of those of the job in ops/jenkins/values.yaml.
    fetch: tuple[str, ...] = ()


@dataclass(frozen=True)
class Run:
    """A finished build."""

    result: str
    # Why the file was refused; then nothing ran.
    error: str
    events: tuple[Event, ...]
    # The output of `perform`.
    log: str = ""

    def of(self, *types: str) -> list[Event]:
        """The events of these types, in order."""
        return [event for event in self.events if event["type"] in types]

    @property
    def commands(self) -> list[str]:
        """The shell commands, in order."""
        return [event["command"] for event in self.of("sh")]

    @property
    def durations(self) -> dict[str, float]:
        """The seconds of each stage, and of each task of the deploy; of a performed build."""
        stages = {event["stage"].rpartition(" / ")[2]: event for event in self.of("end")}
        tasks = {
            event["command"].split()[2]: event
            for event in self.of("sh")
            if event["stage"] in {"deploy", ""}
        }
        return {name: event["seconds"] for name, event in {**stages, **tasks}.items()}

    def skipped(self, stage: str) -> bool:
        """Whether a stage was skipped."""
        return any(event["stage"] == stage for event in self.of("skipped"))


def answers(decision: Decision) -> dict[str, str]:
    """The output of the `inv plan --say` commands for a decision."""
    is_preview = decision.line is Line.PREVIEW
    values = {
        "pushes": "images" if is_preview else json.dumps(decision.pushes),
        "environment": "preview" if is_preview else decision.environment,
        "approval": json.dumps("approval" in decision.gates),
    }
    return {f"./run inv plan --say {name}": f"{value}\n" for name, value in values.items()}


def _scripts(values: Path) -> dict[str, str]:
    """The scripts of Jenkins' configuration in the values of its chart, with those of previews."""
    loaded = yaml_strict.load(values.read_text(encoding="utf-8").replace(OF_PREVIEWS, ""))
    scripts: dict[str, str] = loaded["controller"]["JCasC"]["configScripts"]
    return scripts


def configured(values: Path) -> dict[str, Credential]:
    """The credentials in the values of Jenkins' chart, by id, with invented contents."""
    script = yaml_strict.load(_scripts(values)["credentials"])
    (domain,) = script["credentials"]["system"]["domainCredentials"]
    return {
        entry["id"]: Credential(
            kind,
            value=f"<{entry['id']}>",
            username=f"<{entry['id']} user>",
            password=f"<{entry['id']} word>",
        )
        for credential in domain["credentials"]
        for kind, entry in credential.items()
    }


def with_tags(values: Path) -> bool:
    """Whether Jenkins' job fetches branches with their tags.

    The git plugin leaves tags out (GitSCMSourceDefaults) unless the job has a clone option.
    """
    pattern = r"^\s*cloneOption \{\s*extension \{(.*?)\}"
    option = re.search(pattern, _scripts(values)["job"], re.DOTALL | re.MULTILINE)
    return bool(option and re.search(r"^\s*noTags false$", option[1], re.MULTILINE))


def checkout(project: Path, commit: str, *options: str) -> list[str]:
    """The commands by which Jenkins' git plugin checks out a commit in the current folder.

    git: CloneOption; git-client: CliGitAPIImpl.fetch_().
    """
    address = shlex.quote(project.as_uri())
    refs = shlex.quote("+refs/heads/*:refs/remotes/origin/*")
    return [
        "git init --quiet .",
        f"git fetch --quiet {' '.join(options)} --force -- {address} {refs}",
        f"git config remote.origin.url {address}",
        f"git config --add remote.origin.fetch {refs}",
        f"git checkout --quiet --force {shlex.quote(commit)}",
    ]


def record(builds: Iterable[tuple[str, Case]]) -> list[Run]:
    """What each build, a Jenkinsfile's text and a case, would do."""
    texts: dict[str, int] = {}
    runs = [
        {"text": texts.setdefault(text, len(texts)), "scenario": _scenario(case)}
        for text, case in builds
    ]
    request = {"texts": list(texts), "runs": runs, "real": False}
    return [_run(answer) for answer in _ask(request, lambda _line: None)]


def perform(
    text: str, case: Case, clones: Clones, on_line: Callable[[str], None] = lambda _line: None
) -> Run:
    """Run a build, and pass each line of its output to `on_line`.

    Each agent's workspace has the commit as the job of ops/jenkins/values.yaml checks it out.
    """
    clones.folder.mkdir(parents=True, exist_ok=True)
    inherited = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    tags = case.ref.kind == "tag" or with_tags(VALUES)
    scenario = _scenario(case) | {
        "folder": str(clones.folder.resolve()),
        "environment": inherited | dict(clones.environment),
        "checkout": checkout(
            clones.project, clones.commit, *(clones.fetch or ("--tags" if tags else "--no-tags",))
        ),
    }
    lines: list[str] = []

    def keep(line: str) -> None:
        lines.append(line)
        on_line(line.rstrip("\n"))

    request = {"texts": [text], "runs": [{"text": 0, "scenario": scenario}], "real": True}
    (answer,) = _ask(request, keep)
    return _run(answer, "".join(lines))


def listing(run: Run) -> list[str]:
    """The steps of a build for people, indented by the stages around them."""
    if run.error:
        return [f"refused: {run.error}"]
    lines: list[str] = []
    for event in run.events:
        if line := _line(event):
            of_stage = event["type"] in {"stage", "skipped", "options", "result"}
            depth = event["stage"].count(" / ") + (bool(event["stage"]) and not of_stage)
            lines.append(f"{'  ' * depth}{line}")
    # A stage that its `when` skips has begun, too: one line for both.
    return [
        line
        for line, after in zip(lines, [*lines[1:], ""], strict=True)
        if not after.startswith(f"{line} (skipped")
    ]


def _line(event: Event) -> str:
    name = event["stage"].rpartition(" / ")[2]
    match event["type"]:
        case "skipped":
            return f"{name} (skipped: {event['reason']})"
        case "sh":
            failed = f"  -> exit {event['exit']}" if event.get("exit") else ""
            return f"{event['command']}{failed}"
        case "credential":
            return f"credential {event['id']} as {', '.join(event['variables'])}"
        case "publish":
            return f"publish {', '.join(map(' '.join, event['tools'].items()))}"
        case other:
            return _FORMATS.get(other, "").format(name=name, of=event)


_FORMATS = {
    "stage": "{name}",
    "agent": "agent {of[label]}",
    "lock": "lock {of[resource]}",
    "unlock": "unlock {of[resource]}",
    "input": "input by {of[submitter]}: {of[message]} {of[answer]}",
    "stash": "stash {of[name]}",
    "unstash": "unstash {of[name]}",
    "junit": "reports {of[results]}",
    "archive": "archive {of[artifacts]}",
    "set": "{of[name]}={of[value]}",
    "caught": "caught: {of[message]} ({of[result]})",
    "post": "post {of[condition]}",
    "result": "{of[result]}",
}


def _scenario(case: Case) -> dict[str, Any]:
    return {
        "variables": case.variables(),
        "credentials": {name: vars(credential) for name, credential in case.credentials.items()},
        "answers": dict(case.answers),
        "failures": dict(case.failures),
        "approval": None if case.approval is None else {"by": case.approval.by},
        "lost": case.lost,
    }


def _run(answer: Mapping[str, Any], log: str = "") -> Run:
    return Run(
        result=answer["result"] or "",
        error=answer["error"] or "",
        events=tuple(answer["events"]),
        log=log,
    )


class _Runner:
    """A process of runner.groovy. It answers many requests: a JVM starts slower than a build."""

    def __init__(self) -> None:
        self._mark = secrets.token_hex()  # begins each answer, and no line of a build
        program = [programs.require("groovy"), "-cp", str(_HERE), str(_HERE / "runner.groovy")]
        self._process = subprocess.Popen(
            [*program, self._mark],
            env=_environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
        )

    def ask(self, request: Mapping[str, Any], on_line: Callable[[str], None]) -> dict[str, Any]:
        """The answer to a request; the lines before it go to `on_line`."""
        lines: deque[str] = deque(maxlen=100)
        pipe = cast("IO[str]", self._process.stdin)
        with suppress(BrokenPipeError):  # the process has ended; its last lines have the reason
            pipe.write(f"{json.dumps(request)}\n")
            pipe.flush()
        for line in cast("IO[str]", self._process.stdout):
            if line.startswith(self._mark):
                return cast("dict[str, Any]", json.loads(line.removeprefix(self._mark)))
            lines.append(line)
            on_line(line)
        raise _broken("".join(lines))

    def end(self) -> None:
        """End the process, and its children."""
        with suppress(BrokenPipeError), self._process:  # it may have ended by itself
            self._process.terminate()


_idle: list[_Runner] = []


def _ask(request: Mapping[str, Any], on_line: Callable[[str], None]) -> list[Event]:
    """Ask an idle runner or a new one; an interrupted runner is ended."""
    runner = _idle.pop() if _idle else _Runner()
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
    """Our variables and JAVA_HOME: Debian's groovy looks only for the default JDK."""
    options = "-XX:TieredStopAtLevel=1 -Xshare:auto -Dfile.encoding=UTF-8"
    environment = {"JAVA_OPTS": options, **os.environ}
    if not environment.get("JAVA_HOME"):
        java = shutil.which("java")
        if java is None:
            raise DeliveryError(
                "cannot run the Jenkinsfile: groovy has no Java",
                hint="as root: apt-get install default-jre-headless; elsewhere set JAVA_HOME",
            )
        environment["JAVA_HOME"] = str(Path(java).resolve().parent.parent)
    return environment


def _broken(output: str) -> DeliveryError:
    relevant = [
        line
        for line in output.strip().splitlines()
        if not line.startswith("\tat ") or "declarative" in line
    ]
    reason = "\n".join(relevant[:20]) or "it has no output"
    return DeliveryError(
        f"cannot run the Jenkinsfile: the runner failed: {reason}",
        hint="fix tests/jenkins: the Jenkinsfile is not the cause",
    )
