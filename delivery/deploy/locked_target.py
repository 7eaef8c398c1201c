"""Hold an environment: while we do, no other deploy changes its release, and a failed change can be taken back."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import NoReturn

from delivery import console
from delivery.deploy import follow, lock
from delivery.deploy.helm import RELEASE, Watcher
from delivery.deploy.history import History, Revision
from delivery.deploy.lock import Turn
from delivery.deploy.target import Options, Target
from delivery.errors import CommandError, DeliveryError, DeployError, LeaseLostError

__all__ = ["CutOff", "Held", "hold"]

_ENFORCED = "pod-security.kubernetes.io/enforce"
# A helm that somebody runs by hand gets this long before its revision counts as cut off.
_FOREIGN_SECONDS = 600
_ROLLBACK_SECONDS = 300


@dataclass(frozen=True)
class CutOff:
    """A revision whose helm was killed: its objects as YAML, and since when the cluster knows it."""

    objects: str
    began: datetime


@contextmanager
def hold(target: Target, options: Options) -> Iterator[Held]:
    """Hold the environment while the body runs; another deploy is waited for. Its namespace is made if need be."""
    _ensure_namespace(target)
    with lock.hold(target.kubernetes, f"{RELEASE}-deploy", seconds=options.lock_seconds) as turn:
        yield Held(target, turn, options)


def _ensure_namespace(target: Target) -> None:
    name = target.kubernetes.namespace
    found = target.kubernetes.find("namespace", name)
    if found is None:
        labels = {_ENFORCED: "restricted"}
        namespace = {
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {"name": name, "labels": labels},
        }
        with console.step(f"namespace {name}") as step:
            target.kubernetes.create(namespace)
            step.done("made; it enforces Pod Security restricted")
    elif _ENFORCED not in found["metadata"].get("labels", {}):
        console.say(
            f"the namespace {name} enforces no Pod Security; `kubectl label namespace {name} {_ENFORCED}=restricted`"
        )


@dataclass(frozen=True)
class Held:
    """A target whose lock we hold; turn.check() comes before each change of it."""

    target: Target
    turn: Turn
    options: Options

    def history(self) -> History:
        """The history of the release, as it is now."""
        return self.target.helm.history()

    def delete(self, kind: str, names: list[str]) -> None:
        """Delete objects of the namespace."""
        self.turn.check()
        self.target.kubernetes.delete(kind, names)

    def repair(self, *, ours: bool = False) -> CutOff | None:
        """Take a revision whose helm was killed out of the history; return it, for what it may have left behind.

        While we hold the environment no other deploy of this project is at work. A helm that
        somebody runs by hand may be: its revision is removed only once it is too old for that.
        ours: the revision is of our own helm, which has ended.
        """
        announced = False
        while stuck := self.history().pending:
            until = stuck.updated + timedelta(seconds=_FOREIGN_SECONDS)
            dead = self.turn.dead
            if ours or (dead and dead.covers(stuck.updated)) or datetime.now(UTC) > until:
                return self._remove(stuck)
            if not announced:
                console.say(
                    f"… revision {stuck.number} is {stuck.status} since {stuck.updated:%H:%M:%S}, and not by "
                    f"`inv deploy`; waiting for it to end, until {until:%H:%M:%S} at most"
                )
                announced = True
            self.turn.check()
            time.sleep(2)
        return None

    def _remove(self, stuck: Revision) -> CutOff | None:
        with console.step(f"repair revision {stuck.number}") as step:
            # Helm keeps a revision in this Secret, which is made before the revision's objects are.
            name = f"sh.helm.release.v1.{RELEASE}.v{stuck.number}"
            secret = self.target.kubernetes.find("secret", name)
            left = None
            if secret is not None:
                # The cluster's clock, as in the objects' creationTimestamp; helm's may be another machine's.
                began = datetime.fromisoformat(secret["metadata"]["creationTimestamp"])
                left = CutOff(self.target.helm.manifest(stuck.number).objects, began)
            self.delete("secret", [name])
            step.done(
                f"it was {stuck.status} since {stuck.updated:%H:%M:%S} with nobody at it; taken out of the history"
            )
        return left

    @contextmanager
    def following(self, title: str) -> Iterator[Watcher]:
        """Follow a helm command; when it fails, print why, and raise DeployError."""
        kubernetes = self.target.kubernetes
        since = datetime.now(UTC).replace(microsecond=0)
        before = follow.uids(kubernetes, RELEASE)
        try:
            with console.step(title) as step:
                watch = follow.Watch(kubernetes, RELEASE, step, self.turn, before)
                try:
                    yield Watcher(on_line=lambda _line: None, tick=watch.tick)
                finally:
                    watch.end()
                step.done(f"all ready on {self.target}")
        except (CommandError, follow.HopelessError) as error:
            follow.report(kubernetes, RELEASE, since)
            reason, hint = _reason(error, self.options), error.hint or _hint(error)
            raise DeployError(f"{title} on {self.target}: {reason}", hint=hint) from error

    def test(self) -> None:
        """Run the chart's tests; raise DeployError, after their output and the pods were shown, when one fails."""
        lines: list[str] = []

        def on_line(line: str) -> None:
            lines.append(line)
            step.line(line)

        since = datetime.now(UTC).replace(microsecond=0)
        try:
            with console.step("helm test") as step:
                watcher = Watcher(on_line=on_line, tick=self.turn.check)
                self.target.helm.test(seconds=self.options.seconds, watcher=watcher)
                step.done(f"{sum(line.startswith('Phase:') for line in lines)} passed")
        except CommandError as error:
            console.say("".join(lines))
            follow.report(self.target.kubernetes, RELEASE, since)
            raise DeployError(
                f"test {self.target}: the chart's tests failed",
                hint="mend what the lines above say, and run the same command again",
            ) from error

    def roll_back(self, revision: Revision, seconds: int) -> None:
        """Deploy an earlier revision once more, and wait until it serves."""
        with self.following(f"roll back to revision {revision.number}") as watcher:
            self.target.helm.rollback(revision.number, seconds=seconds, watcher=watcher)

    def take_back(self, serving: Revision | None, error: DeployError) -> NoReturn:
        """Go back to what served before a change failed, then raise that failure with how this went."""
        if isinstance(error, LeaseLostError):  # the release is another deploy's now
            raise error
        try:
            state, rolled_back = self._restore(serving)
        except DeliveryError as failure:
            again = f"`{self._rollback(serving)}` goes back; " if serving else ""
            to = f" to revision {serving.number}" if serving else ""
            raise DeployError(
                f"{error.message}; going back{to} failed too: {failure.message}",
                details=failure.details,
                hint=f"{again}{error.hint}",
            ) from error
        raise DeployError(
            f"{error.message}; {state}", hint=error.hint, rolled_back=rolled_back
        ) from error

    def _restore(self, serving: Revision | None) -> tuple[str, bool]:
        """Go back to a revision if that may be; what serves now, and whether that is it."""
        self.turn.check()
        self.repair(ours=True)
        if serving is None:
            stays = "nothing served before, so what came of it stays to be looked at"
            return (
                f"{stays}; `./run inv undeploy --environment {self.target.name}` removes it",
                False,
            )
        if not self.options.rollback:
            return f"nothing is rolled back; `{self._rollback(serving)}` does it", False
        self.roll_back(serving, _ROLLBACK_SECONDS)
        return f"revision {serving.number} serves on", True

    def _rollback(self, revision: Revision) -> str:
        return f"./run inv rollback --environment {self.target.name} --revision {revision.number}"


def _hint(error: CommandError | follow.HopelessError) -> str:
    if isinstance(error, CommandError) and error.returncode < 0:
        return "it was not the release's fault: run the same command again"
    return "mend what the lines above say, and run the same command again"


def _reason(error: CommandError | follow.HopelessError, options: Options) -> str:
    if isinstance(error, follow.HopelessError):
        return error.message
    if error.returncode < 0:
        return f"helm was ended by signal {-error.returncode}"
    lines = [line for line in error.tail.splitlines() if line.startswith("Error")]
    reason = lines[-1] if lines else error.message
    return f"not ready after {options.seconds} s ({reason})" if "deadline" in reason else reason
