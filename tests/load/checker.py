"""Judges a run: holds what was answered against what is stored. Pure, and exhaustive: every attempt and every row counts."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tests.ledger.history import Attempt

__all__ = ["Event", "Finding", "Verdict", "check"]

LOST = "lost"
DUPLICATED = "duplicated"
ALTERED = "altered"
UNEXPLAINED = "unexplained"
REFUSED_YET_STORED = "refused-yet-stored"
INCONSISTENT = "inconsistent"
OUT_OF_ORDER = "out-of-order"

FIELDS = ("component", "version", "environment", "responsible", "stage", "status", "details")

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Finding:
    """One thing that must not be: what kind, about which event (None: a row that no attempt explains), and the facts."""

    kind: str
    number: int | None
    text: str


@dataclass(frozen=True)
class Event:
    """One logical event: all attempts to record it, the earliest first."""

    number: int
    attempts: tuple[Attempt, ...]

    @property
    def payload(self) -> dict[str, Any]:
        """What was sent, the same in every attempt."""
        return self.attempts[0].payload

    @property
    def accepted(self) -> list[Attempt]:
        """The attempts that were answered with an id."""
        return [attempt for attempt in self.attempts if attempt.answer.outcome == "accepted"]

    @property
    def ids(self) -> list[str]:
        """The ids it was answered with, in order; one, if all is well."""
        return list(dict.fromkeys(str(attempt.answer.id) for attempt in self.accepted))

    @property
    def may_be_stored(self) -> bool:
        """Whether anything but a certain refusal came of it."""
        return any(attempt.answer.outcome != "refused" for attempt in self.attempts)


@dataclass(frozen=True)
class Counts:
    """How much was judged. Uncertain: events never accepted that may be stored or not; some are, and may be."""

    events: int
    attempts: int
    retries: int
    accepted: int
    uncertain: int
    uncertain_stored: int
    rows: int


@dataclass(frozen=True)
class Verdict:
    """All findings, and how much they were looked for in."""

    findings: tuple[Finding, ...]
    counts: Counts

    @property
    def kinds(self) -> dict[str, int]:
        """How many findings of each kind."""
        return dict(Counter(finding.kind for finding in self.findings))

    def describe(self, examples: int = 5) -> str:
        """The verdict for people: the counts, and some examples of each kind of finding."""
        counts = self.counts
        lines = [
            f"{counts.events} events in {counts.attempts} attempts ({counts.retries} again), {counts.accepted} accepted, "
            f"{counts.uncertain} uncertain of which {counts.uncertain_stored} are stored, {counts.rows} rows: "
            + (
                ", ".join(f"{count} {kind}" for kind, count in self.kinds.items())
                or "nothing wrong"
            )
        ]
        for kind, count in self.kinds.items():
            of_kind = [finding for finding in self.findings if finding.kind == kind]
            lines += [f"  {kind}: {finding.text}" for finding in of_kind[:examples]]
            if count > examples:
                lines.append(f"  {kind}: and {count - examples} more")
        return "\n".join(lines)


def check(attempts: Iterable[Attempt], rows: Sequence[Row]) -> Verdict:
    """Hold a history against the table's rows: id, the event's fields, received_at as in an answer.

    Raise ValueError for a history that cannot be judged: an event tried with two payloads, two keys, or twice without one.
    """
    events = _events(attempts)
    asked = _by_answer(events)
    stored: dict[int, list[Row]] = defaultdict(list)
    findings: list[Finding] = []
    for row in rows:
        number = _event_of(row, events, asked)
        if number is None:
            findings.append(
                Finding(UNEXPLAINED, None, f"row {row['id']} ({row['component']}) is of no attempt")
            )
        else:
            stored[number].append(row)
    findings += _shared_ids(events)
    for event in events.values():
        findings += _contradictions(event)
        findings += _losses(event, stored[event.number])
        findings += _excesses(event, stored[event.number])
        findings += _alterations(event, stored[event.number])
    findings += _disorder(events.values())
    return Verdict(tuple(findings), _counts(events, stored, len(rows)))


def _events(attempts: Iterable[Attempt]) -> dict[int, Event]:
    grouped: dict[int, list[Attempt]] = defaultdict(list)
    for attempt in attempts:
        grouped[attempt.number].append(attempt)
    keys: dict[str, int] = {}
    events = {}
    for number, tries in sorted(grouped.items()):
        first = tries[0]
        if any(attempt.completed < attempt.invoked for attempt in tries):
            raise ValueError(f"event {number} has an attempt that ended before it began")
        if any((again.key, again.payload) != (first.key, first.payload) for again in tries):
            raise ValueError(
                f"event {number} was tried with two keys or payloads: these are two events"
            )
        if first.key is None and len(tries) > 1:
            raise ValueError(f"event {number} was tried twice without a key: these are two events")
        if first.key is not None and keys.setdefault(first.key, number) != number:
            raise ValueError(f"events {keys[first.key]} and {number} have one key")
        events[number] = Event(number, tuple(sorted(tries, key=lambda attempt: attempt.invoked)))
    return events


def _by_answer(events: Mapping[int, Event]) -> dict[str, int]:
    return {identifier: event.number for event in events.values() for identifier in event.ids}


def _event_of(row: Row, events: Mapping[int, Event], asked: Mapping[str, int]) -> int | None:
    """The event of a row: by the id that was answered, else by the number that was sent in its details."""
    if row["id"] in asked:
        return asked[row["id"]]
    number = row["details"].get("number") if isinstance(row["details"], dict) else None
    return number if isinstance(number, int) and number in events else None


def _shared_ids(events: Mapping[int, Event]) -> Iterator[Finding]:
    first: dict[str, int] = {}
    for event in events.values():
        for identifier in event.ids:
            other = first.setdefault(identifier, event.number)
            if other != event.number:
                text = f"events {other} and {event.number} were both answered with {identifier}"
                yield Finding(INCONSISTENT, event.number, text)


def _contradictions(event: Event) -> Iterator[Finding]:
    """The same key with different answers."""
    if len(event.ids) > 1:
        yield Finding(
            DUPLICATED, event.number, f"{_name(event)} was answered with {', '.join(event.ids)}"
        )
    times = {attempt.answer.received_at for attempt in event.accepted}
    if len(event.ids) == 1 and len(times) > 1:
        yield Finding(
            INCONSISTENT,
            event.number,
            f"{_name(event)} was answered with times {sorted(map(str, times))}",
        )
    refusals = {
        attempt.answer.status for attempt in event.attempts if attempt.answer.outcome == "refused"
    } - {None}
    if event.accepted and refusals:
        yield Finding(
            INCONSISTENT,
            event.number,
            f"{_name(event)} was accepted, and refused with {sorted(refusals, key=str)}",
        )


def _losses(event: Event, rows: Sequence[Row]) -> Iterator[Finding]:
    held = {row["id"] for row in rows}
    for identifier in event.ids:
        if identifier not in held:
            yield Finding(
                LOST,
                event.number,
                f"{_name(event)} was accepted as {identifier}, which is not stored",
            )


def _excesses(event: Event, rows: Sequence[Row]) -> Iterator[Finding]:
    ids = [row["id"] for row in rows]
    if len(rows) > 1:
        yield Finding(
            DUPLICATED,
            event.number,
            f"{_name(event)} is stored {len(rows)} times: {', '.join(ids)}",
        )
    elif rows and event.ids and ids[0] not in event.ids:
        text = f"{_name(event)} is stored as {ids[0]}, but was accepted as {', '.join(event.ids)}"
        yield Finding(UNEXPLAINED, event.number, text)
    if rows and not event.may_be_stored:
        reasons = sorted(
            {str(attempt.answer.status or attempt.answer.reason) for attempt in event.attempts}
        )
        text = f"{_name(event)} was refused with {', '.join(reasons)}, but is stored as {', '.join(ids)}"
        yield Finding(REFUSED_YET_STORED, event.number, text)


def _alterations(event: Event, rows: Sequence[Row]) -> Iterator[Finding]:
    times = {attempt.answer.id: attempt.answer.received_at for attempt in reversed(event.accepted)}
    for row in rows:
        wanted = {name: event.payload.get(name) for name in FIELDS}
        if row["id"] in times:
            wanted["received_at"] = times[row["id"]]
        wrong = [
            f"{name} {row[name]!r} instead of {value!r}"
            for name, value in wanted.items()
            if row[name] != value
        ]
        if wrong:
            yield Finding(
                ALTERED,
                event.number,
                f"{_name(event)} is stored as {row['id']} with {'; '.join(wrong)}",
            )


def _disorder(events: Iterable[Event]) -> Iterator[Finding]:
    """Events of a component whose times contradict their order; only what ended before another began has an order."""
    components: dict[str, list[Event]] = defaultdict(list)
    for event in events:
        if event.accepted:
            components[str(event.payload["component"])].append(event)
    for found in components.values():
        ended = sorted(found, key=lambda event: event.accepted[0].completed)
        latest, position = None, 0
        for event in sorted(found, key=lambda event: event.attempts[0].invoked):
            while ended[position].accepted[0].completed < event.attempts[0].invoked:
                if latest is None or _time(latest) < _time(ended[position]):
                    latest = ended[position]
                position += 1
            if latest is not None and _time(event) <= _time(latest):
                text = f"{_name(event)} has the time {_time(event)}, {_name(latest)} before it {_time(latest)}"
                yield Finding(OUT_OF_ORDER, event.number, text)


def _counts(events: Mapping[int, Event], stored: Mapping[int, Sequence[Row]], rows: int) -> Counts:
    attempts = sum(len(event.attempts) for event in events.values())
    uncertain = [event for event in events.values() if event.may_be_stored and not event.accepted]
    return Counts(
        events=len(events),
        attempts=attempts,
        retries=attempts - len(events),
        accepted=sum(1 for event in events.values() if event.accepted),
        uncertain=len(uncertain),
        uncertain_stored=sum(1 for event in uncertain if stored[event.number]),
        rows=rows,
    )


def _time(event: Event) -> str:
    # RFC 3339 with as many digits in each: text sorts as time does.
    return str(event.accepted[0].answer.received_at)


def _name(event: Event) -> str:
    return f"event {event.number}" + (
        f" (key {event.attempts[0].key})" if event.attempts[0].key else ""
    )
