"""A badge for a README: one small picture of what an environment has of a component, and how the newest run there stands."""

from __future__ import annotations

import hashlib
import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape, quoteattr

import structlog
from bottle import Bottle, HTTPResponse, request

from .answers import query
from .errors import Busy, Problem, Unavailable
from .event import FIELDS, printable
from .listing import Parameter, checked
from .page import SECURITY_HEADERS
from .standing import coming

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from .runs import Run, Running

__all__ = ["PARAMETERS", "Badge", "badge_of", "draw", "mount"]

log = structlog.stdlib.get_logger(__name__)

RULE = "/badges/<environment>/<component:path>.svg"
# A page of another site shows it: that is what it is for.
HEADERS = {
    "Content-Type": "image/svg+xml; charset=utf-8",
    **SECURITY_HEADERS,
    "Cross-Origin-Resource-Policy": "cross-origin",
}
MAX_AGE_SECONDS = 60
RETRY_SECONDS = 10
LABEL_LIMIT = 64
# What is longer is shown cut, and read aloud whole.
SHOWN_LIMIT = 48

# White text reads well on each of them. No colour says what the words do not.
COLOURS = {
    "succeeded": "#1b7a49",
    "started": "#8a5a00",
    "failed": "#b8322a",
    "rolled-back": "#b8322a",
    "silent": "#566074",
}
LABEL_COLOUR = "#384152"

HEIGHT, PADDING, SIZE = 20, 7, 11
# How wide a character of Verdana or DejaVu Sans is at that size; textLength makes it so where the font is another one.
THIN, NARROW, USUAL, BROAD, WIDE = 3.4, 4.2, 6.7, 8.2, 11.0
_THIN = frozenset("'`ijl|")
_NARROW = frozenset(" !(),-./:;I[\\]frt")
_BROAD = frozenset("ABCDGHKNOQRUVXYZ&wm")
_WIDE = frozenset("MW%@…→")

_label, _label_schema = printable(LABEL_LIMIT)
PARAMETERS = (
    Parameter(
        "label",
        "what the left half says; without it the environment",
        _label_schema,
        checked(_label),
        "live",
    ),
)
_CHECKS = {
    field.name: field.check for field in FIELDS if field.name in ("environment", "component")
}


@dataclass(frozen=True)
class Badge:
    """What a badge says, and the look of its right half."""

    label: str
    message: str
    look: str


def badge_of(label: str, running: Running | None, newest: Run | None, now: datetime) -> Badge:
    """Return what is to be said of a place that has `running`, and towards which `newest` was the last run."""
    there = running.version if running else ""
    if on_its_way := coming(running, newest, now):
        words = on_its_way.words[:1].lower() + on_its_way.words[1:]
        # Of the version that runs one need not say twice which it is.
        about = words if on_its_way.version == there else f"{on_its_way.version} {words}"
        return Badge(label, f"{there}, {about}" if there else about, on_its_way.look)
    if not there:
        return Badge(label, "nothing deployed", "silent")
    return Badge(label, there, "succeeded")


def draw(badge: Badge) -> str:
    """Return the badge as SVG: flat, two halves as wide as their texts, nothing that a browser would fetch or run."""
    whole = _clean(f"{badge.label}: {badge.message}")
    label, message = _shown(badge.label), _shown(badge.message)
    left, right = _width(label), _width(message)
    split = left + 2 * PADDING
    width = split + right + 2 * PADDING
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{HEIGHT}" role="img" aria-label={quoteattr(whole)}>'
        f"<title>{escape(whole)}</title>"
        f'<rect width="{width}" height="{HEIGHT}" rx="3" fill="{COLOURS[badge.look]}"/>'
        f'<path d="M3 0H{split}V{HEIGHT}H3a3 3 0 0 1-3-3V3a3 3 0 0 1 3-3z" fill="{LABEL_COLOUR}"/>'
        f'<g fill="#fff" font-family="Verdana,DejaVu Sans,Geneva,sans-serif" font-size="{SIZE}" aria-hidden="true">'
        f'<text x="{PADDING}" y="14" textLength="{left}" lengthAdjust="spacingAndGlyphs">{escape(label)}</text>'
        f'<text x="{split + PADDING}" y="14" textLength="{right}" lengthAdjust="spacingAndGlyphs">{escape(message)}</text>'
        "</g></svg>\n"
    )


def mount(
    app: Bottle,
    standing: Callable[[str, str], tuple[Running | None, Run | None]],
    now: Callable[[], datetime],
) -> None:
    """Add the badges to the app; `standing` is asked for each answer."""

    def show(environment: str, component: str) -> HTTPResponse:
        if _CHECKS["environment"](environment) or _CHECKS["component"](component):
            raise Problem(404, "not-found", "no environment or component can be called that")
        label = query().get("label", environment)
        try:
            running, newest = standing(environment, component)
        except (Unavailable, Busy) as error:
            log.warning("cannot show a badge", reason=str(error))
            away = draw(Badge(label, "unknown", "silent"))
            headers = {**HEADERS, "Cache-Control": "no-store", "Retry-After": str(RETRY_SECONDS)}
            return HTTPResponse(away, status=503, headers=headers)
        body = draw(badge_of(label, running, newest, now()))
        etag = f'"{hashlib.sha256(body.encode()).hexdigest()[:16]}"'
        headers = {**HEADERS, "Cache-Control": f"max-age={MAX_AGE_SECONDS}", "ETag": etag}
        if _is_known(etag, request.environ.get("HTTP_IF_NONE_MATCH", "")):
            return HTTPResponse(status=304, headers=headers)
        return HTTPResponse(body, headers=headers)

    app.route(RULE, "GET", show, parameters=PARAMETERS)


def _is_known(etag: str, if_none_match: str) -> bool:
    """Tell whether a cache between has this one; it may have made the name a weak one."""
    return etag in (name.strip().removeprefix("W/") for name in if_none_match.split(","))


def _clean(text: str) -> str:
    """Return text without what XML cannot hold or nobody can see, whoever put it into the table."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)


def _shown(text: str) -> str:
    clean = _clean(text)
    return clean if len(clean) <= SHOWN_LIMIT else f"{clean[: SHOWN_LIMIT - 1]}…"


def _width(text: str) -> int:
    return max(1, round(sum(map(_advance, text))))


def _advance(char: str) -> float:
    if char in _THIN:
        return THIN
    if char in _NARROW:
        return NARROW
    if char in _BROAD:
        return BROAD
    if char in _WIDE or unicodedata.east_asian_width(char) in "WF":
        return WIDE
    return 0.0 if unicodedata.combining(char) else USUAL
