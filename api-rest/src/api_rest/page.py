"""The page for people: what runs where, and how the latest deployments went."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib import resources
from typing import Any

import structlog
from bottle import Bottle, HTTPResponse, SimpleTemplate, request

from .answers import query
from .errors import Busy, Problem, Unavailable
from .lag import Lag
from .listing import Parameter
from .runs import STAGES, Run, Running, StageTime
from .standing import Coming, coming, result, under_way

__all__ = ["Overview", "mount"]

log = structlog.stdlib.get_logger(__name__)

# What every answer here says: nothing but our own assets, framed by nobody.
SECURITY_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
}
ASSETS = ("favicon.svg", "page.css", "page.js")
ASSET_PARAMETERS = (Parameter("v", "the digest of the page", {"type": "string"}, str, "0123abcd"),)
REFRESH_SECONDS = 30
RETRY_SECONDS = 10
# Elapsed times of what is under way make the page new this often.
TURN_SECONDS = 10
AWAY = "The database behind it does not answer."
BUSY = "The database behind it has too much to do."

# The order that versions travel in; other environments follow by name.
PIPELINE = {
    "develop": 0,
    "development": 0,
    "dev": 0,
    "desenvolvimento": 0,
    "staging": 1,
    "stage": 1,
    "production": 2,
    "prod": 2,
}

MINUTE, HOUR, DAY = 60, 3600, 86_400
# From how many seconds on, counted in what, called what. assets/page.js has both tables too, to let the times tick.
AGES = (
    (730 * DAY, 365 * DAY, "y"),
    (60 * DAY, 30 * DAY, "mo"),
    (DAY, DAY, "d"),
    (HOUR, HOUR, "h"),
    (MINUTE, MINUTE, "min"),
    (5, 1, "s"),
)
PAIRS = ((DAY, "d", HOUR, "h"), (HOUR, "h", MINUTE, "min"), (MINUTE, "min", 1, "s"))
# Below this a tenth of a second is worth showing.
SHORT = 9.95
# A Host header that may be shown in a command to copy.
HOST = re.compile(r"[A-Za-z0-9.-]+(:[0-9]{1,5})?|\[[0-9A-Fa-f:.]+\](:[0-9]{1,5})?")


@dataclass(frozen=True)
class Overview:
    """What the page shows, as of `now`; all times are UTC, with or without a zone.

    late: how far storing is behind, when it is too far.
    """

    running: list[Running]
    recent: list[Run]
    now: datetime
    late: Lag | None = None


@dataclass(frozen=True)
class Asset:
    """A file beside the page."""

    body: bytes
    media_type: str


@dataclass(frozen=True)
class Since:
    """A version that runs, as a cell shows it."""

    version: str
    responsible: str
    since: str
    since_text: str
    age: str


@dataclass(frozen=True)
class Cell:
    """One component in one environment."""

    environment: str
    running: Since | None
    coming: Coming | None


@dataclass(frozen=True)
class StageCell:
    """One stage of a run; no look means nothing was recorded of it."""

    stage: str
    look: str = ""
    words: str = ""
    took: str = ""
    share: str = "0"
    elapsed_since: str = ""


@dataclass(frozen=True)
class RunRow:
    """One run as a row."""

    key: str
    component: str
    version: str
    environment: str
    responsible: str
    look: str
    words: str
    stages: list[StageCell]
    took: str
    at: str
    at_text: str
    age: str


@dataclass(frozen=True)
class Rendered:
    """The page as it was rendered last, and what of."""

    seen: Overview
    origin: str
    etag: str
    body: str


def mount(app: Bottle, overview: Callable[[], Overview]) -> None:
    """Add the page and its assets to the app; `overview` is asked for each answer."""
    folder = resources.files(__package__).joinpath("assets")
    template = SimpleTemplate(source=folder.joinpath("page.html").read_text("utf-8"))
    assets = {name: _asset(name, folder.joinpath(name).read_bytes()) for name in ASSETS}
    build = _digest(template.source, *(asset.body for asset in assets.values()))
    latest: Rendered | None = None

    def render(seen: Overview, origin: str) -> Rendered:
        nonlocal latest
        known = latest
        # Rendering takes most of an answer's time, and many ask for the same.
        if known is None or known.seen != seen or known.origin != origin:
            shown = replace(seen, now=_naive(seen.now))
            etag = _etag(shown, build)
            body = template.render(build=build, etag=etag, **view(shown, origin))
            latest = known = Rendered(seen, origin, etag, body)
        return known

    def page() -> HTTPResponse:
        try:
            seen = overview()
        except (Unavailable, Busy) as error:
            log.warning("cannot show the page", reason=str(error))
            problem = BUSY if isinstance(error, Busy) else AWAY
            values = {
                "title": "Not answering · Deployment ledger",
                "problem": problem,
                "refresh": RETRY_SECONDS,
            }
            body = template.render(build=build, **values)
            return _html(503, body, {"Retry-After": str(RETRY_SECONDS)})
        found = render(seen, _origin())
        if request.environ.get("HTTP_IF_NONE_MATCH") == found.etag:
            headers = {"ETag": found.etag, "Cache-Control": "no-store", **SECURITY_HEADERS}
            return HTTPResponse(status=304, headers=headers)
        return _html(200, found.body, {"ETag": found.etag})

    def asset(name: str) -> HTTPResponse:
        if name not in assets:
            raise Problem(404, "not-found", "there is nothing at this address")
        found = assets[name]
        # An address with another build's digest comes from another replica's page: not to be kept under that name.
        kept = query().get("v") == build
        headers = {
            "Content-Type": found.media_type,
            "Cache-Control": "public, max-age=31536000, immutable" if kept else "no-cache",
            **SECURITY_HEADERS,
        }
        return HTTPResponse(found.body, headers=headers)

    app.route("/", "GET", page)
    app.route("/assets/<name>", "GET", asset, parameters=ASSET_PARAMETERS)


def view(overview: Overview, origin: str) -> dict[str, Any]:
    """Return what the template shows: only text, decided here."""
    environments = in_pipeline_order({one.environment for one in overview.running})
    rows = _matrix(overview, environments)
    longest = _longest(overview)
    # Nine columns are many: what nobody reports has none.
    reported = {stage.stage for run in overview.recent for stage in run.stages}
    columns = [stage for stage in STAGES if stage in reported]
    shown = [_run_row(run, overview.now, columns, longest) for run in overview.recent]
    return {
        "title": "Deployment ledger",
        "problem": "",
        "late": _late(overview.late),
        "refresh": REFRESH_SECONDS,
        "asof": overview.now.strftime("%H:%M:%S UTC"),
        "now": _epoch_ms(overview.now),
        "origin": origin,
        "empty": not rows and not shown,
        "stages": columns,
        "stages_text": f"{', '.join(STAGES[:-1])} and {STAGES[-1]}",
        "environments": environments,
        "rows": rows,
        "runs": shown,
        "matrix_text": f"{_count(len(rows), 'component')} in {_count(len(environments), 'environment')}",
        "recent_text": _summary(shown),
    }


def in_pipeline_order(environments: Iterable[str]) -> list[str]:
    """Sort environments the way versions travel through them; unknown ones last, by name."""
    return sorted(
        environments,
        key=lambda name: (PIPELINE.get(name.lower(), len(PIPELINE)), name.lower(), name),
    )


def age(seconds: float) -> str:
    """Say how long ago something was."""
    for start, unit, name in AGES:
        if seconds >= start:
            return f"{int(seconds // unit)} {name} ago"
    return "just now"


def duration(seconds: float) -> str:
    """Say how long something took."""
    if seconds < SHORT:
        return f"{seconds:.1f}".removesuffix(".0") + " s"
    whole = round(seconds)
    for large, name, small, rest in PAIRS:
        if whole >= large:
            left = whole % large // small
            return f"{whole // large} {name}" + (f" {left} {rest}" if left else "")
    return f"{whole} s"


def _matrix(overview: Overview, environments: list[str]) -> list[tuple[str, list[Cell]]]:
    running = {(one.component, one.environment): one for one in overview.running}
    newest: dict[tuple[str, str], Run] = {}
    for run in sorted(overview.recent, key=lambda run: run.started_at):
        newest[run.component, run.environment] = run
    return [
        (
            component,
            [
                _cell(
                    name,
                    running.get((component, name)),
                    newest.get((component, name)),
                    overview.now,
                )
                for name in environments
            ],
        )
        for component in sorted(
            {one.component for one in overview.running}, key=lambda name: (name.lower(), name)
        )
    ]


def _cell(environment: str, running: Running | None, newest: Run | None, now: datetime) -> Cell:
    since = None
    if running:
        since = Since(
            running.version,
            running.responsible,
            _iso(running.since),
            _text(running.since),
            age((now - running.since).total_seconds()),
        )
    return Cell(environment, since, coming(running, newest, now))


def _run_row(run: Run, now: datetime, columns: Iterable[str], longest: dict[str, float]) -> RunRow:
    look, words = result(run, now)
    known = {stage.stage: stage for stage in run.stages}
    return RunRow(
        key=f"{run.component} {run.environment} {run.version} {_iso(run.started_at)}",
        component=run.component,
        version=run.version,
        environment=run.environment,
        responsible=run.responsible,
        look=look,
        words=words,
        stages=[_stage_cell(name, known.get(name), look, now, longest) for name in columns],
        took="" if run.seconds is None else duration(run.seconds),
        at=_iso(run.started_at),
        at_text=_text(run.started_at),
        age=age((now - run.started_at).total_seconds()),
    )


def _stage_cell(
    name: str, stage: StageTime | None, run_look: str, now: datetime, longest: dict[str, float]
) -> StageCell:
    if stage is None:
        return StageCell(name)
    cell = StageCell(
        name,
        stage.status,
        "under way" if stage.status == "started" else stage.status.replace("-", " "),
    )
    if stage.status == "started" and run_look != "started":
        return replace(cell, look="silent", words="no end recorded")
    seconds = _elapsed(stage, now)
    if seconds is None:
        return cell
    return replace(
        cell,
        took=duration(seconds),
        share=f"{100 * seconds / longest[name]:.1f}" if longest[name] else "0",
        elapsed_since=_iso(stage.started_at)
        if stage.status == "started" and stage.started_at
        else "",
    )


def _elapsed(stage: StageTime, now: datetime) -> float | None:
    if stage.status == "started" and stage.started_at:
        return max(0, int((now - stage.started_at).total_seconds()))
    return stage.seconds


def _longest(overview: Overview) -> dict[str, float]:
    """How long each stage took at most, so that the bars of a column compare."""
    longest = dict.fromkeys(STAGES, 0.0)
    for run in overview.recent:
        for stage in run.stages:
            if stage.status != "started" or under_way(run, overview.now):
                longest[stage.stage] = max(longest[stage.stage], _elapsed(stage, overview.now) or 0)
    return longest


def _late(late: Lag | None) -> str:
    """Say what is missing on the page; empty when nothing is."""
    if late is None:
        return ""
    verb = "is" if late.waiting == 1 else "are"
    waited = duration(late.delay)
    return f"{_count(late.waiting, 'accepted event')} {verb} not shown here yet; the oldest has waited for {waited}."


def _summary(rows: list[RunRow]) -> str:
    """Say what of the runs wants a look."""
    words = {
        "started": "under way",
        "failed": "failed",
        "rolled-back": "rolled back",
        "removed": "removed",
        "silent": "without an end",
    }
    found = [
        f"{count} {word}"
        for look, word in words.items()
        if (count := sum(row.look == look for row in rows))
    ]
    return ", ".join(found) if found else "all succeeded" if rows else ""


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")


def _iso(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds") + "Z"


def _text(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%d %H:%M:%S UTC")


def _epoch_ms(moment: datetime) -> int:
    return int(moment.replace(tzinfo=UTC).timestamp() * 1000)


def _naive(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(tzinfo=None) if moment.tzinfo else moment


def _etag(overview: Overview, build: str) -> str:
    """Name what is shown, ages left out: they tick by themselves, and a page without JavaScript is never cached."""
    ticking = any(under_way(run, overview.now) for run in overview.recent)
    turn = _epoch_ms(overview.now) // (TURN_SECONDS * 1000) if ticking else 0
    shown = (repr(overview.running), repr(overview.recent), _late(overview.late), str(turn))
    return f'W/"{_digest(build, *shown)}"'


def _digest(*parts: str | bytes) -> str:
    whole = b"\0".join(part.encode() if isinstance(part, str) else part for part in parts)
    return hashlib.sha256(whole).hexdigest()[:16]


def _asset(name: str, body: bytes) -> Asset:
    media_type = {"css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}[
        name.rpartition(".")[2]
    ]
    return Asset(body, f"{media_type}; charset=utf-8")


def _origin() -> str:
    """Return where this page was asked for, for commands to copy."""
    scheme, host = request.urlparts[:2]
    return (
        f"{scheme}://{host}"
        if scheme in ("http", "https") and HOST.fullmatch(host)
        else "http://localhost:8000"
    )


def _html(status: int, body: str, headers: dict[str, str]) -> HTTPResponse:
    kept = {
        "Content-Type": "text/html; charset=utf-8",
        "Cache-Control": "no-store",
        **SECURITY_HEADERS,
        **headers,
    }
    return HTTPResponse(body, status=status, headers=kept)
