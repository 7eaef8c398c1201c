"""Helm by its command line, 3.18 or newer, or 4; every command names its namespace and context."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from delivery import process
from delivery.deploy.history import History, parse_revision
from delivery.deploy.kubectl import Kubernetes
from delivery.deploy.manifests import Manifest, read_template
from delivery.errors import DeployError

__all__ = ["RELEASE", "SELECTOR", "TICK_SECONDS", "ChartFiles", "Helm", "Watcher", "probe"]

RELEASE = "platform"  # the same in every environment
SELECTOR = f"app.kubernetes.io/instance={RELEASE}"  # of the objects of the release
TICK_SECONDS = 2.0

_OLDEST = (3, 18)
_SERVER_SIDE = (4, 0)  # the first version that applies on the server, and waits by kstatus
_QUICK_SECONDS = 120
_HISTORY = 10  # how many revisions helm keeps: a rollback can go back so far
# The user's HELM_DRIVER has no effect: a stuck revision is repaired in its Secret. GOGC: a short
# command saves a tenth of its time by collecting garbage less often.
_OPTIONS = process.Options(env={"HELM_DRIVER": "secret", "GOGC": "400"})


@dataclass(frozen=True)
class ChartFiles:
    """The files that helm renders a release from."""

    chart: Path  # a folder, or a packaged chart
    values: tuple[Path, ...]  # a later file overrides an earlier file
    secrets: str = field(default="", repr=False)  # decrypted values, which override the files


@dataclass(frozen=True)
class Watcher:
    """What is called while a long helm command runs."""

    on_line: Callable[[str], None]  # with each line that helm prints
    tick: Callable[[], None]  # every TICK_SECONDS; it ends helm by raising


def probe(program: str) -> tuple[int, int]:
    """The version of this helm; raise DeployError when it is older than 3.18."""
    printed = process.capture([program, "version", "--short"], doing="read helm's version")
    match = re.search(r"v(\d+)\.(\d+)", printed)
    version = (int(match[1]), int(match[2])) if match else (0, 0)
    if version < _OLDEST:
        raise DeployError(
            f"cannot use {program}: it is {printed.strip() or 'no helm'}; 3.18 or newer is needed",
            hint="install a newer helm, or unset HELM to let this project install it",
        )
    return version


@dataclass(frozen=True)
class Helm:
    """Helm for the release in a namespace."""

    program: str
    version: tuple[int, int]  # as `probe` returns it
    kubernetes: Kubernetes

    @property
    def field_manager(self) -> str:
        """By which it owns the fields that it applies; "" for Helm 3, which applies none."""
        return Path(self.program).name if self.version >= _SERVER_SIDE else ""

    def history(self) -> History:
        """The history of the release; empty without a release."""
        # One read of its Secrets gives what would take four starts of helm.
        selector, doing = f"owner=helm,name={RELEASE}", f"read the history of {RELEASE}"
        secrets = self.kubernetes.secrets(selector, doing)
        revisions = map(parse_revision, secrets)
        return History(tuple(sorted(revisions, key=lambda revision: revision.number)))

    def values(self, revision: int) -> dict[str, object]:
        """The values that a revision was deployed with, and the chart's own."""
        argv = ["get", "values", RELEASE, f"--revision={revision}", "--all", "--output=json"]
        printed = self._capture(argv, f"read the values of {RELEASE}, revision {revision}")
        return dict(json.loads(printed) or {})

    def notes(self) -> str:
        """The chart's notes for the user."""
        printed = self._capture(["get", "notes", RELEASE], f"read the notes of {RELEASE}")
        return printed.strip().removeprefix("NOTES:\n")

    def preview(self, files: ChartFiles, *, is_upgrade: bool) -> Manifest:
        """What `upgrade` would put into the cluster; the chart's lookups ask the cluster.

        is_upgrade: whether the release has a revision. A dry run of `upgrade` would take twice as
        long, since it reads all revisions.
        """
        argv = ["template", RELEASE, str(files.chart), *_values(files), "--dry-run=server"]
        # The API server validates what it is sent; its schema is large.
        argv += ["--disable-openapi-validation", *(["--is-upgrade"] if is_upgrade else [])]
        # Else Helm 3 does not ask the cluster for its version and kinds.
        argv += [] if self.version >= _SERVER_SIDE else ["--validate"]
        return read_template(self._capture(argv, f"render {files.chart.name}", text=files.secrets))

    def upgrade(
        self, files: ChartFiles, *, description: str, seconds: int, watcher: Watcher
    ) -> None:
        """Install or upgrade, and wait until everything is ready.

        It never rolls back, so that a failure can be reported first. The history keeps the
        description of a revision that succeeds; "" leaves helm's own.
        """
        argv = ["upgrade", RELEASE, str(files.chart), "--install", *_values(files)]
        argv += [f"--history-max={_HISTORY}"]
        argv += [f"--description={description}"] if description else []
        argv += [*self._apply_flags(), *_wait_flags(seconds)]
        self._watch(argv, f"deploy {RELEASE}", watcher, text=files.secrets)

    def rollback(self, revision: int, *, seconds: int, watcher: Watcher) -> None:
        """Deploy an earlier revision again, and wait until everything is ready."""
        argv = ["rollback", RELEASE, str(revision), f"--history-max={_HISTORY}"]
        argv += [*self._apply_flags(), *_wait_flags(seconds)]
        self._watch(argv, f"roll {RELEASE} back to revision {revision}", watcher)

    def uninstall(self, *, seconds: int, watcher: Watcher) -> None:
        """Remove the release with its history, and wait until its objects and pods are gone."""
        # Helm 4 waits by kstatus, which sometimes misses that an object is gone:
        # https://github.com/helm/helm/issues/31766
        wait = "--wait=legacy" if self.version >= _SERVER_SIDE else "--wait"
        argv = ["uninstall", RELEASE, "--cascade=foreground", wait, f"--timeout={seconds}s"]
        self._watch(argv, f"remove {RELEASE}", watcher)

    def test(self, *, seconds: int, watcher: Watcher) -> None:
        """Run the chart's tests; helm prints their logs, by an annotation of the pods."""
        argv = ["test", RELEASE, f"--timeout={seconds}s"]
        self._watch(argv, f"test {RELEASE}", watcher)

    def _apply_flags(self) -> list[str]:
        # As Helm 3 does: a field of the chart that another tool has changed is set back.
        return ["--server-side=true", "--force-conflicts"] if self.version >= _SERVER_SIDE else []

    def _capture(self, argv: Sequence[str], doing: str, text: str = "") -> str:
        options = replace(_OPTIONS, text=text or None)
        return process.capture(
            self._argv(argv), doing=doing, options=options, timeout=_QUICK_SECONDS
        )

    def _watch(self, argv: Sequence[str], doing: str, watcher: Watcher, text: str = "") -> None:
        watcher.tick()  # the reason to end helm may already exist
        process.stream(
            self._argv(argv),
            doing=doing,
            on_line=watcher.on_line,
            timer=process.Timer(watcher.tick, TICK_SECONDS),
            options=replace(_OPTIONS, text=text or None),
        )

    def _argv(self, argv: Sequence[str]) -> list[str]:
        cluster = self.kubernetes
        scope = [f"--namespace={cluster.namespace}", f"--kube-context={cluster.context}"]
        return [self.program, *argv, *scope]


def _values(files: ChartFiles) -> list[str]:
    values = [f"--values={process.csv_line(file)}" for file in files.values]
    # Helm reads them from its standard input, so that they are on no disk and in no command line.
    return [*values, "--values=-"] if files.secrets else values


def _wait_flags(seconds: int) -> list[str]:
    return ["--wait", f"--timeout={seconds}s"]
