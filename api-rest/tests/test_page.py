import re
from dataclasses import replace
from datetime import datetime, timedelta
from html.parser import HTMLParser
from importlib import resources
from typing import Any

import pytest
from api_rest.answers import AnswerPlugin, QueryPlugin
from api_rest.drift import Drift
from api_rest.drift_reports import Report
from api_rest.errors import Busy, Unavailable
from api_rest.freezes import Freeze
from api_rest.lag import Lag
from api_rest.metrics import Metrics
from api_rest.page import (
    STAGE_COLUMNS,
    Overview,
    age,
    duration,
    in_pipeline_order,
    mount,
    view,
)
from api_rest.runs import Run, Running, StageTime, runs
from bottle import Bottle
from ledger.event_rules import STAGES
from ledger.tracing import Tracing
from webtest import TestApp

NOW = datetime(2026, 1, 10, 12)  # noqa: DTZ001  the column holds UTC without a zone
HOSTILE = "</td><script>alert(1)</script>\"' onload=alert(1) x='&amp;{{7*7}}"
NONE = "\N{EN DASH}"
NOT_DEPLOYED = f"{NONE}not deployed"
VOID = {"meta", "link", "path", "rect", "use"}


def ago(**span: float) -> datetime:
    return NOW - timedelta(**span)


def event(at: datetime, stage: str, status: str, **changes: str) -> dict[str, Any]:
    return {
        "id": "1",
        "component": "api-rest",
        "version": "1.2.3",
        "environment": "staging",
        "responsible": "Zoë",
        "at": at,
        "stage": stage,
        "status": status,
        **changes,
    }


def stage(name: str, status: str, seconds: float = 60) -> StageTime:
    return StageTime(name, status, ago(seconds=seconds), None if status == "started" else NOW)


def running(
    environment: str = "staging", component: str = "api-rest", version: str = "1.2.3", **span: float
) -> Running:
    return Running(environment, component, version, ago(**(span or {"hours": 3})), "Zoë", None)


def run(*stages: StageTime, **changes: Any) -> Run:
    one = Run("api-rest", "1.2.4", "staging", "Ana", ago(minutes=5), ago(minutes=1), stages)
    return replace(one, **changes)


class Service:
    """The page over what a test wants it to show."""

    def __init__(self) -> None:
        self.overview = Overview([], [], NOW)
        self.error: Exception | None = None
        app = Bottle()
        app.install(AnswerPlugin(Metrics("1"), Tracing()))
        app.install(QueryPlugin())
        mount(app, self._overview)
        self.http = TestApp(app)

    def _overview(self) -> Overview:
        if self.error:
            raise self.error
        return self.overview

    def shows(self, running: list[Running], recent: list[Run]) -> "Page":
        self.overview = Overview(running, recent, NOW)
        return Page(self.http.get("/").text)


class Page(HTMLParser):
    """The elements of a page, each with its attributes and the text inside it."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.html = html
        self.elements: list[tuple[str, dict[str, str], list[str]]] = []
        self._open: list[tuple[str, dict[str, str], list[str]]] = []
        self.feed(html)
        assert [tag for tag, _, _ in self._open] == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element: tuple[str, dict[str, str], list[str]] = (
            tag,
            {name: value or "" for name, value in attrs},
            [],
        )
        self.elements.append(element)
        if tag not in VOID:
            self._open.append(element)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}, []))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop()[0] == tag

    def handle_data(self, data: str) -> None:
        for _, _, texts in self._open:
            texts.append(data)

    def texts(self, tag: str, **attributes: str) -> list[str]:
        return [
            " ".join("".join(texts).split())
            for name, attrs, texts in self.elements
            if name == tag
            and all(
                value in attrs.get(key.rstrip("_"), "").split() for key, value in attributes.items()
            )
        ]

    def values(self, tag: str, attribute: str) -> list[str]:
        return [
            attrs[attribute]
            for name, attrs, _ in self.elements
            if name == tag and attribute in attrs
        ]


@pytest.fixture
def service() -> Service:
    return Service()


# ---- what it shows


def test_a_cell_has_version_age_and_actor(service: Service) -> None:
    page = service.shows([running()], [])
    assert page.texts("td") == ["1.2.3 3 h agoZoë"]
    assert page.texts("th", scope="row") == ["api-rest"]
    assert page.values("time", "datetime") == ["2026-01-10T09:00:00.000Z"]
    assert page.values("main", "data-now") == ["1768046400000"]


def test_components_are_rows_and_environments_are_columns(
    service: Service,
) -> None:
    where = [("production", "b"), ("qa", "B"), ("develop", "a"), ("staging", "a")]
    page = service.shows([running(*place) for place in where], [])
    assert page.texts("th", scope="col") == ["Component", "develop", "staging", "production", "qa"]
    assert page.texts("th", scope="row") == ["a", "B", "b"]
    full = [cell != NOT_DEPLOYED for cell in page.texts("td")]
    assert full == [True, True, False, False, False, False, False, True, False, False, True, False]


def test_previews_are_apart_from_environments(service: Service) -> None:
    where = ["production", "preview-feature-search-1a2b3c", "preview"]
    page = service.shows([running(place, "api-rest") for place in where], [])
    columns = page.texts("th", scope="col")
    assert columns == ["Component", "production", "preview", "Component", where[1]]
    assert page.texts("h2") == ["What runs where", "Previews", "Recent deployments"]
    assert page.values("table", "class") == ["matrix", "matrix"]
    alone = service.shows([running(where[0], "api-rest")], [])
    assert "Previews" not in alone.texts("h2")


def test_unknown_environments_come_last_by_name() -> None:
    given = ["qa", "Prod", "production", "Alpha", "staging", "dev", "beta"]
    assert in_pipeline_order(given) == [
        "dev",
        "staging",
        "Prod",
        "production",
        "Alpha",
        "beta",
        "qa",
    ]


@pytest.mark.parametrize(
    ("stages", "words"),
    [
        ((stage("build", "succeeded"), stage("deploy", "started")), "Deploying 1.2.4"),
        ((stage("test", "failed"),), "Failed in test 1.2.4"),
        ((stage("deploy", "succeeded"), stage("verify", "rolled-back")), "Rolled back 1.2.4"),
    ],
)
def test_a_cell_shows_a_newer_run_that_is_not_deployed(
    service: Service, stages: tuple[StageTime, ...], words: str
) -> None:
    page = service.shows([running()], [run(*stages)])
    assert words in page.texts("td")[0]


@pytest.mark.parametrize(
    "recent",
    [
        run(stage("deploy", "succeeded")),
        run(stage("deploy", "failed"), updated_at=ago(hours=4)),
        run(stage("deploy", "failed"), environment="production"),
        run(stage("deploy", "failed"), component="other"),
    ],
    ids=["arrived", "older than what runs", "elsewhere", "of another component"],
)
def test_a_cell_shows_no_other_run(service: Service, recent: Run) -> None:
    assert service.shows([running()], [recent]).texts("td")[0] == "1.2.3 3 h agoZoë"


def test_the_actor_stands_beside_the_responsible(service: Service) -> None:
    known: Any = {"actor": "jenkins"}
    shown = run(stage("build", "succeeded"), **known)
    page = service.shows([replace(running(), **known), running("production")], [shown])
    assert page.texts("span", class_="who") == ["Zoë via jenkins", "Zoë", "Ana via jenkins"]
    assert [title for title in page.values("span", "title") if "Ana" in title] == [
        "Ana via jenkins"
    ]


def test_a_cell_shows_only_the_newest_run(service: Service) -> None:
    older = run(stage("test", "failed"), started_at=ago(minutes=50))
    page = service.shows([running()], [run(stage("deploy", "succeeded")), older])
    assert page.texts("td")[0] == "1.2.3 3 h agoZoë"


@pytest.mark.parametrize(
    ("stages", "look", "words"),
    [
        ((stage("deploy", "succeeded"),), "succeeded", "Succeeded"),
        ((stage("build", "succeeded"), stage("test", "started")), "started", "Testing"),
        ((stage("build", "failed"), stage("verify", "succeeded")), "failed", "Failed in build"),
        ((stage("deploy", "rolled-back"),), "rolled-back", "Rolled back"),
        ((stage("deploy", "removed"),), "removed", "Removed"),
    ],
)
def test_a_result_has_a_look_an_icon_and_words(
    service: Service, stages: tuple[StageTime, ...], look: str, words: str
) -> None:
    page = service.shows([], [run(*stages)])
    assert page.texts("span", class_="pill") == [words]
    assert page.texts("span", class_=look) == [words]
    assert f"#{look}" in page.values("use", "href")


def test_a_run_without_an_event_for_a_day_is_silent(service: Service) -> None:
    page = service.shows(
        [], [run(stage("push", "started"), started_at=ago(days=3), updated_at=ago(days=2))]
    )
    assert page.texts("span", class_="pill") == ["No end recorded"]
    assert page.texts("td", class_="stage") == ["no end recorded"]
    assert page.values("time", "data-elapsed") == []


def test_an_open_stage_of_a_failed_run_is_silent(service: Service) -> None:
    page = service.shows([], [run(stage("deploy", "started", 500), stage("verify", "failed"))])
    assert page.texts("td", class_="stage")[0] == "no end recorded"
    assert page.values("time", "data-elapsed") == []


def test_every_stage_has_its_status_and_duration(service: Service) -> None:
    (shown,) = runs(
        [
            event(ago(seconds=200), "build", "started"),
            event(ago(seconds=125), "build", "succeeded"),
            event(ago(seconds=124), "test", "succeeded"),
            event(ago(seconds=30), "deploy", "started"),
        ]
    )
    page = service.shows([], [shown])
    assert page.texts("td", class_="stage") == ["succeeded", "succeeded1 min 15 s", "under way30 s"]
    assert page.texts("td", class_="total") == [NONE]


def test_a_stage_shows_how_many_vulnerabilities_were_found(service: Service) -> None:
    scanned = replace(stage("scan", "succeeded"), found="2 high, 1 low")
    page = service.shows([], [run(scanned, stage("deploy", "succeeded"))])
    assert page.texts("span", class_="found") == ["2 high, 1 low"]


def test_reported_stages_are_columns_in_order(
    service: Service,
) -> None:
    page = service.shows(
        [],
        [
            run(stage("record", "succeeded"), stage("scan", "failed")),
            run(stage("prepare", "started")),
        ],
    )
    assert page.texts("th", class_="stage") == ["prepare", "scan", "record"]
    none = f"{NONE}not recorded"
    assert page.texts("td", class_="stage") == [
        none,
        "failed1 min",
        "succeeded1 min",
        "under way1 min",
        none,
        none,
    ]


def test_a_removed_component_is_a_recent_run_and_no_row(service: Service) -> None:
    removed = run(stage("deploy", "removed"), component="old")
    page = service.shows([running()], [removed])
    assert page.texts("th", scope="row") == ["api-rest", "old 1.2.4"]
    assert page.texts("span", class_="pill") == ["Removed"]


def test_other_stages_are_the_last_columns_up_to_a_limit(service: Service) -> None:
    many = [stage(f"s{number:02}", "succeeded") for number in range(STAGE_COLUMNS)]
    page = service.shows([], [run(stage("deploy", "succeeded"), *many)])
    shown = page.texts("th", class_="stage")
    assert (shown[:2], len(shown)) == (["deploy", "s00"], STAGE_COLUMNS)


def test_the_empty_page_names_every_stage(service: Service) -> None:
    assert "prepare, test, plan, build, scan, push, deploy, verify and record" in " ".join(
        service.shows([], []).texts("p")
    )


def test_a_bar_is_relative_to_the_longest_of_its_column(service: Service) -> None:
    page = service.shows(
        [],
        [
            run(stage("build", "succeeded", 100), stage("scan", "failed", 10)),
            run(stage("build", "succeeded", 25), stage("scan", "succeeded", 0), version="2"),
        ],
    )
    widths = [
        attrs["width"]
        for tag, attrs, _ in page.elements
        if tag == "rect" and attrs.get("class") == "fill"
    ]
    assert widths == ["100.0%", "100.0%", "25.0%", "0.0%"]


def test_a_column_without_durations_has_empty_bars(service: Service) -> None:
    page = service.shows([], [run(stage("build", "succeeded", 0))])
    assert [
        a["width"] for t, a, _ in page.elements if t == "rect" and a.get("class") == "fill"
    ] == ["0%"]


def test_the_headings_count_components_and_results(service: Service) -> None:
    recent = [
        run(stage("test", "failed")),
        run(stage("build", "started"), version="2"),
        run(stage("verify", "succeeded")),
    ]
    text = service.shows([running()], recent).html
    assert "1 component in 1 environment<" in text
    assert "1 under way, 1 failed<" in text
    assert "all succeeded<" in service.shows([], recent[2:]).html


def test_an_empty_page_has_an_example_command(service: Service) -> None:
    page = service.shows([], [])
    assert "Nothing is recorded yet" in page.texts("h2")
    (command,) = page.texts("pre")
    assert command.startswith("curl --json '{")
    assert command.endswith("http://localhost:80/deployments")
    assert page.texts("table") == []


def test_the_example_is_a_valid_event(service: Service) -> None:
    from api_rest.event import parse_json  # noqa: PLC0415
    from ledger.event_rules import validate  # noqa: PLC0415

    (command,) = service.shows([], []).texts("pre")
    assert validate(parse_json(command.split("'")[1].encode())) == {}


@pytest.mark.parametrize("host", ["evil.test/$(reboot)", "'; reboot '", "<b>", ""])
def test_an_unsafe_host_is_not_in_the_example(service: Service, host: str) -> None:
    text = service.http.get("/", headers={"Host": host}).text
    assert "reboot" not in text
    assert "<b>" not in text


def test_runs_are_shown_without_a_running_version(service: Service) -> None:
    page = service.shows([], [run(stage("build", "failed"))])
    assert "No deployment has succeeded yet." in page.texts("p")
    assert page.texts("th", scope="row") == ["api-rest 1.2.4"]


def test_the_page_links_to_csv_and_openapi(service: Service) -> None:
    links = service.shows([], []).values("a", "href")
    assert {"deployments.csv", "openapi.json"} <= set(links)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5, "just now"),
        (4.9, "just now"),
        (5, "5 s ago"),
        (59.9, "59 s ago"),
        (60, "1 min ago"),
        (3599, "59 min ago"),
        (3600, "1 h ago"),
        (86_400, "1 d ago"),
        (59 * 86_400, "59 d ago"),
        (60 * 86_400, "2 mo ago"),
        (730 * 86_400, "2 y ago"),
    ],
)
def test_ages_as_text(seconds: float, text: str) -> None:
    assert age(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (0.04, "0 s"),
        (0.84, "0.8 s"),
        (9.94, "9.9 s"),
        (9.96, "10 s"),
        (59.4, "59 s"),
        (59.6, "1 min"),
        (80, "1 min 20 s"),
        (3600, "1 h"),
        (3900, "1 h 5 min"),
        (3659, "1 h"),
        (93_600, "1 d 2 h"),
    ],
)
def test_durations_as_text(seconds: float, text: str) -> None:
    assert duration(seconds) == text


# ---- hostile text


@pytest.mark.parametrize("field", ["component", "version", "environment", "responsible", "actor"])
def test_markup_in_a_field_is_text(service: Service, field: str) -> None:
    hostile: Any = {field: HOSTILE}
    shown = run(stage("build", "failed"), **hostile)
    page = service.shows(
        [replace(running(), **hostile)], [shown, run(stage("test", "started"), **hostile)]
    )
    harmless = service.shows(
        [running()], [run(stage("build", "failed")), run(stage("test", "started"))]
    )
    tags = [tag for tag, _, _ in page.elements]
    assert tags.count("script") == 1
    assert set(tags) == {tag for tag, _, _ in harmless.elements}
    assert not [attrs for _, attrs, _ in page.elements if "onload" in attrs]
    assert any(HOSTILE in "".join(texts) for _, _, texts in page.elements)


def test_the_user_that_a_proxy_names_is_shown_and_shared_with_nobody(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "Signed in" not in service.http.get("/")
    for name in (HOSTILE, "Zoë"):
        monkeypatch.setattr("api_rest.page.user", lambda name=name: name)
        page = Page(service.http.get("/").text)
        assert page.texts("p", class_="muted")[-1] == f"Signed in as {name}"
        assert page.texts("script") == [""]


def test_the_template_never_writes_unescaped() -> None:
    template = resources.files("api_rest").joinpath("assets", "page.html").read_text("utf-8")
    assert "{{!" not in template
    assert not re.search(r"\sstyle=|\son[a-z]+=|<style|javascript:", template)


# ---- how it is served


@pytest.fixture(
    params=["/", "/assets/page.css", "/assets/page.js", "/assets/favicon.svg", "away", "304"]
)
def answer(request: pytest.FixtureRequest, service: Service) -> Any:
    if request.param == "away":
        service.error = Unavailable("refused")
        return service.http.get("/", status=503)
    if request.param == "304":
        return service.http.get(
            "/", headers={"If-None-Match": service.http.get("/").headers["ETag"]}, status=304
        )
    return service.http.get(request.param)


def test_every_answer_has_the_security_headers(answer: Any) -> None:
    policy = dict(
        part.split(" ", 1) for part in answer.headers["Content-Security-Policy"].split("; ")
    )
    assert policy == {
        "default-src": "'none'",
        "style-src": "'self'",
        "script-src": "'self'",
        "img-src": "'self'",
        "connect-src": "'self'",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
    }
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Referrer-Policy"] == "no-referrer"
    assert answer.headers["Cross-Origin-Opener-Policy"] == "same-origin"
    assert answer.headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert "geolocation=()" in answer.headers["Permissions-Policy"]


@pytest.mark.parametrize(
    ("late", "words"),
    [
        (
            Lag(2890, 725),
            "2890 accepted events are not shown here yet; the oldest has waited for 12 min 5 s.",
        ),
        (Lag(1, 16), "1 accepted event is not shown here yet; the oldest has waited for 16 s."),
    ],
)
def test_it_shows_the_storage_lag(service: Service, late: Lag, words: str) -> None:
    page = service.shows([running()], [])
    assert page.texts("div", role="status") == []
    before = {"If-None-Match": service.http.get("/").headers["ETag"]}
    service.overview = replace(service.overview, late=late)
    answer = service.http.get("/", headers=before, status=200)
    (banner,) = Page(answer.text).texts("div", role="status")
    assert banner.startswith(f"The ledger is behind {words} They are not lost")
    later = {"If-None-Match": answer.headers["ETag"]}
    service.http.get("/", headers=later, status=304)
    service.overview = replace(service.overview, late=None)
    service.http.get("/", headers=later, status=200)


def test_it_shows_a_freeze_with_its_end_and_its_reason(service: Service) -> None:
    service.shows([running()], [])
    before = {"If-None-Match": service.http.get("/").headers["ETag"]}
    freeze = Freeze("1", "production", NOW + timedelta(1), HOSTILE, "Zoë", "ops", NOW)
    service.overview = replace(service.overview, freezes=[freeze])
    page = Page(service.http.get("/", headers=before, status=200).text)
    (banner,) = page.texts("div", role="status")
    until = "Until 2026-01-11 12:00:00 UTC, by Zoë via ops"
    assert banner.startswith(f"production is frozen {until}: {HOSTILE} Nothing is deployed")


def test_it_shows_drift_beside_the_version_and_with_its_fields(service: Service) -> None:
    found = Drift("api-rest", "Deployment/api", HOSTILE, "changed", "2", "5", "kubectl", "then")
    other = replace(found, component="kafka", field="spec.b", deployed="", live="", manager="")
    report = Report("staging", NOW, (found, other))
    service.overview = Overview([running(), running("production")], [], NOW, drift=[report])
    page = Page(service.http.get("/").text)
    (banner,) = page.texts("div", role="status")
    line = f"Deployment/api {HOSTILE} changed: 2 → 5, by kubectl, then"
    assert banner.startswith(f"staging differs from what was deployed {line}")
    assert "Deployment/api spec.b changed 2 in all at 2026-01-10 12:00:00 UTC." in banner
    assert page.texts("b") == ["drifted"]
    service.overview = replace(service.overview, drift=[replace(report, found=())])
    assert Page(service.http.get("/").text).texts("div", role="status") == []


def test_the_page_is_html_and_not_cached(service: Service) -> None:
    response = service.http.get("/")
    assert response.headers["Content-Type"] == "text/html; charset=utf-8"
    assert response.headers["Cache-Control"] == "no-store"
    assert response.text.startswith("<!doctype html>")


def test_an_unchanged_page_is_304(service: Service) -> None:
    service.shows([running()], [])
    known = {"If-None-Match": service.http.get("/").headers["ETag"]}
    service.overview = replace(service.overview, now=NOW + timedelta(minutes=1))
    assert service.http.get("/", headers=known, status=304).body == b""
    service.overview = replace(service.overview, running=[running(version="1.2.4")])
    service.http.get("/", headers=known, status=200)
    service.overview = Overview([running()], [run(stage("build", "failed"))], NOW)
    service.http.get("/", headers=known, status=200)


def test_the_page_contains_its_etag(service: Service) -> None:
    response = service.http.get("/")
    assert Page(response.text).values("main", "data-etag") == [response.headers["ETag"]]


def test_a_run_under_way_changes_the_etag_with_time(service: Service) -> None:
    service.shows([], [run(stage("build", "started"))])
    known = {"If-None-Match": service.http.get("/").headers["ETag"]}
    service.overview = replace(service.overview, now=NOW + timedelta(seconds=30))
    service.http.get("/", headers=known, status=200)


@pytest.mark.parametrize("path", ["/", "/assets/page.css"])
def test_head_has_the_headers_alone(service: Service, path: str) -> None:
    response = service.http.head(path)
    assert response.body == b""
    assert response.headers["Content-Type"] == service.http.get(path).headers["Content-Type"]
    assert int(response.headers["Content-Length"]) > 0


def test_assets_of_the_same_build_are_cached(service: Service) -> None:
    page = service.shows([], [])
    addresses = page.values("link", "href") + page.values("script", "src")
    assert len(addresses) == 3
    for address in addresses:
        assert "immutable" in service.http.get(f"/{address}").headers["Cache-Control"]


@pytest.mark.parametrize("query", ["", "?v=", "?v=other"])
def test_assets_of_another_build_are_not_cached(service: Service, query: str) -> None:
    assert service.http.get(f"/assets/page.js{query}").headers["Cache-Control"] == "no-cache"


@pytest.mark.parametrize(
    ("name", "media_type"),
    [("page.css", "text/css"), ("page.js", "text/javascript"), ("favicon.svg", "image/svg+xml")],
)
def test_assets_have_their_media_types(service: Service, name: str, media_type: str) -> None:
    assert service.http.get(f"/assets/{name}").content_type == media_type


@pytest.mark.parametrize("name", ["page.html", "nothing.js", "..%2Fpage.py", "%2e%2e"])
def test_nothing_else_is_an_asset(service: Service, name: str) -> None:
    service.http.get(f"/assets/{name}", status=404)


def test_without_the_database_the_page_says_so_and_retries(service: Service) -> None:
    service.error = Unavailable("database-0.internal refuses ledger")
    response = service.http.get("/", status=503)
    assert response.content_type == "text/html"
    assert int(response.headers["Retry-After"]) > 0
    assert response.headers["Cache-Control"] == "no-store"
    page = Page(response.text)
    assert "The ledger cannot be read just now" in page.texts("h2")
    assert "internal" not in response.text
    assert page.values("main", "data-etag") == []
    assert int(page.values("meta", "http-equiv").count("refresh")) == 1


def test_the_same_page_is_rendered_once_for_each_address(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    rendered: list[str] = []

    def counted(overview: Overview, origin: str) -> dict[str, Any]:
        rendered.append(origin)
        return view(overview, origin)

    monkeypatch.setattr("api_rest.page.view", counted)
    for host in ("a", "a", "b", "b"):
        assert f"http://{host}/deployments" in service.http.get("/", headers={"Host": host}).text
    assert rendered == ["http://a", "http://b"]


def test_a_busy_database_has_its_own_message(service: Service) -> None:
    service.error = Busy("busy", "no connection was free")
    response = service.http.get("/", status=503)
    assert int(response.headers["Retry-After"]) > 0
    assert "The database behind it has too much to do." in response.text


def test_a_bug_is_500(service: Service) -> None:
    service.error = KeyError("a bug")
    assert "a bug" not in service.http.get("/", status=500).text


# ---- for everybody


def test_the_page_is_marked_up_for_assistive_technology(service: Service) -> None:
    page = service.shows([running()], [run(*(stage(name, "succeeded") for name in STAGES))])
    tags = [tag for tag, _, _ in page.elements]
    assert page.values("html", "lang") == ["en"]
    assert page.texts("title") == ["Deployment ledger"]
    assert [tags.count(tag) for tag in ("header", "main", "footer", "nav", "h1")] == [1, 1, 1, 1, 1]
    assert page.texts("caption") == [
        "The version of each component in each environment",
        "The newest deployments and how long each of their stages took",
    ]
    assert all("scope" in attrs for tag, attrs, _ in page.elements if tag == "th")
    assert {attrs["href"] for tag, attrs, _ in page.elements if attrs.get("class") == "skip"} == {
        "#main"
    }
    regions = [attrs for _, attrs, _ in page.elements if "scroll" in attrs.get("class", "").split()]
    assert len(regions) == 2
    assert all(region["tabindex"] == "0" and region["role"] == "region" for region in regions)


def test_ids_are_unique_and_every_reference_exists(service: Service) -> None:
    page = service.shows([running()], [run(stage("build", "started"))])
    ids = [attrs["id"] for _, attrs, _ in page.elements if "id" in attrs]
    assert len(ids) == len(set(ids))
    used = [
        value
        for _, attrs, _ in page.elements
        for key, value in attrs.items()
        if key == "aria-labelledby"
    ]
    used += [value[1:] for value in page.values("use", "href")]
    assert set(used) <= set(ids)


def colours(css: str) -> dict[str, str]:
    return dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6});", css))


def contrast(one: str, other: str) -> float:
    def luminance(colour: str) -> float:
        parts = [int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)]
        red, green, blue = (
            part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
        )
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


LOOKS = ("succeeded", "failed", "rolled-back", "started", "silent")
TEXT_PAIRS = [
    *((text, ground) for text in ("text", "muted", "accent") for ground in ("ground", "surface")),
    ("text", "raised"),
    ("on-accent", "accent"),
    *((look, "surface") for look in LOOKS),
    ("failed", "ground"),
    *((look, f"{look}-soft") for look in LOOKS if look != "succeeded"),
]
SHAPE_PAIRS = [("bar", "surface"), ("accent", "ground"), ("succeeded", "ground")]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(
    ("pair", "least"), [(pair, 4.5) for pair in TEXT_PAIRS] + [(pair, 3.0) for pair in SHAPE_PAIRS]
)
def test_contrast_is_enough(scheme: str, pair: tuple[str, str], least: float) -> None:
    css = resources.files("api_rest").joinpath("assets", "page.css").read_text("utf-8")
    light, dark, _ = re.split(r"@media \(prefers-color-scheme: dark\) \{|\n\* \{", css, maxsplit=2)
    assert set(colours(light)) == set(colours(dark))
    palette = colours({"light": light, "dark": dark}[scheme])
    assert contrast(palette[pair[0]], palette[pair[1]]) >= least


def test_contrast_is_computed_as_wcag_does() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#767676", "#ffffff") == pytest.approx(4.54, abs=0.01)


# ---- cost


def test_the_assets_are_small() -> None:
    folder = resources.files("api_rest").joinpath("assets")
    assert (
        sum(len(file.read_bytes()) for file in folder.iterdir() if file.name != "page.html")
        < 20_000
    )
