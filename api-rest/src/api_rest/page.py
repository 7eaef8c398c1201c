"""The page for people: what runs where, and the results of the latest deployments."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from importlib import resources
from typing import Any

import structlog
from bottle import Bottle, HTTPResponse, SimpleTemplate, html_escape, request
from ledger.event_rules import STAGES, stage_order

from .answers import query
from .drift_reports import Report
from .errors import Busy, Problem, Unavailable
from .freezes import Freeze
from .lag import Lag
from .listing import Parameter
from .results import NewerRun, is_under_way, newer_run, result
from .runs import Run, Running, StageTime
from .tokens import user

__all__ = ["Overview", "mount"]

log = structlog.stdlib.get_logger(__name__)

# The page may load its own assets only, and no other page may frame it.
SECURITY_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
}
MEDIA_TYPES = {
    "favicon.svg": "image/svg+xml",
    "page.css": "text/css",
    "page.js": "text/javascript",
}
ASSET_PARAMETERS = (Parameter("v", str),)
# Whoever may write may also invent stages.
STAGE_COLUMNS = 20
REFRESH_SECONDS = 30
RETRY_SECONDS = 10
# A page with a run under way gets a new ETag this often, for its elapsed times.
TICK_SECONDS = 10
# Replaced in each answer, since all users get the same rendered page.
USER_MARK = "<!-- user -->"
AWAY = "The database behind it does not answer."
BUSY = "The database behind it has too much to do."

# The order in which versions reach environments; others follow by name.
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

# The environments of branches begin so.
PREVIEW = "preview-"

MINUTE, HOUR, DAY = 60, 3600, 86_400
# From how many seconds on, the seconds of a unit, and its name. assets/page.js has both tables too.
AGES = (
    (730 * DAY, 365 * DAY, "y"),
    (60 * DAY, 30 * DAY, "mo"),
    (DAY, DAY, "d"),
    (HOUR, HOUR, "h"),
    (MINUTE, MINUTE, "min"),
    (5, 1, "s"),
)
PAIRS = ((DAY, "d", HOUR, "h"), (HOUR, "h", MINUTE, "min"), (MINUTE, "min", 1, "s"))
# Shorter durations are shown with tenths of a second.
SHORT = 9.95
# A Host header that is safe to show in a command to copy.
HOST = re.compile(r"[A-Za-z0-9.-]+(:[0-9]{1,5})?|\[[0-9A-Fa-f:.]+\](:[0-9]{1,5})?")


@dataclass(frozen=True)
class Overview:
    """What the page shows; all times are UTC without a zone."""

    running: list[Running]
    # The newest runs.
    recent: list[Run]
    now: datetime
    # The storage lag, if it is too long.
    late: Lag | None = None
    freezes: list[Freeze] = field(default_factory=list)
    drift: list[Report] = field(default_factory=list)


@dataclass(frozen=True)
class Matrix:
    """What runs in some environments, one column each."""

    key: str
    title: str
    caption: str
    environments: list[str]
    rows: list[tuple[str, list[tuple[str, Running | None, NewerRun | None]]]]

    @property
    def text(self) -> str:
        """Return its size."""
        columns = _count(len(self.environments), "environment")
        return f"{_count(len(self.rows), 'component')} in {columns}"


@dataclass(frozen=True)
class StageCell:
    """One stage of a run; without a look, nothing was recorded."""

    stage: str
    look: str = ""
    words: str = ""
    took: str = ""
    share: str = "0"
    elapsed_since: str = ""
    found: str = ""


@dataclass(frozen=True)
class Rendered:
    """A rendered page, with the values that it depends on."""

    overview: Overview
    origin: str
    etag: str
    body: str


def mount(app: Bottle, overview: Callable[[], Overview]) -> None:
    """Add the page and its assets to the app; each answer calls `overview`."""
    folder = resources.files(__package__).joinpath("assets")
    template = SimpleTemplate(source=folder.joinpath("page.html").read_text("utf-8"))
    assets = {name: folder.joinpath(name).read_bytes() for name in MEDIA_TYPES}
    build = _digest(template.source, *assets.values())
    latest: Rendered | None = None

    def render(shown: Overview, origin: str) -> Rendered:
        nonlocal latest
        rendered = latest
        # Rendering takes most of the time, and many clients get the same page.
        if rendered is None or rendered.overview != shown or rendered.origin != origin:
            etag = _etag(shown, build)
            body = template.render(build=build, etag=etag, **view(shown, origin))
            latest = rendered = Rendered(shown, origin, etag, body)
        return rendered

    def page() -> HTTPResponse:
        try:
            shown = overview()
        except (Unavailable, Busy) as error:
            log.warning("cannot show the page", reason=str(error))
            body = template.render(
                build=build,
                title="Not answering · Deployment ledger",
                problem=BUSY if isinstance(error, Busy) else AWAY,
                refresh=RETRY_SECONDS,
            )
            return _html(503, body, {"Retry-After": str(RETRY_SECONDS)})
        rendered = render(shown, _origin())
        if request.environ.get("HTTP_IF_NONE_MATCH") == rendered.etag:
            headers = {"ETag": rendered.etag, "Cache-Control": "no-store", **SECURITY_HEADERS}
            return HTTPResponse(status=304, headers=headers)
        body = rendered.body.replace(USER_MARK, _signed_in(user()))
        return _html(200, body, {"ETag": rendered.etag})

    def asset(name: str) -> HTTPResponse:
        if name not in assets:
            raise Problem(404, "not-found", "there is nothing at this address")
        # The page of another replica may ask for another build: do not cache under its name.
        is_cacheable = query().get("v") == build
        headers = {
            "Content-Type": f"{MEDIA_TYPES[name]}; charset=utf-8",
            "Cache-Control": "public, max-age=31536000, immutable" if is_cacheable else "no-cache",
            **SECURITY_HEADERS,
        }
        return HTTPResponse(assets[name], headers=headers)

    app.route("/", "GET", page)
    app.route("/assets/<name>", "GET", asset, parameters=ASSET_PARAMETERS, skip=["access"])


def view(overview: Overview, origin: str) -> dict[str, Any]:
    """Return the variables of the template."""
    matrices = _matrices(overview)
    longest = _longest(overview)
    # A stage that no run reports has no column.
    reported = {stage.stage for run in overview.recent for stage in run.stages}
    columns = sorted(reported, key=stage_order)[:STAGE_COLUMNS]
    recent = [_run_row(run, overview.now, columns, longest) for run in overview.recent]
    return {
        "title": "Deployment ledger",
        "problem": "",
        "late": _late(overview.late),
        "freezes": overview.freezes,
        "drift": [report for report in overview.drift if report.found],
        "drifted": Counter(
            (report.environment, each.component)
            for report in overview.drift
            for each in report.found
        ),
        "refresh": REFRESH_SECONDS,
        "asof": overview.now.strftime("%H:%M:%S UTC"),
        "now": _epoch_ms(overview.now),
        "origin": origin,
        "empty": not overview.running and not recent,
        "stages": columns,
        "stages_text": f"{', '.join(STAGES[:-1])} and {STAGES[-1]}",
        "matrices": matrices,
        "runs": recent,
        "recent_text": _summary([look for _, look, *_ in recent]),
        "iso": _iso,
        "text": _text,
        "duration": duration,
        "ago": lambda moment: age((overview.now - moment).total_seconds()),
    }


def in_pipeline_order(environments: Iterable[str]) -> list[str]:
    """Sort environments in the order of the pipeline; unknown ones last, by name."""
    return sorted(
        environments,
        key=lambda name: (PIPELINE.get(name.lower(), len(PIPELINE)), name.lower(), name),
    )


def age(seconds: float) -> str:
    """Return the age as text."""
    for start, unit, name in AGES:
        if seconds >= start:
            return f"{int(seconds // unit)} {name} ago"
    return "just now"


def duration(seconds: float) -> str:
    """Return the duration as text."""
    if seconds < SHORT:
        return f"{seconds:.1f}".removesuffix(".0") + " s"
    whole = round(seconds)
    for large, large_name, small, small_name in PAIRS:
        if whole >= large:
            rest = whole % large // small
            return f"{whole // large} {large_name}" + (f" {rest} {small_name}" if rest else "")
    return f"{whole} s"


def _matrices(overview: Overview) -> list[Matrix]:
    """Return what runs in the environments and, if there are any, in previews of branches."""
    previews = [entry for entry in overview.running if entry.environment.startswith(PREVIEW)]
    others = [entry for entry in overview.running if entry not in previews]
    made = [
        Matrix(key, title, caption, *_matrix(replace(overview, running=running)))
        for key, title, caption, running in (
            (
                "matrix",
                "What runs where",
                "The version of each component in each environment",
                others,
            ),
            (
                "previews",
                "Previews",
                "The version of each component in the environment of each branch",
                previews,
            ),
        )
    ]
    return made if previews else made[:1]


def _matrix(
    overview: Overview,
) -> tuple[list[str], list[tuple[str, list[tuple[str, Running | None, NewerRun | None]]]]]:
    """Return the environments and the rows: a component, and for each what runs, what is newer."""
    environments = in_pipeline_order({entry.environment for entry in overview.running})
    running = {(entry.component, entry.environment): entry for entry in overview.running}
    newest = {(run.component, run.environment): run for run in _oldest_first(overview.recent)}
    rows = []
    for component in sorted(
        {entry.component for entry in overview.running}, key=lambda name: (name.lower(), name)
    ):
        cells = []
        for environment in environments:
            current = running.get((component, environment))
            newer = newer_run(current, newest.get((component, environment)), overview.now)
            cells.append((environment, current, newer))
        rows.append((component, cells))
    return environments, rows


def _oldest_first(runs: Iterable[Run]) -> list[Run]:
    return sorted(runs, key=lambda run: run.started_at)


def _run_row(
    run: Run, now: datetime, columns: Iterable[str], longest: dict[str, float]
) -> tuple[Run, str, str, list[StageCell]]:
    """Return a row: the run, its look and words, and a cell for each column."""
    look, words = result(run, now)
    known = {stage.stage: stage for stage in run.stages}
    cells = [_stage_cell(name, known.get(name), look, now, longest) for name in columns]
    return run, look, words, cells


def _stage_cell(
    name: str, stage: StageTime | None, run_look: str, now: datetime, longest: dict[str, float]
) -> StageCell:
    if stage is None:
        return StageCell(name)
    is_running = stage.status == "started"
    if is_running and run_look != "started":
        return StageCell(name, "silent", "no end recorded")
    words = "under way" if is_running else stage.status.replace("-", " ")
    seconds = _elapsed(stage, now)
    if seconds is None:
        return StageCell(name, stage.status, words, found=stage.found)
    return StageCell(
        name,
        stage.status,
        words,
        took=duration(seconds),
        share=f"{100 * seconds / longest[name]:.1f}" if longest.get(name) else "0",
        elapsed_since=_iso(stage.started_at) if is_running and stage.started_at else "",
        found=stage.found,
    )


def _elapsed(stage: StageTime, now: datetime) -> float | None:
    if stage.status == "started" and stage.started_at:
        return max(0, int((now - stage.started_at).total_seconds()))
    return stage.seconds


def _longest(overview: Overview) -> dict[str, float]:
    """Return the longest time of each stage, which is the full width of its column's bars."""
    longest: dict[str, float] = {}
    for run in overview.recent:
        for stage in run.stages:
            if stage.status != "started" or is_under_way(run, overview.now):
                seconds = _elapsed(stage, overview.now) or 0
                longest[stage.stage] = max(longest.get(stage.stage, 0), seconds)
    return longest


def _late(late: Lag | None) -> str:
    """Return a sentence about events that the page does not show yet, or nothing."""
    if late is None:
        return ""
    verb = "is" if late.waiting == 1 else "are"
    return (
        f"{_count(late.waiting, 'accepted event')} {verb} not shown here yet; "
        f"the oldest has waited for {duration(late.delay)}."
    )


def _summary(looks: list[str]) -> str:
    """Return how many runs have not succeeded, by look."""
    words = {
        "started": "under way",
        "failed": "failed",
        "rolled-back": "rolled back",
        "removed": "removed",
        "silent": "without an end",
    }
    counts = [f"{looks.count(look)} {word}" for look, word in words.items() if look in looks]
    return ", ".join(counts) if counts else "all succeeded" if looks else ""


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")


def _iso(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds") + "Z"


def _text(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%d %H:%M:%S UTC")


def _epoch_ms(moment: datetime) -> int:
    return int(moment.replace(tzinfo=UTC).timestamp() * 1000)


def _etag(overview: Overview, build: str) -> str:
    """Return the ETag of what is shown, without ages, which page.js updates."""
    is_ticking = any(is_under_way(run, overview.now) for run in overview.recent)
    tick = _epoch_ms(overview.now) // (TICK_SECONDS * 1000) if is_ticking else 0
    listed = (overview.running, overview.recent, overview.freezes, overview.drift)
    shown = (*map(repr, listed), _late(overview.late), str(tick))
    return f'W/"{_digest(build, *shown)}"'


def _digest(*parts: str | bytes) -> str:
    whole = b"\0".join(part.encode() if isinstance(part, str) else part for part in parts)
    return hashlib.sha256(whole).hexdigest()[:16]


def _signed_in(user: str) -> str:
    return f'<p class="muted">Signed in as <bdi>{html_escape(user)}</bdi></p>' if user else ""


def _origin() -> str:
    """Return the requested scheme and host, for commands to copy."""
    scheme, host = request.urlparts[:2]
    is_safe = scheme in ("http", "https") and HOST.fullmatch(host)
    return f"{scheme}://{host}" if is_safe else "http://localhost:8000"


def _html(status: int, body: str, headers: dict[str, str]) -> HTTPResponse:
    common = {"Content-Type": "text/html; charset=utf-8", "Cache-Control": "no-store"}
    return HTTPResponse(body, status=status, headers={**common, **SECURITY_HEADERS, **headers})
