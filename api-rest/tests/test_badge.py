import re
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any
from urllib.parse import quote
from xml.etree import ElementTree as ET

import pytest
from api_rest.answers import AnswerPlugin, QueryPlugin
from api_rest.badge import COLOURS, LABEL_COLOUR, SHOWN_LIMIT, Badge, badge_of, draw, mount
from api_rest.errors import Busy, Unavailable
from api_rest.metrics import Metrics
from api_rest.runs import Run, Running, StageTime
from bottle import Bottle
from ledger.tracing import Tracing
from webtest import TestApp, TestResponse

NOW = datetime(2026, 1, 10, 12)  # noqa: DTZ001  the column holds UTC without a zone
SVG = "{http://www.w3.org/2000/svg}"
THERE = Running("production", "api-rest", "1.2.3", NOW - timedelta(hours=3), "Zoë", None)


def run(stage: str, status: str, version: str = "1.2.4", **ago: float) -> Run:
    at = NOW - timedelta(**(ago or {"minutes": 1}))
    return Run(
        "api-rest", version, "production", "Ana", at, at, (StageTime(stage, status, at, None),)
    )


class Service:
    """The badges over what a test wants them to show."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []
        self.running: Running | None = THERE
        self.newest: Run | None = None
        self.error: Exception | None = None
        app = Bottle()
        app.install(AnswerPlugin(Metrics("1"), Tracing()))
        app.install(QueryPlugin())
        mount(app, self._status, lambda: NOW)
        self.http = TestApp(app)

    def _status(self, environment: str, component: str) -> tuple[Running | None, Run | None]:
        self.asked.append((environment, component))
        if self.error:
            raise self.error
        return self.running, self.newest

    def get(self, path: str = "/badges/production/api-rest.svg", **options: Any) -> TestResponse:
        return self.http.get(path, **options)


@pytest.fixture
def service() -> Service:
    return Service()


def texts(svg: str) -> list[str]:
    root = ET.fromstring(svg)  # noqa: S314  our own
    return [text.text or "" for text in root.iter(f"{SVG}text")]


@pytest.mark.parametrize(
    ("running", "newest", "message", "look"),
    [
        (None, None, "nothing deployed", "silent"),
        (THERE, None, "1.2.3", "succeeded"),
        (THERE, run("deploy", "succeeded", "1.2.3"), "1.2.3", "succeeded"),
        (THERE, run("deploy", "failed", hours=4), "1.2.3", "succeeded"),
        (THERE, run("deploy", "started"), "1.2.3, 1.2.4 deploying", "started"),
        (THERE, run("plan", "started"), "1.2.3, 1.2.4 planning", "started"),
        (THERE, run("test", "failed"), "1.2.3, 1.2.4 failed in test", "failed"),
        (THERE, run("deploy", "rolled-back"), "1.2.3, 1.2.4 rolled back", "rolled-back"),
        (None, run("deploy", "removed"), "nothing deployed", "silent"),
        (THERE, run("verify", "failed", "1.2.3"), "1.2.3, failed in verify", "failed"),
        (THERE, run("deploy", "started", hours=25), "1.2.3", "succeeded"),
        (
            replace(THERE, since=NOW - timedelta(days=9)),
            run("push", "started", days=2),
            "1.2.3, 1.2.4 no end recorded",
            "silent",
        ),
        (None, run("deploy", "started"), "1.2.4 deploying", "started"),
        (None, run("deploy", "failed"), "1.2.4 failed in deploy", "failed"),
        (None, run("push", "succeeded"), "nothing deployed", "silent"),
    ],
)
def test_a_badge_shows_the_running_version_and_a_newer_run(
    running: Running | None, newest: Run | None, message: str, look: str
) -> None:
    assert badge_of("live", running, newest, NOW) == Badge("live", message, look)


def test_a_badge_has_two_halves_and_a_label_for_screen_readers() -> None:
    svg = ET.fromstring(draw(Badge("production", "1.2.3", "succeeded")))  # noqa: S314  our own
    assert (svg.tag, svg.get("role"), svg.get("aria-label")) == (
        f"{SVG}svg",
        "img",
        "production: 1.2.3",
    )
    assert svg.findtext(f"{SVG}title") == "production: 1.2.3"
    assert texts(draw(Badge("production", "1.2.3", "succeeded"))) == ["production", "1.2.3"]
    colours = [found.get("fill") for found in svg if found.tag in {f"{SVG}rect", f"{SVG}path"}]
    assert colours == [COLOURS["succeeded"], LABEL_COLOUR]


@pytest.mark.parametrize("look", COLOURS)
def test_every_look_has_its_colour(look: str) -> None:
    assert f'fill="{COLOURS[look]}"' in draw(Badge("a", "b", look))


@pytest.mark.parametrize("colour", [*COLOURS.values(), LABEL_COLOUR])
def test_white_text_has_enough_contrast(colour: str) -> None:
    parts = [int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    red, green, blue = (
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    )
    assert 1.05 / (0.2126 * red + 0.7152 * green + 0.0722 * blue + 0.05) >= 4.5


def geometry(label: str, message: str) -> tuple[float, list[tuple[float, float]]]:
    svg = ET.fromstring(draw(Badge(label, message, "succeeded")))  # noqa: S314  our own
    placed = [
        (float(text.get("x", "")), float(text.get("textLength", "")))
        for text in svg.iter(f"{SVG}text")
    ]
    return float(svg.get("width", "")), placed


def test_the_halves_are_as_wide_as_their_texts() -> None:
    width, ((x, left), (y, right)) = geometry("prod", "1.2.3")
    assert (x, y, width) == (7, 7 + left + 7 + 7, 7 + left + 14 + right + 7)
    assert geometry("prod", "WWWWW")[1][1][1] > geometry("prod", "AAAAA")[1][1][1] > right
    assert geometry("prod", "漢漢漢漢漢")[1][1][1] > geometry("prod", "aaaaa")[1][1][1]
    assert geometry("prod", "e\u0301")[1] == geometry("prod", "e")[1]
    assert geometry("prod", "\u0301")[1][1][1] == 1


def test_a_long_text_is_cut_but_whole_for_screen_readers() -> None:
    svg = draw(Badge("production", "v" * 1000, "succeeded"))
    assert texts(svg) == ["production", "v" * (SHOWN_LIMIT - 1) + "…"]
    assert f'aria-label="production: {"v" * 1000}"' in svg
    assert texts(draw(Badge("p", "v" * SHOWN_LIMIT, "succeeded")))[1] == "v" * SHOWN_LIMIT


@pytest.mark.parametrize(
    "hostile",
    [
        "</text><script>alert(1)</script>",
        "\"' onload='alert(1)' x=\"",
        "&lt;&amp;]]>",
        "<![CDATA[",
        "a\N{RIGHT-TO-LEFT OVERRIDE}b",
    ],
)
@pytest.mark.parametrize("half", ["label", "message"])
def test_markup_in_a_text_is_text(hostile: str, half: str) -> None:
    svg = draw(replace(Badge("label", "message", "failed"), **{half: hostile}))
    root = ET.fromstring(svg)  # noqa: S314  our own
    assert {found.tag.removeprefix(SVG) for found in root.iter()} == {
        "svg",
        "title",
        "rect",
        "path",
        "g",
        "text",
    }
    shown = hostile.replace("\N{RIGHT-TO-LEFT OVERRIDE}", "\N{REPLACEMENT CHARACTER}")
    assert shown in texts(svg)
    assert shown in str(root.get("aria-label"))
    assert set(root.attrib) == {"width", "height", "role", "aria-label"}


def test_characters_that_xml_forbids_are_replaced() -> None:
    assert texts(draw(Badge("a\x00b\ud800", "c\x1b\nd", "failed"))) == [
        "a\ufffdb\ufffd",
        "c\ufffd\ufffdd",
    ]


# ---- how it is served


def test_the_path_names_environment_and_component(service: Service) -> None:
    assert texts(service.get("/badges/production/team/api.svg.svg").text) == ["production", "1.2.3"]
    assert service.asked == [("production", "team/api.svg")]


def test_a_label_replaces_the_environment(service: Service) -> None:
    response = service.get(f"/badges/production/api-rest.svg?label={quote('api <live> Zoë')}")
    assert texts(response.text)[0] == "api <live> Zoë"


@pytest.mark.parametrize(
    "query",
    ["label=", "label=" + "x" * 65, "label=%00", "label=a&label=b", "lable=a", "label=%ff", "x"],
)
def test_a_wrong_query_is_422(service: Service, query: str) -> None:
    response = service.get(f"/badges/production/api-rest.svg?{query}", status=422)
    assert response.json["error"]["code"] == "invalid-query"
    assert service.asked == []


@pytest.mark.parametrize("name", ["<script>", "x" * 129, "x" * 1000, "a b", "é", ".hidden", "\x00"])
@pytest.mark.parametrize("place", ["{}/api-rest", "production/{}"])
def test_an_invalid_name_is_404(service: Service, name: str, place: str) -> None:
    response = service.get(f"/badges/{place.format(quote(name))}.svg", status=404)
    assert response.content_type == "application/json"
    assert service.asked == []


@pytest.mark.parametrize(
    "path",
    [
        "/badges/production/api-rest",
        "/badges/api-rest.svg",
        "/badges/production/.svg",
        "/badges/a/%FF.svg",
    ],
)
def test_other_paths_are_404(service: Service, path: str) -> None:
    service.get(path, status=404)


def test_a_place_without_a_deployment_has_a_badge(service: Service) -> None:
    service.running = None
    assert texts(service.get(status=200).text) == ["production", "nothing deployed"]


def test_it_is_cached_for_a_minute_and_open_to_other_sites(
    service: Service,
) -> None:
    headers = service.get().headers
    assert headers["Content-Type"] == "image/svg+xml; charset=utf-8"
    assert headers["Cache-Control"] == "max-age=60"
    assert headers["Cross-Origin-Resource-Policy"] == "cross-origin"
    assert headers["Content-Security-Policy"].startswith("default-src 'none';")
    assert headers["X-Content-Type-Options"] == "nosniff"
    svg = service.get().text
    assert not re.search(r"<style|<script|href=|\son[a-z]+=|url\(", svg)


@pytest.mark.parametrize("form", ["{}", "W/{}", '"other", {}', '"other" , W/{}'])
def test_an_unchanged_badge_is_304(service: Service, form: str) -> None:
    etag = service.get().headers["ETag"]
    known = {"If-None-Match": form.format(etag)}
    response = service.get(headers=known, status=304)
    assert (response.body, response.headers["ETag"]) == (b"", etag)
    assert response.headers["Cache-Control"] == "max-age=60"
    service.newest = run("deploy", "started")
    assert service.get(headers=known, status=200).headers["ETag"] != etag


@pytest.mark.parametrize("other", ["", '"other"', "W/"])
def test_another_etag_gets_the_whole_badge(service: Service, other: str) -> None:
    service.get(headers={"If-None-Match": other}, status=200)


@pytest.mark.parametrize("error", [Unavailable, partial(Busy, "busy")])
def test_without_the_database_it_says_unknown_and_is_not_cached(
    service: Service, error: Callable[[str], Exception]
) -> None:
    service.error = error("database-0.internal refuses ledger")
    response = service.get("/badges/production/api-rest.svg?label=live", status=503)
    assert texts(response.text) == ["live", "unknown"]
    assert response.headers["Content-Type"] == "image/svg+xml; charset=utf-8"
    assert response.headers["Cache-Control"] == "no-store"
    assert int(response.headers["Retry-After"]) > 0
    assert "ETag" not in response.headers
    assert "internal" not in response.text


def test_head_has_the_headers_alone(service: Service) -> None:
    response = service.http.head("/badges/production/api-rest.svg")
    assert response.body == b""
    assert response.headers["ETag"] == service.get().headers["ETag"]
    assert int(response.headers["Content-Length"]) == len(service.get().body)
