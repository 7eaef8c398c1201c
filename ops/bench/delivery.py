"""The cost of `inv build push`, beside `docker buildx bake --push` and `docker compose`."""
# ruff: noqa: T201  a command line speaks by print

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
import uuid
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from statistics import median

from .relay import Relay, Traffic, relay
from .stack import BUNDLE, ROOT, BenchError, docker, need, run
from .tables import markdown

__all__ = [
    "APART",
    "FOREIGN",
    "PEERS",
    "Contender",
    "Run",
    "clone_of_the_working_tree",
    "contenders",
    "main",
    "output",
    "registry",
    "steps",
    "table",
]

FAILED = 1
IMAGES = ("base-image", "api-rest", "async-worker")
CHANGED = "api-rest/src/api_rest/errors.py"
OURS = "inv build push"
AGAIN = "the same, again in that clone"
PEERS = Path("ops") / "bench" / "peers"
NO_ATTESTATIONS = {"BUILDX_NO_DEFAULT_ATTESTATIONS": "1"}
HEAD = (
    "nothing to do",
    "min s",
    "median s",
    "max s",
    "times ours",
    "requests",
    "kB sent",
    "kB received",
)
# A name of its own: if the registry died, the tasks would start one under the project's name.
APART = {"COMPOSE_PROJECT_NAME": "delivery-bench"}
# Variables of a CI server would describe another clone.
FOREIGN = {
    "BRANCH_NAME",
    "CHANGE_ID",
    "TAG_NAME",
    "GITHUB_REF",
    "CI_COMMIT_BRANCH",
    "CI_COMMIT_TAG",
    "DELIVERY_SIGNING_KEY",
}
# Python keeps its bytecode, as by default.
FOREIGN |= {"PYTHONDONTWRITEBYTECODE", "PYTHONPYCACHEPREFIX"}
_STEP = re.compile(r"^✓ (.+?)(?:: .*)? \((\d+\.\d) s\)$", re.MULTILINE)
_VERSION = re.compile(r" \d+\.\d+\.\d+\S*$")
_ACCEPT = (
    "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, "
    "application/vnd.docker.distribution.manifest.v2+json"
)


@dataclass(frozen=True)
class Contender:
    """The commands that push images from a clone, and their path in the registry."""

    title: str
    path: str
    commands: tuple[tuple[str, ...], ...]
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Run:
    """One run: its time, its traffic with the registry, and its output."""

    seconds: float
    traffic: Traffic
    output: str = ""


Runs = Mapping[str, Sequence[Run]]  # by contender


@dataclass
class Sources:
    """A copy of the working tree in a Git repository, and the ports of the registry."""

    folder: Path
    relay: Relay
    direct: int
    bundle: str

    def change(self) -> None:
        """Add a unique line to api-rest: no cache has a build of it."""
        with (self.folder / CHANGED).open("a", encoding="utf-8") as file:
            file.write(f"# {uuid.uuid4()}\n")
        _commit(self.folder, "fix(api-rest): a line")

    @contextmanager
    def clone(self) -> Iterator[Path]:
        """A fresh clone with this project's .venv, which is not measured."""
        with tempfile.TemporaryDirectory(prefix="delivery-bench-clone-") as parent:
            folder = Path(parent) / "clone"
            run("git", "clone", "--quiet", str(self.folder), str(folder))
            _share_venv(folder)
            yield folder

    def go(self, contender: Contender, clone: Path) -> Run:
        """Run a contender in a clone, and check that it pushed."""
        address = f"localhost:{self.relay.port}/{contender.path}"
        commit = run("git", "-C", str(clone), "rev-parse", "HEAD").strip()
        variables = {
            "REGISTRY": address,
            "TAG": commit[:12],
            "BUILD_CA": self.bundle,
            **contender.environment,
        }
        ours = {
            "DELIVERY_REGISTRY": address,
            "DELIVERY_BUILD_CA": self.bundle,
            "CI": "true",
            **APART,
        }
        inherited = {name: value for name, value in os.environ.items() if name not in FOREIGN}
        environment = inherited | variables | ours
        self.relay.take()
        begun = time.perf_counter()
        printed = "".join(output(argv, clone, environment) for argv in contender.commands)
        measured = Run(time.perf_counter() - begun, self.relay.take(), printed)
        self._check(contender, clone, commit)
        return measured

    def _check(self, contender: Contender, clone: Path, commit: str) -> None:
        """Raise BenchError unless everything is pushed, and the .venv is still the shared one."""
        if not (clone / ".venv").is_symlink():
            raise BenchError(
                "measure: .venv does not match its lock; `./run inv --list` updates it"
            )
        tags = dict.fromkeys(IMAGES, commit[:12])
        if contender.title == OURS:
            released = json.loads(
                (clone / ".delivery" / "release.json").read_text(encoding="utf-8")
            )
            if released["commit"] != commit:
                raise BenchError(
                    f"measure: {contender.title} left a release of {released['commit'][:12]},"
                    f" not of {commit[:12]}"
                )
            tags = dict.fromkeys(("platform-chart", "release"), released["version"])
            tags |= {name: image["digest"] for name, image in released["images"].items()}
        for name, tag in tags.items():
            if not _exists(self.direct, f"{contender.path}/{name}/manifests/{tag}"):
                raise BenchError(f"measure: {contender.title} has not pushed {name}:{tag}")


def contenders() -> tuple[Contender, ...]:
    """Our project first, then the peers, each by its defaults and without provenance."""
    bake = ("docker", "buildx", "bake", "--file", str(PEERS / "docker-bake.hcl"), "--push")
    compose = (
        "docker",
        "compose",
        "--file",
        str(PEERS / "compose.yaml"),
        "--project-directory",
        ".",
    )
    both = ((*compose, "build"), (*compose, "push"))
    return (
        Contender(OURS, "ours", (("./run", "inv", "build", "push"),)),
        Contender("docker buildx bake --push", "bake", (bake,)),
        Contender("the same, --provenance=false", "bake-plain", ((*bake, "--provenance=false"),)),
        Contender("docker compose build, push", "compose", both),
        Contender("the same, without provenance", "compose-plain", both, NO_ATTESTATIONS),
    )


def main(arguments: Sequence[str]) -> int:
    """Measure, and print the tables."""
    parser = argparse.ArgumentParser(prog="bench delivery", description=__doc__)
    parser.add_argument(
        "--rounds", type=int, default=5, help="how many runs each has without a change (5)"
    )
    parser.add_argument(
        "--changes", type=int, default=3, help="how many runs each has with a changed line (3)"
    )
    options = parser.parse_args(arguments)
    if options.rounds < 1 or options.changes < 0:
        parser.error("--rounds is 1 or more, --changes 0 or more")
    try:
        need({"docker": "docker-cli", "git": "git"})
        with _sources() as sources:
            print(_measure(sources, options.rounds, options.changes), flush=True)
    except BenchError as error:
        print(f"bench cannot {error}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        print("bench was interrupted; its registry is removed", file=sys.stderr)
        return FAILED
    return 0


def _measure(sources: Sources, rounds: int, changes: int) -> str:
    _say("filling every cache, twice")
    for contender in contenders():
        for _ in range(2):
            with sources.clone() as clone:
                sources.go(contender, clone)
    idle = defaultdict[str, list[Run]](list)
    for number in range(rounds):
        _say(f"nothing to do: round {number + 1} of {rounds}")
        for contender in contenders():
            with sources.clone() as clone:
                idle[contender.title].append(sources.go(contender, clone))
                if contender.title == OURS:
                    idle[AGAIN].append(sources.go(contender, clone))
    parts = [table(HEAD, idle), *_requests(idle)]
    changed = defaultdict[str, list[Run]](list)
    for number in range(changes):
        _say(f"one line changed: round {number + 1} of {changes}")
        for contender in contenders():
            sources.change()
            with sources.clone() as clone:
                changed[contender.title].append(sources.go(contender, clone))
    if changes:
        parts += [
            table(("one line changed", *HEAD[1:]), changed),
            *_requests(changed),
            _spent(changed[OURS]),
        ]
    return "\n\n".join(parts)


def table(head: Sequence[str], measured: Runs) -> str:
    """A table of all contenders; ratios are of medians."""
    ours = median(run.seconds for run in measured[OURS])
    return markdown(head, [[title, *_cells(runs, ours)] for title, runs in measured.items()])


def _cells(runs: Sequence[Run], ours: float) -> list[str]:
    seconds = [run.seconds for run in runs]
    times = [
        f"{value:.2f}"
        for value in (min(seconds), median(seconds), max(seconds), median(seconds) / ours)
    ]
    requests = median(run.traffic.requests.total() for run in runs)
    sent = median(run.traffic.sent for run in runs)
    received = median(run.traffic.received for run in runs)
    return [*times, f"{requests:.0f}", f"{sent / 1000:.1f}", f"{received / 1000:.1f}"]


def _requests(measured: Runs) -> list[str]:
    """The requests of each contender's last run, by kind."""
    lines = []
    for title, runs in measured.items():
        if title != AGAIN:
            counts = sorted(runs[-1].traffic.requests.items())
            lines.append(f"- {title}: {', '.join(f'{count} {kind}' for kind, count in counts)}")
    return ["Requests, by kind, in the last round:", "\n".join(lines)]


def _spent(runs: Sequence[Run]) -> str:
    """The seconds of our steps; the rest is start-up, Git, keys and requests to the registry."""
    spent = [steps(run.output) for run in runs]
    medians = {title: median(times.get(title, 0.0) for times in spent) for title in spent[0]}
    rest = median(run.seconds - sum(times.values()) for run, times in zip(runs, spent, strict=True))
    listed = ", ".join(f"{title} {seconds:.1f}" for title, seconds in medians.items())
    return f"`{OURS}` spent, in seconds (medians): {listed}, everything else {rest:.1f}."


def steps(printed: str) -> dict[str, float]:
    """The seconds of each step in our tasks' output; steps of one title are added up."""
    times: dict[str, float] = {}
    for step, seconds in _STEP.findall(printed):
        title = _VERSION.sub("", step)
        times[title] = times.get(title, 0.0) + float(seconds)
    return times


@contextmanager
def _sources() -> Iterator[Sources]:
    """The working tree as a repository on develop, a registry, and a relay in front of it."""
    bundle = os.environ.get("BUILD_CA", BUNDLE)
    if not Path(bundle).is_file():
        raise BenchError(f"find a bundle of CAs: {bundle} is missing; BUILD_CA names one")
    _compile_venv()
    with (
        tempfile.TemporaryDirectory(prefix="delivery-bench-") as parent,
        registry() as port,
        relay(port) as counting,
    ):
        sources = Sources(Path(parent) / "sources", counting, port, bundle)
        _make_repository(sources.folder)
        try:
            yield sources
        finally:
            _remove_images(f"localhost:{counting.port}/")


@contextmanager
def clone_of_the_working_tree() -> Iterator[Path]:
    """A copy of the working tree on develop, with this project's .venv."""
    _compile_venv()
    with tempfile.TemporaryDirectory(prefix="delivery-bench-clone-") as parent:
        folder = Path(parent) / "clone"
        _make_repository(folder)
        _share_venv(folder)
        yield folder


def _share_venv(folder: Path) -> None:
    (folder / ".venv").symlink_to(ROOT / ".venv")
    with (folder / ".git" / "info" / "exclude").open("a", encoding="utf-8") as file:
        file.write(".venv\n")


def _compile_venv() -> None:
    """Give .venv the bytecode that pip leaves and other installers do not."""
    venv = ROOT / ".venv"
    if not venv.is_dir():
        raise BenchError("find .venv: `./run inv --list` makes it")
    # Exits with 1 for templates in the packages, which are not Python.
    subprocess.run([venv / "bin" / "python", "-m", "compileall", "-qq", venv / "lib"], check=False)


def _make_repository(folder: Path) -> None:
    """A repository on develop with the working tree in a commit."""
    listed = run(
        "git", "-C", str(ROOT), "ls-files", "--cached", "--others", "--exclude-standard", "-z"
    )
    for path in filter(None, listed.split("\0")):
        if (ROOT / path).is_file():  # a deleted file is still listed
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / path, folder / path, follow_symlinks=False)
    run("git", "-C", str(folder), "init", "--quiet", "--initial-branch=develop")
    _commit(folder, "feat: everything")


def _commit(folder: Path, message: str) -> None:
    run("git", "-C", str(folder), "add", "--all")
    author = ("-c", "user.name=Bench", "-c", "user.email=bench@example.com")
    run("git", "-C", str(folder), *author, "commit", "--quiet", "--message", message)


@contextmanager
def registry() -> Iterator[int]:
    """A registry for this run; its port."""
    declared = tomllib.loads((ROOT / "delivery.toml").read_text(encoding="utf-8"))
    image = declared["upstream"]["registry"]["image"]
    container = docker("run", "--detach", "--rm", "--publish", "127.0.0.1::5000", image).strip()
    try:
        port = int(docker("port", container, "5000/tcp").splitlines()[0].rpartition(":")[2])
        deadline = time.monotonic() + 30
        while not _exists(port, ""):
            if time.monotonic() > deadline:
                log = docker("logs", container)
                raise BenchError(f"start a registry: it does not answer. Its log:\n{log}")
            time.sleep(0.05)
        yield port
    finally:
        docker("rm", "--force", "--volumes", container)


def _remove_images(prefix: str) -> None:
    """Remove this run's tags from the engine; images without another name go, too."""
    listed = docker("image", "ls", "--format", "{{.Repository}} {{.Tag}} {{.Digest}}").splitlines()
    for repository, tag, digest in (line.split(" ") for line in listed if line.startswith(prefix)):
        if tag != "<none>" or digest:  # the engine lists some without a usable name
            docker(
                "image",
                "rm",
                f"{repository}@{digest}" if tag == "<none>" else f"{repository}:{tag}",
            )


def output(argv: Sequence[str], cwd: Path, environment: Mapping[str, str]) -> str:
    """The output of a command; raise BenchError with its end if the command fails."""
    done = subprocess.run(
        argv,
        cwd=cwd,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        raise BenchError(
            f"{' '.join(argv[:3])}: exit {done.returncode}: {done.stdout.strip()[-1500:]}"
        )
    return done.stdout


def _exists(port: int, path: str) -> bool:
    """Whether the registry at a port of this machine answers a path with 200."""
    connection = HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("GET", f"/v2/{path}", headers={"Accept": _ACCEPT})
        return connection.getresponse().status == HTTPStatus.OK
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()


def _say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S', time.gmtime())} {text}", file=sys.stderr, flush=True)
