"""The page in a real browser: Debian's Chromium, driven by Playwright, which downloads nothing."""

import os
import shutil
import socketserver
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import pytest
from api_rest import badge
from api_rest.answers import AnswerPlugin, QueryPlugin
from api_rest.drift import Drift
from api_rest.drift_reports import Report
from api_rest.errors import Unavailable
from api_rest.freezes import Freeze
from api_rest.lag import Lag
from api_rest.metrics import Metrics
from api_rest.page import Overview, age, duration, mount
from api_rest.runs import Run, Running, StageTime
from bottle import Bottle
from ledger.event_rules import STAGES
from ledger.tracing import Tracing
from playwright.sync_api import Browser, BrowserContext, Page, Playwright, expect, sync_playwright

pytestmark = pytest.mark.engine

ENVIRONMENTS = ("develop", "staging", "production", "qa")
COMPONENTS = (
    "api-rest",
    "async-worker",
    "base-image",
    "platform-chart",
    "checkout",
    "identity",
    "search",
    "reports",
)
# A noisy machine may be slow; nothing here waits so long unless something is wrong.
TIMEOUT = 20_000
REFRESH = "dispatchEvent(new Event('online'))"
expect.set_options(timeout=TIMEOUT)


class _Server(socketserver.ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Quiet(WSGIRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


class Service:
    """A server of the page over what a test wants it to show."""

    def __init__(self) -> None:
        self.now = datetime.now(UTC).replace(tzinfo=None)
        self.running = [
            Running(environment, component, "1.2.3", self.ago(hours=3), "Zoë", None)
            for component in COMPONENTS
            for environment in ENVIRONMENTS
        ]
        self.recent = [self.run(number) for number in range(8)]
        self.error: Exception | None = None
        self.late: Lag | None = None
        self.freezes: list[Freeze] = []
        self.drift: list[Report] = []
        self.port = 0
        self._app = Bottle()
        self._app.install(AnswerPlugin(Metrics("1"), Tracing()))
        self._app.install(QueryPlugin())
        mount(self._app, self._overview)
        badge.mount(self._app, lambda *_: (self.running[0], None), lambda: self.now)
        self.start()

    def ago(self, **span: float) -> datetime:
        return self.now - timedelta(**span)

    def run(self, number: int, status: str = "succeeded") -> Run:
        start = self.ago(minutes=10 + number)
        stages = [
            StageTime(name, "succeeded", start, start + timedelta(seconds=10 * (1 + number)))
            for name in STAGES
        ]
        stages[-1] = replace(
            stages[-1], status=status, ended_at=None if status == "started" else stages[-1].ended_at
        )
        component = COMPONENTS[number % len(COMPONENTS)]
        return Run(
            component,
            f"2.0.{number}",
            "staging",
            "Ana",
            start,
            start + timedelta(minutes=3),
            tuple(stages),
        )

    def _overview(self) -> Overview:
        if self.error:
            raise self.error
        return Overview(
            list(self.running),
            list(self.recent),
            self.now,
            self.late,
            freezes=self.freezes,
            drift=self.drift,
        )

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    def start(self) -> None:
        self._server = make_server("127.0.0.1", self.port, self._app, _Server, _Quiet)
        self.port = self._server.server_port
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.02}
        )
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def service() -> Iterator[Service]:
    service = Service()
    yield service
    service.stop()


@pytest.fixture(scope="module")
def playwright() -> Iterator[Playwright]:
    with sync_playwright() as playwright:
        yield playwright


@pytest.fixture(scope="module")
def short_folder() -> Iterator[str]:
    """A folder for Chromium's sockets, whose paths may have 107 characters at most."""
    with tempfile.TemporaryDirectory(dir="/tmp", ignore_cleanup_errors=True) as folder:
        yield folder


@pytest.fixture(scope="module")
def browser(playwright: Playwright, short_folder: str) -> Iterator[Browser]:
    path = os.environ.get("CHROMIUM") or shutil.which("chromium")
    if path is None or not os.access(path, os.X_OK):
        pytest.fail("these tests need Chromium: install Debian's package chromium, or set CHROMIUM")
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    environment: dict[str, str | float | bool] = {**os.environ, "TMPDIR": short_folder}
    browser = playwright.chromium.launch(executable_path=path, args=arguments, env=environment)
    yield browser
    browser.close()


class Tab:
    """A browser's tab, and what it complained about."""

    def __init__(self, context: BrowserContext) -> None:
        self.complaints: list[str] = []
        self.asked: list[tuple[str, int]] = []
        self.page = context.new_page()
        self.page.set_default_timeout(TIMEOUT)
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on(
            "response", lambda response: self.asked.append((response.url, response.status))
        )


@pytest.fixture
def options() -> dict[str, Any]:
    """How the browser is set up; a test's own fixture of this name changes it."""
    return {"viewport": {"width": 1360, "height": 800}}


@pytest.fixture
def context(browser: Browser, options: dict[str, Any]) -> Iterator[BrowserContext]:
    context = browser.new_context(**options)
    yield context
    context.close()


@pytest.fixture
def tab(context: BrowserContext) -> Tab:
    return Tab(context)


@pytest.fixture
def page(tab: Tab, service: Service) -> Iterator[Page]:
    """The page, opened; whatever the browser complains about fails the test."""
    tab.page.goto(service.url)
    expect(tab.page.locator("#live")).to_have_text("Live")
    yield tab.page
    assert tab.complaints == []


def cell(page: Page, component: str, environment: str) -> Any:
    return page.locator(f'.matrix tr[data-key="{component}"] td[data-label="{environment}"]')


def test_it_shows_the_data_and_asks_nobody_else(page: Page, tab: Tab, service: Service) -> None:
    expect(page).to_have_title("Deployment ledger")
    expect(cell(page, "checkout", "production")).to_contain_text("1.2.3")
    expect(page.locator(".runs tbody tr")).to_have_count(8)
    expect(page.get_by_role("region", name="What runs where")).to_be_visible()
    assert {status for _, status in tab.asked} == {200}
    paths = {url.removeprefix(service.url).partition("?")[0] for url, _ in tab.asked}
    assert paths <= {"", "assets/page.css", "assets/page.js", "assets/favicon.svg"}
    assert page.evaluate("getComputedStyle(document.querySelector('.card')).borderRadius") == "12px"


def test_the_bars_are_as_long_as_the_stages(page: Page) -> None:
    ratios = page.evaluate(
        "[...document.querySelectorAll('.runs tr > td:nth-of-type(3) .bar')].map(bar =>"
        " bar.querySelector('.fill').getBoundingClientRect().width"
        " / bar.getBoundingClientRect().width)"
    )
    assert ratios == pytest.approx([number / 8 for number in range(1, 9)], abs=0.02)


def test_without_javascript_it_reads_and_renews_itself(browser: Browser, service: Service) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(service.url)
    expect(page.locator(".runs tbody tr")).to_have_count(8)
    expect(page.locator("#live")).to_contain_text("As of ")
    expect(page.locator('meta[http-equiv="refresh"]')).to_have_count(1)
    context.close()


def test_with_javascript_the_browser_never_reloads_the_page(page: Page) -> None:
    expect(page.locator('meta[http-equiv="refresh"]')).to_have_count(0)


def test_new_data_appears_within_ten_seconds(tab: Tab, service: Service) -> None:
    tab.page.clock.install()
    tab.page.goto(service.url)
    expect(tab.page.locator("#live")).to_have_text("Live")
    service.running[0] = replace(service.running[0], version="9.9.9")
    tab.page.clock.run_for(10_000)
    expect(cell(tab.page, "api-rest", "develop")).to_contain_text("9.9.9")


def test_a_hidden_tab_asks_nothing_and_a_shown_one_at_once(tab: Tab, service: Service) -> None:
    page = tab.page
    page.clock.install()
    page.goto(service.url)
    expect(page.locator("#live")).to_have_text("Live")
    hide = "hidden => {"
    hide += " Object.defineProperty(document, 'hidden', {get: () => hidden, configurable: true});"
    hide += " document.dispatchEvent(new Event('visibilitychange')); }"
    page.evaluate(hide, True)  # noqa: FBT003  JavaScript's argument
    before = len(tab.asked)
    page.clock.run_for(120_000)
    page.evaluate("fetch('/assets/page.css?marker').then(answer => answer.text())")
    # The icon is asked for by the browser, whenever it likes.
    asked = [url for url, _ in tab.asked[before:] if "favicon" not in url]
    assert asked == [f"{service.url}assets/page.css?marker"]
    service.running[0] = replace(service.running[0], version="9.9.9")
    page.evaluate(hide, False)  # noqa: FBT003
    expect(cell(page, "api-rest", "develop")).to_contain_text("9.9.9")


def test_what_did_not_change_is_not_sent_again(page: Page, service: Service) -> None:
    with page.expect_response(service.url) as answer:
        page.evaluate(REFRESH)
    assert answer.value.status == 304


class TestRefreshing:
    @pytest.fixture
    def options(self) -> dict[str, Any]:
        return {"viewport": {"width": 800, "height": 420}}

    def test_it_keeps_focus_scroll_and_rows(self, page: Page, service: Service) -> None:
        page.evaluate(
            "() => { matrix.focus({preventScroll: true}); matrix.scrollLeft = 37; scrollTo(0, 150);"
            " window.row = document.querySelector('.runs tbody tr'); }"
        )
        service.running[0] = replace(service.running[0], version="9.9.9")
        service.recent.insert(0, replace(service.run(0), version="3.0.0", started_at=service.now))
        service.recent.pop()
        page.evaluate(REFRESH)
        expect(cell(page, "api-rest", "develop")).to_contain_text("9.9.9")
        expect(page.locator(".runs tbody tr")).to_have_count(8)
        expect(page.locator(".runs tbody tr").first).to_contain_text("3.0.0")
        expect(page.locator(".runs tbody tr").last).to_contain_text("2.0.6")
        assert page.evaluate("[document.activeElement.id, matrix.scrollLeft, scrollY]") == [
            "matrix",
            37,
            150,
        ]
        assert page.evaluate("row === document.querySelectorAll('.runs tbody tr')[1]")

    def test_rows_around_one_that_goes_stay(self, page: Page, service: Service) -> None:
        page.evaluate("() => { window.rows = [...document.querySelectorAll('.matrix tbody tr')]; }")
        service.running = [one for one in service.running if one.component != "checkout"]
        page.evaluate(REFRESH)
        expect(page.locator(".matrix tbody tr")).to_have_count(7)
        assert page.evaluate("rows.map(row => row.isConnected)") == [
            component != "checkout" for component in sorted(COMPONENTS)
        ]

    def test_that_storing_is_behind_comes_and_goes_above_what_stays(
        self, page: Page, service: Service
    ) -> None:
        page.evaluate(
            "() => { window.sections = [...document.querySelectorAll('main > section')]; }"
        )
        stays = "sections.length === 2 && sections.every(section => section.isConnected)"
        service.late = Lag(7, 90)
        page.evaluate(REFRESH)
        expect(page.locator("main > .late").get_by_role("heading")).to_have_text(
            "The ledger is behind"
        )
        assert page.evaluate(
            f"{stays} && document.querySelector('.late').nextElementSibling === sections[0]"
        )
        service.late = None
        page.evaluate(REFRESH)
        expect(page.locator("main > .late")).to_have_count(0)
        assert page.evaluate(stays)

    def test_freezes_drift_and_previews_come_and_go(self, page: Page, service: Service) -> None:
        running = service.running[0]
        until = service.now + timedelta(days=1)
        service.freezes = [
            Freeze("1", "production", until, "a busy week", "Zoë", None, service.now)
        ]
        found = Drift(
            "checkout", "Deployment/checkout", "spec.a", "changed", "2", "5", "kubectl", ""
        )
        service.drift = [Report("staging", service.now, (found,))]
        service.running = [*service.running, replace(running, environment="preview-a-branch")]
        page.evaluate(REFRESH)
        frozen = page.get_by_role("status").filter(has_text="production is frozen")
        expect(frozen).to_contain_text("a busy week")
        drifted = page.get_by_role("status").filter(has_text="staging differs")
        expect(drifted).to_contain_text("Deployment/checkout")
        expect(cell(page, "checkout", "staging")).to_contain_text("drifted")
        expect(cell(page, "checkout", "production")).not_to_contain_text("drifted")
        previews = page.get_by_role("region", name="Previews")
        expect(previews).to_contain_text("preview-a-branch")
        service.freezes, service.drift = [], []
        service.running = service.running[:-1]
        page.evaluate(REFRESH)
        for gone in (frozen, drifted, previews):
            expect(gone).to_have_count(0)

    def test_it_waits_while_text_is_selected(self, page: Page, service: Service) -> None:
        page.evaluate(
            "getSelection().selectAllChildren(document.querySelector('.matrix td .version'))"
        )
        service.running[0] = replace(service.running[0], version="9.9.9")
        page.evaluate(REFRESH)
        expect(page.locator("#live")).to_have_text("Paused while text is selected")
        assert page.evaluate("String(getSelection())") == "1.2.3"
        page.evaluate("getSelection().removeAllRanges()")
        page.evaluate(REFRESH)
        expect(cell(page, "api-rest", "develop")).to_contain_text("9.9.9")
        expect(page.locator("#live")).to_have_text("Live")

    def test_columns_rows_and_whole_sections_come_and_go(
        self, page: Page, service: Service
    ) -> None:
        everything = service.running, service.recent
        service.running = [one for one in service.running if one.environment != "staging"][:-3]
        page.evaluate(REFRESH)
        expect(page.locator(".matrix thead th")).to_have_text(
            ["Component", "develop", "production", "qa"]
        )
        expect(page.locator(".matrix tbody tr")).to_have_count(7)
        service.running, service.recent = [], []
        page.evaluate(REFRESH)
        expect(page.get_by_role("heading", name="Nothing is recorded yet")).to_be_visible()
        service.running, service.recent = everything
        page.evaluate(REFRESH)
        expect(page.locator(".matrix tbody tr")).to_have_count(8)
        assert page.evaluate(
            "fetch('/').then(answer => answer.text())"
            ".then(text => new DOMParser().parseFromString(text, 'text/html')"
            ".getElementById('main').isEqualNode(document.getElementById('main')))"
        )


def test_the_old_data_stays_and_is_called_stale_while_the_server_is_away(
    tab: Tab, service: Service
) -> None:
    page = tab.page
    page.goto(service.url)
    expect(page.locator("#live")).to_have_text("Live")
    service.stop()
    try:
        page.evaluate(REFRESH)
        expect(page.locator("#live")).to_contain_text("Stale since ")
        expect(cell(page, "api-rest", "develop")).to_contain_text("1.2.3")
    finally:
        service.start()
    service.error = Unavailable("away")
    page.evaluate(REFRESH)
    expect(page.locator("#live")).to_contain_text("Stale since ")
    service.error = None
    page.evaluate(REFRESH)
    expect(page.locator("#live")).to_have_text("Live")
    assert all("Failed to load resource" in complaint for complaint in tab.complaints), (
        tab.complaints
    )


def test_a_page_that_began_without_data_finds_it(tab: Tab, service: Service) -> None:
    service.error = Unavailable("away")
    assert tab.page.goto(service.url).status == 503  # type: ignore[union-attr]
    expect(
        tab.page.get_by_role("heading", name="The ledger cannot be read just now")
    ).to_be_visible()
    tab.page.evaluate(REFRESH)
    expect(tab.page.locator("#live")).to_have_text("Not answering")
    service.error = None
    tab.page.evaluate(REFRESH)
    expect(cell(tab.page, "api-rest", "develop")).to_contain_text("1.2.3")
    expect(tab.page.locator("#live")).to_have_text("Live")
    expect(tab.page).to_have_title("Deployment ledger")


def test_another_build_of_the_page_is_loaded_whole(page: Page) -> None:
    page.evaluate(
        "() => { document.documentElement.dataset.build = 'older'; main.dataset.etag = 'older'; }"
    )
    with page.expect_navigation():
        page.evaluate(REFRESH)
    assert page.evaluate("document.documentElement.dataset.build") != "older"


def test_the_keyboard_reaches_everything_and_shows_where_it_is(page: Page) -> None:
    reached = []
    for _ in range(5):
        page.keyboard.press("Tab")
        reached.append(
            page.evaluate(
                "document.activeElement.id || document.activeElement.getAttribute('href')"
            )
        )
        style, width = page.evaluate(
            "(({outlineStyle, outlineWidth}) => [outlineStyle, outlineWidth])"
            "(getComputedStyle(document.activeElement))"
        )
        assert (style, width) == ("solid", "2px")
        assert page.evaluate("document.activeElement.getBoundingClientRect().bottom > 0")
    assert reached == ["#main", "matrix", "runs", "deployments.csv", "openapi.json"]


def test_the_skip_link_goes_to_the_content(page: Page) -> None:
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_in_viewport()
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"


@pytest.mark.parametrize("width", [320, 390, 740, 820, 1100])
def test_no_width_scrolls_the_whole_page_sideways(
    context: BrowserContext, service: Service, width: int
) -> None:
    long = "W" * 128
    service.running.append(Running("e" * 64, long, long, service.now, "R" * 256, None))
    shown = replace(
        service.run(0), component=long, version=long, environment="e" * 64, responsible="R" * 256
    )
    service.recent += [
        shown,
        replace(service.run(0, "started"), version="under way", started_at=service.now),
    ]
    page = context.new_page()
    page.set_viewport_size({"width": width, "height": 844})
    page.goto(service.url)
    expect(page.locator(".runs tbody tr")).to_have_count(10)
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_nine_stages_fit_side_by_side(page: Page) -> None:
    expect(page.locator(".runs thead .stage")).to_have_count(len(STAGES))
    assert page.evaluate("runs.scrollWidth <= runs.clientWidth")


@pytest.fixture
def elsewhere(service: Service) -> Iterator[str]:
    """Another site whose page shows a badge, and a file that only the ledger may show."""
    images = "".join(
        f'<img src="{service.url}{path}">'
        for path in ("badges/develop/api-rest.svg", "assets/favicon.svg")
    )

    def app(_: object, start_response: Any) -> list[bytes]:
        start_response("200 OK", [("Content-Type", "text/html")])
        return [images.encode()]

    server = make_server("127.0.0.1", 0, app, _Server, _Quiet)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_badge_shows_on_another_sites_page(context: BrowserContext, elsewhere: str) -> None:
    page = context.new_page()
    page.goto(elsewhere)
    shown, other = page.evaluate(
        "[...document.images].map(image => [image.naturalWidth, image.naturalHeight])"
    )
    assert (shown[0] > 80, shown[1], other) == (True, 20, [0, 0])


def test_a_badges_texts_are_as_wide_as_it_says(context: BrowserContext, service: Service) -> None:
    page = context.new_page()
    page.goto(f"{service.url}badges/develop/api-rest.svg?label=api+WWW+iii")
    ratios = page.evaluate(
        "[...document.querySelectorAll('text')].map(text => {"
        " const width = text.textLength.baseVal.value;"
        " text.removeAttribute('textLength'); return text.getComputedTextLength() / width; })"
    )
    # It is drawn as wide as it says, stretched where need be: unseen as long as both are near.
    assert ratios == pytest.approx([1, 1], abs=0.1)


class TestOnAPhone:
    @pytest.fixture
    def options(self) -> dict[str, Any]:
        return {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}

    def test_every_cell_is_within_the_screen(self, page: Page) -> None:
        outside = page.evaluate(
            "[...document.querySelectorAll('tbody th, tbody td, .version, .took, .pill')]"
            ".filter(element => { const {left, right, width} = element.getBoundingClientRect();"
            " return width && (left < 0 || right > 390); }).length"
        )
        assert outside == 0

    def test_cards_name_what_the_hidden_header_named(self, page: Page) -> None:
        label = "getComputedStyle(document.querySelector('.matrix td'), '::before').content"
        assert page.evaluate(label) == '"develop"'
        expect(page.locator(".matrix thead")).to_be_hidden()

    def test_it_is_still_a_table_to_assistive_technology(self, page: Page) -> None:
        expect(page.get_by_role("table")).to_have_count(2)
        expect(page.get_by_role("rowheader", name="checkout", exact=True)).to_have_count(1)


@pytest.mark.parametrize(
    ("scheme", "ground"), [("light", "rgb(245, 246, 248)"), ("dark", "rgb(15, 19, 25)")]
)
def test_it_follows_the_colour_scheme(page: Page, scheme: Any, ground: str) -> None:
    page.emulate_media(color_scheme=scheme)
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == ground


def test_nothing_moves_for_those_who_want_that(page: Page, service: Service) -> None:
    service.recent.insert(
        0, replace(service.run(0, "started"), version="3.0.0", updated_at=service.now)
    )
    page.evaluate(REFRESH)
    expect(page.locator(".pill.started .icon")).to_be_visible()
    animation = "getComputedStyle(document.querySelector('.pill.started .icon')).animationName"
    assert page.evaluate(animation) == "turn"
    page.emulate_media(reduced_motion="reduce")
    assert page.evaluate(animation) == "none"


def test_markup_in_every_field_is_only_text(tab: Tab, service: Service) -> None:
    hostile: Any = (
        "\"'></title></td></script><script>window.hacked=1</script>"
        "<img src=x onerror=window.hacked=1>"
        "<svg onload=window.hacked=1>"
    )
    service.running = [Running(hostile, hostile, hostile, service.now, hostile, None)]
    service.recent = [
        replace(
            service.run(0, "failed"),
            component=hostile,
            version=hostile,
            environment=hostile,
            responsible=hostile,
        )
    ]
    tab.page.goto(service.url)
    expect(tab.page.locator("#live")).to_have_text("Live")
    service.running = [replace(service.running[0], since=service.ago(days=1))]
    tab.page.evaluate(REFRESH)
    expect(tab.page.locator(".matrix td time")).to_have_text("1 d ago")
    expect(tab.page.locator(".matrix td .version")).to_have_text(hostile)
    assert tab.page.evaluate("window.hacked") is None
    assert tab.complaints == []
    assert all(url.startswith(service.url) for url, _ in tab.asked)


def test_injected_scripts_and_styles_would_not_run(tab: Tab, service: Service) -> None:
    tab.page.goto(service.url)
    tab.page.evaluate(
        "() => { const script = document.createElement('script');"
        " script.textContent = 'window.hacked = 1'; document.body.append(script);"
        " document.body.setAttribute('onclick', 'window.hacked = 1'); }"
    )
    tab.page.locator("h1").click()
    assert tab.page.evaluate("window.hacked") is None
    assert len(tab.complaints) >= 1
    assert all("Content Security Policy" in complaint for complaint in tab.complaints)


def test_ages_and_durations_tick_as_the_server_says_them(tab: Tab, service: Service) -> None:
    ages = [
        0,
        4,
        5,
        59,
        60,
        3599,
        3600,
        86_399,
        86_400,
        59 * 86_400,
        60 * 86_400,
        729 * 86_400,
        730 * 86_400,
    ]
    durations = [0, 9, 59, 60, 80, 3599, 3600, 3660, 86_399, 86_400, 93_600]
    page = tab.page
    page.clock.set_fixed_time(datetime.now(UTC))
    page.goto(service.url)
    expect(page.locator("#live")).to_have_text("Live")
    page.evaluate(
        "([ages, durations]) => { const now = Number(main.dataset.now);"
        " const add = (seconds, name) => { const time = document.createElement('time');"
        " time.dateTime = new Date(now - seconds * 1000).toISOString();"
        " time.setAttribute(name, ''); main.append(time); };"
        " main.replaceChildren(); for (const one of ages) add(one + .5, 'data-age');"
        " for (const one of durations) add(one + .5, 'data-elapsed'); }",
        [ages, durations],
    )
    expect(page.locator("time")).to_have_text([*map(age, ages), *map(duration, durations)])
