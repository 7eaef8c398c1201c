"""Compare what the API answered with what the table stores: every attempt and every row."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tests.load.recording import Request

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
    """One violation."""

    kind: str
    # The event; None for a row that no attempt explains.
    number: int | None
    text: str


@dataclass(frozen=True)
class Event:
    """All attempts to record one event, the earliest first."""

    number: int
    attempts: tuple[Request, ...]

    def __str__(self) -> str:
        """The event's name in a finding."""
        key = self.attempts[0].key
        return f"event {self.number}" + (f" (key {key})" if key else "")

    @property
    def payload(self) -> dict[str, Any]:
        """What was sent, the same in every attempt."""
        return self.attempts[0].payload

    @property
    def accepted(self) -> list[Request]:
        """The attempts that were answered with an id."""
        return [attempt for attempt in self.attempts if attempt.outcome == "accepted"]

    @property
    def ids(self) -> list[str]:
        """The distinct ids of the answers, in order; a correct API gives one."""
        return list(dict.fromkeys(str(attempt.id) for attempt in self.accepted))

    @property
    def may_be_stored(self) -> bool:
        """Whether an attempt was anything but refused."""
        return any(attempt.outcome != "refused" for attempt in self.attempts)


@dataclass(frozen=True)
class Counts:
    """How much was compared."""

    events: int
    attempts: int
    retries: int
    accepted: int
    # Events that were neither accepted nor surely refused: these may be stored or not.
    uncertain: int
    uncertain_stored: int
    rows: int


@dataclass(frozen=True)
class Verdict:
    """All violations, and how much was compared."""

    findings: tuple[Finding, ...]
    counts: Counts

    @property
    def kinds(self) -> dict[str, int]:
        """The number of findings of each kind."""
        return dict(Counter(finding.kind for finding in self.findings))

    def describe(self, examples: int = 5) -> str:
        """The counts, and some examples of each kind of finding, for people."""
        counts = self.counts
        kinds = ", ".join(f"{count} {kind}" for kind, count in self.kinds.items())
        lines = [
            (
                f"{counts.events} events in {counts.attempts} attempts ({counts.retries} retries), "
                f"{counts.accepted} accepted, {counts.uncertain} uncertain "
                f"({counts.uncertain_stored} stored), {counts.rows} rows: {kinds or 'all correct'}"
            )
        ]
        for kind, count in self.kinds.items():
            of_kind = [finding for finding in self.findings if finding.kind == kind]
            lines += [f"  {kind}: {finding.text}" for finding in of_kind[:examples]]
            if count > examples:
                lines.append(f"  {kind}: and {count - examples} more")
        return "\n".join(lines)


def check(attempts: Iterable[Request], rows: Sequence[Row]) -> Verdict:
    """Compare the attempts to record events with the table's rows.

    Raise ValueError for attempts that cannot be compared: one event with two payloads or two keys,
    or twice without a key.
    """
    events = _events(attempts)
    numbers = {identifier: event.number for event in events.values() for identifier in event.ids}
    stored: dict[int, list[Row]] = defaultdict(list)
    findings: list[Finding] = []
    for row in rows:
        number = _number_of(row, events, numbers)
        if number is None:
            text = f"row {row['id']} ({row['component']}) belongs to no attempt"
            findings.append(Finding(UNEXPLAINED, None, text))
        else:
            stored[number].append(row)
    findings += _shared_ids(events)
    for event in events.values():
        event_rows = stored[event.number]
        for kind, text in (
            *_contradictions(event),
            *_losses(event, event_rows),
            *_excesses(event, event_rows),
            *_alterations(event, event_rows),
        ):
            findings.append(Finding(kind, event.number, f"{event} {text}"))
    findings += _disorder(events.values())
    return Verdict(tuple(findings), _counts(events, stored, len(rows)))


def _events(attempts: Iterable[Request]) -> dict[int, Event]:
    grouped: dict[int, list[Request]] = defaultdict(list)
    for attempt in attempts:
        grouped[attempt.number].append(attempt)
    keys: dict[str, int] = {}
    events = {}
    for number, tries in sorted(grouped.items()):
        first = tries[0]
        if any(attempt.ended < attempt.began for attempt in tries):
            raise ValueError(f"event {number} has an attempt that ended before it began")
        if any((retry.key, retry.payload) != (first.key, first.payload) for retry in tries):
            raise ValueError(f"event {number} has two keys or payloads: these are two events")
        if first.key is None and len(tries) > 1:
            raise ValueError(f"event {number} was sent twice without a key: these are two events")
        if first.key is not None and keys.setdefault(first.key, number) != number:
            raise ValueError(f"events {keys[first.key]} and {number} have one key")
        events[number] = Event(number, tuple(sorted(tries, key=lambda attempt: attempt.began)))
    return events


def _number_of(row: Row, events: Mapping[int, Event], numbers: Mapping[str, int]) -> int | None:
    """The event of a row: by the id of an answer, else by the number in its details."""
    if row["id"] in numbers:
        return numbers[row["id"]]
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


# Each yields the kind of a violation and what happened to the event.
_Violations = Iterator[tuple[str, str]]


def _contradictions(event: Event) -> _Violations:
    """One key with different answers."""
    if len(event.ids) > 1:
        yield DUPLICATED, f"was answered with {', '.join(event.ids)}"
    times = {attempt.received_at for attempt in event.accepted}
    if len(event.ids) == 1 and len(times) > 1:
        yield INCONSISTENT, f"was answered with times {sorted(map(str, times))}"
    refusals = {
        attempt.status
        for attempt in event.attempts
        if attempt.outcome == "refused" and attempt.status is not None
    }
    if event.accepted and refusals:
        yield INCONSISTENT, f"was accepted, and refused with {sorted(refusals)}"


def _losses(event: Event, rows: Sequence[Row]) -> _Violations:
    stored = {row["id"] for row in rows}
    for identifier in event.ids:
        if identifier not in stored:
            yield LOST, f"was accepted as {identifier}, which is not stored"


def _excesses(event: Event, rows: Sequence[Row]) -> _Violations:
    ids = [row["id"] for row in rows]
    if len(rows) > 1:
        yield DUPLICATED, f"is stored {len(rows)} times: {', '.join(ids)}"
    elif rows and event.ids and ids[0] not in event.ids:
        yield UNEXPLAINED, f"is stored as {ids[0]}, but was accepted as {', '.join(event.ids)}"
    if rows and not event.may_be_stored:
        reasons = sorted({str(attempt.status or attempt.error) for attempt in event.attempts})
        text = f"was refused with {', '.join(reasons)}, but is stored as {', '.join(ids)}"
        yield REFUSED_YET_STORED, text


def _alterations(event: Event, rows: Sequence[Row]) -> _Violations:
    times = {attempt.id: attempt.received_at for attempt in event.accepted}
    for row in rows:
        expected = {name: event.payload.get(name) for name in FIELDS}
        if row["id"] in times:
            expected["received_at"] = times[row["id"]]
        wrong = [
            f"{name} {row[name]!r} instead of {value!r}"
            for name, value in expected.items()
            if row[name] != value
        ]
        if wrong:
            yield ALTERED, f"is stored as {row['id']} with {'; '.join(wrong)}"


def _disorder(events: Iterable[Event]) -> Iterator[Finding]:
    """Events of a component whose times contradict their order.

    Two events have an order only if one ended before the other began.
    """
    components: dict[str, list[Event]] = defaultdict(list)
    for event in events:
        if event.accepted:
            components[str(event.payload["component"])].append(event)
    for accepted in components.values():
        ended = sorted(accepted, key=lambda event: event.accepted[0].ended)
        latest, position = None, 0
        for event in sorted(accepted, key=lambda event: event.attempts[0].began):
            while ended[position].accepted[0].ended < event.attempts[0].began:
                if latest is None or _time(latest) < _time(ended[position]):
                    latest = ended[position]
                position += 1
            if latest is not None and _time(event) <= _time(latest):
                text = f"{event} has time {_time(event)}, {latest} before it {_time(latest)}"
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
    # RFC 3339 with the same number of digits: text sorts as time does.
    return str(event.accepted[0].received_at)
