"""A badge for a README: the version of a component in an environment, and its newest run."""

from __future__ import annotations

import hashlib
import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape, quoteattr

import structlog
from bottle import Bottle, HTTPResponse, request
from ledger.event_rules import FIELDS, PRINTABLE, check_text

from .answers import query
from .errors import Busy, Problem, Unavailable
from .listing import Parameter, text_parser
from .page import SECURITY_HEADERS
from .results import newer_run

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from .runs import Run, Running

__all__ = ["PARAMETERS", "Badge", "badge_of", "draw", "mount"]

log = structlog.stdlib.get_logger(__name__)

RULE = "/badges/<environment>/<component:path>.svg"
# Pages of other sites show it.
HEADERS = {
    "Content-Type": "image/svg+xml; charset=utf-8",
    **SECURITY_HEADERS,
    "Cross-Origin-Resource-Policy": "cross-origin",
}
MAX_AGE_SECONDS = 60
RETRY_SECONDS = 10
LABEL_LIMIT = 64
# Longer texts are shown cut, and whole for screen readers.
SHOWN_LIMIT = 48

# White text has enough contrast on each. The words say what the colours show.
COLOURS = {
    "succeeded": "#1b7a49",
    "started": "#8a5a00",
    "failed": "#b8322a",
    "rolled-back": "#b8322a",
    "silent": "#566074",
}
LABEL_COLOUR = "#384152"

HEIGHT, PADDING, SIZE = 20, 7, 11
# The widths of characters of Verdana and DejaVu Sans; textLength stretches other fonts.
THIN, NARROW, USUAL, BROAD, WIDE = 3.4, 4.2, 6.7, 8.2, 11.0
_THIN = frozenset("'`ijl|")
_NARROW = frozenset(" !(),-./:;I[\\]frt")
_BROAD = frozenset("ABCDGHKNOQRUVXYZ&wm")
_WIDE = frozenset("MW%@…→")

PARAMETERS = (Parameter("label", text_parser(check_text(LABEL_LIMIT, *PRINTABLE))),)


@dataclass(frozen=True)
class Badge:
    """The text of both halves, and the look of the right one."""

    label: str
    message: str
    look: str


def badge_of(label: str, running: Running | None, newest: Run | None, now: datetime) -> Badge:
    """Return the badge of a place, from what it runs and its newest run."""
    current = running.version if running else ""
    if newer := newer_run(running, newest, now):
        words = newer.words[:1].lower() + newer.words[1:]
        message = words if newer.version == current else f"{newer.version} {words}"
        return Badge(label, f"{current}, {message}" if current else message, newer.look)
    if not current:
        return Badge(label, "nothing deployed", "silent")
    return Badge(label, current, "succeeded")


def draw(badge: Badge) -> str:
    """Return the badge as SVG, without anything that a browser would load or run."""
    whole = _clean(f"{badge.label}: {badge.message}")
    label, message = _shown(badge.label), _shown(badge.message)
    left, right = _width(label), _width(message)
    split = left + 2 * PADDING
    width = split + right + 2 * PADDING
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{HEIGHT}" role="img"'
        f" aria-label={quoteattr(whole)}>"
        f"<title>{escape(whole)}</title>"
        f'<rect width="{width}" height="{HEIGHT}" rx="3" fill="{COLOURS[badge.look]}"/>'
        f'<path d="M3 0H{split}V{HEIGHT}H3a3 3 0 0 1-3-3V3a3 3 0 0 1 3-3z" fill="{LABEL_COLOUR}"/>'
        f'<g fill="#fff" font-family="Verdana,DejaVu Sans,Geneva,sans-serif" font-size="{SIZE}"'
        ' aria-hidden="true">'
        f"{_text(PADDING, left, label)}{_text(split + PADDING, right, message)}"
        "</g></svg>\n"
    )


def _text(x: int, width: int, text: str) -> str:
    length = f'textLength="{width}" lengthAdjust="spacingAndGlyphs"'
    return f'<text x="{x}" y="14" {length}>{escape(text)}</text>'


def mount(
    app: Bottle,
    status: Callable[[str, str], tuple[Running | None, Run | None]],
    now: Callable[[], datetime],
) -> None:
    """Add the badges to the app; `status` returns what a place runs, and its newest run."""

    def show(environment: str, component: str) -> HTTPResponse:
        if FIELDS["environment"](environment) or FIELDS["component"](component):
            raise Problem(404, "not-found", "no environment or component can be called that")
        label = query().get("label", environment)
        try:
            running, newest = status(environment, component)
        except (Unavailable, Busy) as error:
            log.warning("cannot show a badge", reason=str(error))
            body = draw(Badge(label, "unknown", "silent"))
            headers = {**HEADERS, "Cache-Control": "no-store", "Retry-After": str(RETRY_SECONDS)}
            return HTTPResponse(body, status=503, headers=headers)
        body = draw(badge_of(label, running, newest, now()))
        etag = f'"{hashlib.sha256(body.encode()).hexdigest()[:16]}"'
        headers = {**HEADERS, "Cache-Control": f"max-age={MAX_AGE_SECONDS}", "ETag": etag}
        if _is_known(etag, request.environ.get("HTTP_IF_NONE_MATCH", "")):
            return HTTPResponse(status=304, headers=headers)
        return HTTPResponse(body, headers=headers)

    app.route(RULE, "GET", show, parameters=PARAMETERS)


def _is_known(etag: str, if_none_match: str) -> bool:
    """Return whether a cache has this ETag, which it may have made a weak one."""
    return etag in (known.strip().removeprefix("W/") for known in if_none_match.split(","))


def _clean(text: str) -> str:
    """Replace characters that are invisible or not allowed in XML."""
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
