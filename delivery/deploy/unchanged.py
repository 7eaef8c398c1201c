"""Whether an environment has everything already: read side by side, before its lock is taken."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from delivery import console, process
from delivery.deploy import inventory
from delivery.deploy.helm import ChartFiles
from delivery.deploy.history import History
from delivery.deploy.inventory import Deployed
from delivery.deploy.lock import is_held
from delivery.deploy.locked_target import LOCK
from delivery.deploy.manifests import drifted, is_same
from delivery.deploy.rollout import read_workloads
from delivery.deploy.target import Target
from delivery.deploy.upgrade import COMPARER, claims_to_enlarge, render
from delivery.project.declaration import Declaration

__all__ = ["Reading", "read"]


@dataclass(frozen=True)
class Reading:
    """What an environment has, without its lock."""

    # The revision that is deployed, if a deploy of these files would change nothing, all of it is
    # ready, and no other deploy has the lock; else 0. Such a deploy needs no lock: it is as if it
    # had ended before the next one began.
    unchanged: int = 0
    deployed: Callable[[], Deployed | None] = lambda: None  # what that revision deployed


def read(declaration: Declaration, target: Target, inputs: ChartFiles) -> Reading:
    """Compare the environment with what a deploy of these files would make of it."""
    with console.step("compare") as step, process.side_by_side() as pool:
        rendered = pool.submit(render, target, inputs)
        locked = pool.submit(is_held, target.kubernetes, LOCK)
        pool.submit(target.ledger_token)  # for recording
        history = target.helm.history()
        if reason := _obstacle(history):
            step.done(reason)
            return Reading()
        revision = history.revisions[-1]
        stored = revision.manifest
        # The chart is still rendered. If that gives the same, this is what the cluster is to have.
        dry_run = partial(target.kubernetes.dry_run, validate=False)
        expected = pool.submit(dry_run, stored.objects, COMPARER)
        live = pool.submit(target.kubernetes.live, stored.objects)
        growths = pool.submit(claims_to_enlarge, target, stored)
        if locked.result():
            step.done("another deploy has the lock")
        elif not is_same(stored, rendered.result()):
            step.done(f"revision {revision.number} differs")
        elif drifted(expected.result(), live.result()):
            step.done(f"the cluster has changed since revision {revision.number}")
        elif names := [growth.claim for growth in growths.result()]:
            step.done(f"claims to enlarge: {', '.join(names)}")
        elif not all(workload.is_ready for workload in read_workloads(live.result())):
            step.done(f"revision {revision.number} is not ready")
        else:
            step.done(f"nothing to do: revision {revision.number} has the same contents")
            read_deployed = partial(inventory.read_revision, declaration, target, history)
            return Reading(revision.number, partial(read_deployed, revision))
        return Reading()


def _obstacle(history: History) -> str:
    """Why a deploy changes something, or waits; "" if the last revision is the deployed one."""
    if pending := history.pending:
        return f"revision {pending.number} is {pending.status}"
    if history.deployed is None:
        return "nothing is deployed"
    last = history.revisions[-1]
    return "" if last is history.deployed else f"revision {last.number} is {last.status}"
