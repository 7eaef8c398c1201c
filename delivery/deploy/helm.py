"""Helm by its command line, 3.18 and newer or 4: one release's namespace and context, named on every command line."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from delivery import process
from delivery.deploy.history import History, Revision
from delivery.deploy.manifests import Manifest
from delivery.errors import CommandError, DeployError

__all__ = ["RELEASE", "Helm", "Watcher", "probe"]

RELEASE = "platform"  # the same in every environment: a namespace has one

_OLDEST = (3, 18)
_SERVER_SIDE = (4, 0)  # the first that applies on the server, and waits by kstatus
_QUICK_SECONDS = 120
# Every deploy leaves one revision; what is older than these cannot be rolled back to.
_HISTORY = 10
# Where helm keeps its releases is not the user's to choose: a release that is stuck is repaired there.
_OPTIONS = process.Options(env={"HELM_DRIVER": "secret"})


@dataclass(frozen=True)
class Watcher:
    """What goes on beside a long helm command: lines go to on_line; tick is called now and then, and may raise to end helm."""

    on_line: Callable[[str], None]
    tick: Callable[[], None]
    every: float = 2.0


def probe(program: str) -> tuple[int, int]:
    """The version of a helm; raise DeployError when it is none that we know how to talk to."""
    printed = process.capture([program, "version", "--short"], doing="ask helm for its version")
    found = re.search(r"v(\d+)\.(\d+)", printed)
    version = (int(found[1]), int(found[2])) if found else (0, 0)
    if version < _OLDEST:
        raise DeployError(
            f"use {program}: it is {printed.strip() or 'no helm'}, and 3.18 or newer is needed",
            hint="install a newer helm, or unset HELM to let this project find one",
        )
    return version


@dataclass(frozen=True)
class Helm:
    """Helm with one context and namespace; version as `probe` found it."""

    program: str
    version: tuple[int, int]
    context: str
    namespace: str

    def history(self) -> History:
        """The history of the release; empty when there is none."""
        try:
            printed = self._capture(
                ["history", RELEASE, "--output=json"], f"read the history of {RELEASE}"
            )
        except CommandError as error:
            if "not found" in error.tail:
                return History()
            raise
        revisions = (
            Revision(
                number=int(one["revision"]),
                status=str(one["status"]),
                updated=datetime.fromisoformat(one["updated"]),
                chart=str(one["chart"]),
                description=str(one.get("description", "")),
            )
            for one in json.loads(printed)
        )
        return History(tuple(revisions))

    def manifest(self, revision: int) -> Manifest:
        """What a revision put into the cluster."""
        asked = {
            part: self._capture(
                ["get", part, RELEASE, f"--revision={revision}"],
                f"read the {part} of {RELEASE}, revision {revision}",
            )
            for part in ("manifest", "hooks")
        }
        return Manifest(asked["manifest"].strip(), asked["hooks"].strip())

    def values(self, revision: int) -> dict[str, object]:
        """The values that a revision was deployed with."""
        printed = self._capture(
            ["get", "values", RELEASE, f"--revision={revision}", "--output=json"],
            f"read the values of {RELEASE}, revision {revision}",
        )
        return dict(json.loads(printed) or {})

    def notes(self) -> str:
        """What the chart has to say to who deployed it."""
        return (
            self._capture(["get", "notes", RELEASE], f"read the notes of {RELEASE}")
            .strip()
            .removeprefix("NOTES:\n")
        )

    def preview(self, chart: Path, values: Sequence[Path]) -> Manifest:
        """What an upgrade would put into the cluster, which is asked for what the chart looks up there."""
        argv = [
            "upgrade",
            RELEASE,
            str(chart),
            *_values(values),
            "--dry-run=server",
            "--output=json",
        ]
        found = json.loads(self._capture(argv, f"render {chart.name}"))
        hooks = [
            f"---\n# Source: {hook['path']}\n{hook['manifest'].strip()}"
            for hook in found.get("hooks") or ()
        ]
        return Manifest(found["manifest"].strip(), "\n".join(hooks))

    def upgrade(  # as helm takes them
        self,
        chart: Path,
        values: Sequence[Path],
        *,
        description: str,
        seconds: int,
        watcher: Watcher,
    ) -> None:
        """Install or upgrade, and wait until everything is ready.

        Never rolls back: what failed is to be looked at first. The history keeps description for a
        revision that goes well, unless it is empty.
        """
        argv = [
            "upgrade",
            RELEASE,
            str(chart),
            "--install",
            *_values(values),
            f"--history-max={_HISTORY}",
        ]
        argv += [f"--description={description}"] if description else []
        self._watch([*argv, *self._applying(), *_waiting(seconds)], f"deploy {RELEASE}", watcher)

    def rollback(self, revision: int, *, seconds: int, watcher: Watcher) -> None:
        """Deploy an earlier revision once more, and wait until everything is ready."""
        argv = ["rollback", RELEASE, str(revision), f"--history-max={_HISTORY}", *self._applying()]
        self._watch(
            [*argv, *_waiting(seconds)], f"roll {RELEASE} back to revision {revision}", watcher
        )

    def uninstall(self, *, seconds: int, watcher: Watcher) -> None:
        """Remove a release with its history, and wait until its objects and their pods are gone."""
        # Helm 4 waits by kstatus, which at times misses that an object is gone: https://github.com/helm/helm/issues/31766
        wait = "--wait=legacy" if self.version >= _SERVER_SIDE else "--wait"
        argv = ["uninstall", RELEASE, "--cascade=foreground", wait, f"--timeout={seconds}s"]
        self._watch(argv, f"remove {RELEASE}", watcher)

    def test(self, *, seconds: int, watcher: Watcher) -> None:
        """Run the chart's tests, printing what they print."""
        self._watch(
            ["test", RELEASE, "--logs", f"--timeout={seconds}s"], f"test {RELEASE}", watcher
        )

    def _applying(self) -> list[str]:
        # What a release declares is the release's: a field that somebody else set is taken back, as Helm 3 does.
        return ["--server-side=true", "--force-conflicts"] if self.version >= _SERVER_SIDE else []

    def _capture(self, argv: Sequence[str], doing: str) -> str:
        return process.capture(
            self._argv(argv), doing=doing, options=_OPTIONS, timeout=_QUICK_SECONDS
        )

    def _watch(self, argv: Sequence[str], doing: str, watcher: Watcher) -> None:
        watcher.tick()  # what ends helm may have happened already
        process.stream(
            self._argv(argv),
            doing=doing,
            on_line=watcher.on_line,
            timer=process.Timer(watcher.tick, watcher.every),
            options=_OPTIONS,
        )

    def _argv(self, argv: Sequence[str]) -> list[str]:
        return [
            self.program,
            *argv,
            f"--namespace={self.namespace}",
            f"--kube-context={self.context}",
        ]


def _values(files: Sequence[Path]) -> list[str]:
    return [f"--values={process.csv_line(file)}" for file in files]


def _waiting(seconds: int) -> list[str]:
    return ["--wait", f"--timeout={seconds}s"]
