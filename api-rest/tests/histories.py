"""Generated deployments: histories with a known result, and arbitrary events."""

import string
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from hypothesis import strategies as st
from ledger.event_rules import STAGES

START = datetime(2026, 1, 1, 12)  # noqa: DTZ001  the column holds UTC without a zone
PLACES = [("staging", "a"), ("production", "a"), ("staging", "b")]

Row = dict[str, Any]
# What runs: version, since and by whom, of each environment and component.
Answer = dict[tuple[str, str], tuple[str, datetime, str]]


@dataclass
class Attempt:
    """One deploy of a version to a place: by a pipeline, or by hand without one."""

    place: tuple[str, str]
    version: str
    pipeline: str | None
    success: Row | None = None
    is_recorded: bool = False
    taken_back: bool = False


@dataclass
class History:
    """Deployments in order, and the events that are recorded."""

    records_starts: bool
    rows: list[Row] = field(default_factory=list)
    attempts: list[Attempt] = field(default_factory=list)
    pipelines: int = 0

    def pipeline(self) -> str:
        """Return the address of a new build."""
        self.pipelines += 1
        return f"https://ci/{self.pipelines}"

    def record(
        self, attempt: Attempt, stage: str, status: str, pipeline: str | None = None
    ) -> None:
        """Record an event, a second after the one before."""
        if status == "started" and not self.records_starts:
            return
        environment, component = attempt.place
        number = len(self.rows)
        row = {
            "id": f"{number:036}",
            "environment": environment,
            "component": component,
            "version": attempt.version,
            "responsible": f"person {number}",
            "stage": stage,
            "status": status,
            "at": START + timedelta(seconds=number),
            "pipeline": pipeline,
            "step": None,
        }
        self.rows.append(row)
        attempt.is_recorded = attempt.is_recorded or stage == "deploy"
        if (stage, status) == ("deploy", "succeeded"):
            attempt.success = row

    def deploy(
        self, place: tuple[str, str], version: str, pipeline: str | None, outcome: str
    ) -> None:
        """Deploy a version, and take it back at once if that is the outcome."""
        attempt = Attempt(place, version, pipeline)
        if pipeline:
            self.record(attempt, "build", "started", pipeline)
            self.record(attempt, "build", "succeeded", pipeline)
        self.attempts.append(attempt)
        self.record(attempt, "deploy", "started", pipeline)
        if outcome == "succeeded":
            self.record(attempt, "deploy", "succeeded", pipeline)
        elif outcome != "killed":
            self.record(attempt, "deploy", "failed", pipeline)
        if outcome == "rolled-back":
            self.record(attempt, "deploy", "rolled-back", pipeline)
            attempt.taken_back = True

    def deploy_together(self, place: tuple[str, str], version: str, ends: list[str]) -> None:
        """Have two pipelines deploy the same version at the same time."""
        both = [Attempt(place, version, self.pipeline()) for _ in ends]
        self.attempts += both
        for attempt in both:
            self.record(attempt, "deploy", "started", attempt.pipeline)
        for attempt, end in zip(both, ends, strict=True):
            self.record(attempt, "deploy", end, attempt.pipeline)

    def latest(self, place: tuple[str, str], version: str) -> list[Attempt]:
        """Return each pipeline's last deploy of a version."""
        same = [one for one in self.attempts if (one.place, one.version) == (place, version)]
        return list({one.pipeline: one for one in same if one.pipeline}.values())

    def take_back(self, attempt: Attempt, stage: str, by: str) -> None:
        """Roll a version back: the deploy of its `own` pipeline, or else the last deploy."""
        same = [
            one
            for one in self.attempts
            if (one.place, one.version) == (attempt.place, attempt.version)
        ]
        # Without starts, a killed deploy has no event.
        known = [one for one in same if one.is_recorded]
        pipeline = (
            attempt.pipeline
            if by == "own"
            else self.pipeline()
            if by == "another pipeline"
            else None
        )
        own = [one for one in known if pipeline and one.pipeline == pipeline]
        meant = (own or known)[-1:]
        if stage == "verify":
            self.record(attempt, stage, "started", pipeline)
            self.record(attempt, stage, "failed", pipeline)
        self.record(attempt, stage, "rolled-back", pipeline)
        for one in meant:
            one.taken_back = True

    def remove(self, place: tuple[str, str], version: str, pipeline: str | None) -> None:
        """Remove the place, whichever version the event names."""
        self.record(Attempt(place, version, pipeline), "deploy", "removed", pipeline)

    def verify(self, attempt: Attempt, by: str) -> None:
        """Verify a deployed version."""
        pipeline = self.pipeline() if by == "another pipeline" else None
        self.record(attempt, "verify", "started", pipeline)
        self.record(attempt, "verify", "succeeded", pipeline)

    def answer(self) -> Answer:
        """Return what runs."""
        found: Answer = {}
        for row in self.rows:
            if row["status"] == "removed":
                found.pop((row["environment"], row["component"]), None)
            if any(one.success is row and not one.taken_back for one in self.attempts):
                place = row["environment"], row["component"]
                found[place] = row["version"], row["at"], row["responsible"]
        return found


@st.composite
def histories(draw: st.DrawFn) -> tuple[list[Row], Answer]:
    """Return the rows of a history in the order in which they arrived, and what really runs."""
    history = History(draw(st.booleans()))
    for _ in range(draw(st.integers(1, 12))):
        place = draw(st.sampled_from(PLACES))
        version = draw(st.sampled_from(["1", "2"]))
        action = draw(
            st.sampled_from(["deploy", "deploy", "together", "take back", "remove", "verify"])
        )
        if action == "deploy":
            outcome = draw(
                st.sampled_from(["succeeded", "succeeded", "failed", "rolled-back", "killed"])
            )
            again = [one.pipeline for one in history.latest(place, version) if one.taken_back]
            history.deploy(
                place, version, draw(st.sampled_from([None, history.pipeline(), *again])), outcome
            )
        elif action == "together":
            ends = draw(st.lists(st.sampled_from(["succeeded", "failed"]), min_size=2, max_size=2))
            history.deploy_together(place, version, ends)
        elif action == "remove":
            own = [one.pipeline for one in history.latest(place, version)]
            history.remove(place, version, draw(st.sampled_from([None, history.pipeline(), *own])))
        elif history.attempts:
            attempt = draw(st.sampled_from(history.attempts))
            by = draw(st.sampled_from(["own", "hand", "another pipeline"]))
            if action == "verify":
                history.verify(attempt, by)
            else:
                history.take_back(attempt, draw(st.sampled_from(["deploy", "verify"])), by)
    arrived = draw(st.permutations(history.rows))
    return [_received(row, number) for number, row in enumerate(arrived)], history.answer()


@st.composite
def events(draw: st.DrawFn) -> list[Row]:
    """Return rows of any events, many of one moment, in the order in which they arrived."""
    rows = draw(
        st.lists(
            st.fixed_dictionaries(
                {
                    # Most are about one version at one place: what comes of it is what is hard.
                    "place": st.sampled_from([PLACES[0]] * 5 + PLACES[1:]),
                    "version": st.sampled_from(["1", "1", "2"]),
                    "responsible": st.sampled_from(["ana", "zoë"]),
                    "stage": st.sampled_from([*(["deploy"] * 3), "verify", *STAGES, "x"]),
                    "status": st.sampled_from(
                        ["succeeded", "succeeded", "started", "failed", "rolled-back", "removed"]
                    ),
                    "at": st.integers(0, 9).map(lambda second: START + timedelta(seconds=second)),
                    "pipeline": st.sampled_from([None, None, "https://ci/1", "https://ci/2"]),
                    "step": st.sampled_from([None, None, "x", "y"]),
                }
            ),
            min_size=4,
            max_size=30,
        )
    )
    # Which of one moment is the newer one is a matter of the id.
    ids = draw(st.permutations(string.ascii_letters[: len(rows)]))
    result = []
    for number, (row, letter) in enumerate(zip(rows, ids, strict=True)):
        place: Any = row.pop("place")
        environment, component = place
        known = {**row, "id": letter * 36, "environment": environment, "component": component}
        result.append(_received(known, number))
    return result


def _received(row: Row, number: int) -> Row:
    return {**row, "received_at": START + timedelta(minutes=5, seconds=number), "details": None}
