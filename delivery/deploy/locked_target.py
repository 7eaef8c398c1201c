"""What may be done to an environment under its lock: repair, test, roll back, restore."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import NoReturn

from delivery import console
from delivery.deploy import follow
from delivery.deploy.helm import RELEASE, Watcher
from delivery.deploy.history import History, Revision
from delivery.deploy.lock import Lock, acquire
from delivery.deploy.target import Options, Target, parse_seconds
from delivery.errors import CommandError, DeliveryError, DeployError, LeaseLostError

__all__ = ["ENFORCED", "LOCK", "CutOff", "LockedTarget", "lock_target"]

LOCK = f"{RELEASE}-deploy"  # the name of the Lease
# The label by which a namespace enforces Pod Security.
ENFORCED = "pod-security.kubernetes.io/enforce"
# How long a user's own helm may take before its pending revision counts as cut off.
_FOREIGN_SECONDS = 600
_ROLLBACK_SECONDS = 300
_RETRY = "fix what the lines above say, then run the same command again"


@dataclass(frozen=True)
class CutOff:
    """A revision whose helm was killed."""

    objects: str  # its manifest
    began: datetime  # by the cluster's clock


@contextmanager
def lock_target(target: Target, options: Options) -> Iterator[LockedTarget]:
    """Hold the environment's lock while the body runs; make its namespace if it is missing."""
    _ensure_namespace(target)
    with acquire(target.kubernetes, LOCK, seconds=options.lock_timeout) as lock:
        yield LockedTarget(target, lock, options)


def _ensure_namespace(target: Target) -> None:
    name = target.kubernetes.namespace
    namespace = target.kubernetes.find("namespace", name)
    if namespace is None:
        metadata = {"name": name, "labels": {ENFORCED: "restricted"}}
        with console.step(f"namespace {name}") as step:
            target.kubernetes.create(
                {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}
            )
            step.done("created; it enforces Pod Security restricted")
    elif ENFORCED not in namespace["metadata"].get("labels", {}):
        console.say(
            f"the namespace {name} enforces no Pod Security; "
            f"`kubectl label namespace {name} {ENFORCED}=restricted` makes it"
        )


@dataclass(frozen=True)
class LockedTarget:
    """A target whose lock this process holds; lock.check() comes before each change."""

    target: Target
    lock: Lock
    options: Options

    @property
    def soak_seconds(self) -> int:
        """How long a new version is watched: by the options, else as the environment declares."""
        if self.options.soak is not None:
            return self.options.soak
        declared = self.target.environment.soak
        return parse_seconds(declared, "soak") if declared else 0

    def history(self) -> History:
        """The history of the release, as it is now."""
        return self.target.helm.history()

    def delete(self, kind: str, names: list[str]) -> None:
        """Delete objects of the namespace."""
        self.lock.check()
        self.target.kubernetes.delete(kind, names)

    def repair(self, *, own: bool = False) -> CutOff | None:
        """Remove a pending revision whose helm was killed from the history, and return it.

        Under the lock, no other deploy of this project runs, but a user's own helm may: its
        revision is removed only when it is too old for that. own: the revision is of this
        process's helm, which has ended.
        """
        announced = False
        while pending := self.history().pending:
            until = pending.updated + timedelta(seconds=_FOREIGN_SECONDS)
            dead = self.lock.dead_holder
            is_of_dead_deploy = dead is not None and dead.had_lease_at(pending.updated)
            if own or is_of_dead_deploy or datetime.now(UTC) > until:
                return self._remove(pending)
            if not announced:
                console.say(
                    f"… revision {pending.number} is {pending.status} since "
                    f"{pending.updated:%H:%M:%S}, and not by `inv deploy`; "
                    f"waiting for it until {until:%H:%M:%S} at most"
                )
                announced = True
            self.lock.check()
            time.sleep(2)
        return None

    def _remove(self, pending: Revision) -> CutOff | None:
        with console.step(f"repair revision {pending.number}") as step:
            # Helm keeps a revision in this Secret, which it creates before the revision's objects.
            name = f"sh.helm.release.v1.{RELEASE}.v{pending.number}"
            secret = self.target.kubernetes.find("secret", name)
            cut_off = None
            if secret is not None:
                # The cluster's clock, as in the objects' creationTimestamp; helm's may differ.
                began = datetime.fromisoformat(secret["metadata"]["creationTimestamp"])
                cut_off = CutOff(pending.manifest.objects, began)
            self.delete("secret", [name])
            step.done(
                f"it was {pending.status} since {pending.updated:%H:%M:%S}, and its helm had "
                "ended; removed from the history"
            )
        return cut_off

    @contextmanager
    def following(self, action: str) -> Iterator[Watcher]:
        """Follow a helm command; when it fails, print why, and raise DeployError."""
        kubernetes, since = self.target.kubernetes, follow.this_second()
        existing = follow.pod_uids(kubernetes)
        try:
            with console.step(action) as step:
                watch = follow.Watch(kubernetes, step, self.lock, existing)
                try:
                    yield Watcher(on_line=lambda _line: None, tick=watch.tick)
                finally:
                    watch.end()
                step.done(f"all ready on {self.target}")
        except (CommandError, follow.RolloutError) as error:
            follow.report(kubernetes, since)
            reason, hint = _explain(error, self.options)
            raise DeployError(f"cannot {action} on {self.target}: {reason}", hint=hint) from error

    def test(self) -> None:
        """Run the chart's tests; print the output of a failure, and raise DeployError."""
        lines: list[str] = []

        def on_line(line: str) -> None:
            lines.append(line)
            step.line(line)

        since = follow.this_second()
        try:
            with console.step("helm test") as step:
                watcher = Watcher(on_line=on_line, tick=self.lock.check)
                self.target.helm.test(seconds=self.options.timeout, watcher=watcher)
                step.done(f"{sum(line.startswith('Phase:') for line in lines)} passed")
        except CommandError as error:
            console.say("".join(lines))
            follow.report(self.target.kubernetes, since)
            raise DeployError(
                f"cannot verify {self.target}: the chart's tests failed", hint=_RETRY
            ) from error

    def roll_back(self, revision: Revision, seconds: int) -> None:
        """Deploy an earlier revision again, and wait until it is ready."""
        with self.following(f"roll back to revision {revision.number}") as watcher:
            self.target.helm.rollback(revision.number, seconds=seconds, watcher=watcher)

    def restore(self, previous: Revision | None, error: DeployError) -> NoReturn:
        """Roll back to what was deployed before a change failed; then raise the failure."""
        if isinstance(error, LeaseLostError):  # another deploy may already have the lock
            raise error
        try:
            state, rolled_back = self._restore(previous)
        except DeliveryError as failure:
            revision, hint = "", error.hint
            if previous:
                revision = f" to revision {previous.number}"
                hint = f"go back with `{self._rollback_command(previous)}`; {error.hint}"
            raise DeployError(
                f"{error.message}; rolling back{revision} failed too: {failure.reason}",
                details=failure.details,
                hint=hint,
            ) from error
        raise DeployError(
            f"{error.message}; {state}", hint=error.hint, rolled_back=rolled_back
        ) from error

    def _restore(self, previous: Revision | None) -> tuple[str, bool]:
        """Roll back if that is possible and allowed: what is deployed now, and whether it did."""
        self.lock.check()  # after a lost lock, even "nothing is rolled back" would be wrong
        self.repair(own=True)
        if previous is None:
            undeploy = f"./run inv undeploy --environment {self.target.name}"
            return f"nothing was deployed before, so it stays; `{undeploy}` removes it", False
        if not self.options.rollback:
            return f"nothing is rolled back; `{self._rollback_command(previous)}` does it", False
        self.roll_back(previous, _ROLLBACK_SECONDS)
        return f"revision {previous.number} is deployed again", True

    def _rollback_command(self, revision: Revision) -> str:
        return f"./run inv rollback --environment {self.target.name} --revision {revision.number}"


def _explain(error: CommandError | follow.RolloutError, options: Options) -> tuple[str, str]:
    """The reason why a helm command failed, and the hint."""
    if not isinstance(error, CommandError):
        return error.message, error.hint or _RETRY
    if error.returncode < 0:
        hint = "the release is not the cause: run the same command again"
        return f"helm was ended by signal {-error.returncode}", error.hint or hint
    lines = [line for line in error.tail.splitlines() if line.startswith("Error")]
    reason = lines[-1] if lines else error.reason
    if "deadline" in reason:
        reason = f"not ready after {options.timeout} s ({reason})"
    return reason, error.hint or _RETRY
