"""The ledger is asked over real HTTP."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from delivery.errors import DeclarationError, PlatformError
from delivery.project.declaration import Declaration, Records
from delivery.records.events import SendResult
from delivery.records.ledger import Ledger, connect, find_address
from tests.records.conftest import FakeLedger
from tests.registries import Answer, Break, serving

EVENT: dict[str, Any] = {"component": "api-rest"}
SINCE = "2026-01-01T00:00:00.000Z"


def declared(declaration: Declaration, address: str) -> Declaration:
    return declaration.model_copy(update={"records": Records(ledger=address)})


def test_the_address_is_that_of_the_variable_else_the_declared_one(
    declaration: Declaration, monkeypatch: pytest.MonkeyPatch
) -> None:
    remote = declared(declaration, "https://ledger:8000/")
    monkeypatch.setenv("DELIVERY_LEDGER", "http://localhost:1")
    assert find_address(remote) == "http://localhost:1"
    monkeypatch.setenv("DELIVERY_LEDGER", "ledger:8000")
    with pytest.raises(DeclarationError, match="'ledger:8000' is not a URL"):
        find_address(remote)
    monkeypatch.delenv("DELIVERY_LEDGER")
    assert connect(remote).address == "https://ledger:8000"
    with pytest.raises(DeclarationError, match="its address is not set"):
        connect(declaration)


def test_a_ledger_on_this_machine_has_the_port_of_the_platform(
    declaration: Declaration, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DELIVERY_LEDGER", raising=False)
    monkeypatch.setenv("API_PORT", "8100")
    assert find_address(declared(declaration, "http://localhost:8000")) == "http://localhost:8100"
    assert find_address(declared(declaration, "https://ledger:8000")) == "https://ledger:8000"


def test_an_event_is_posted_and_read_once_it_is_stored() -> None:
    stored_event = {"id": "e1", "component": "api-rest"}
    answers = [(202, b'{"id": "e1"}'), (404, b"{}"), (200, json.dumps(stored_event).encode())]
    bodies: list[bytes] = []

    def answer(_method: str, _path: str, _headers: dict[str, str], body: bytes) -> Answer:
        bodies.append(body)
        status, content = answers.pop(0)
        return status, {}, content

    with serving(answer) as (address, seen):
        ledger = Ledger(f"http://{address}")
        stored, seconds = ledger.wait_for(ledger.post(EVENT), seconds=5)
    assert stored == stored_event
    assert seconds > 0
    assert json.loads(bodies[0]) == EVENT
    assert seen == ["POST /deployments", "GET /deployments/e1", "GET /deployments/e1"]


@pytest.mark.parametrize(
    ("answer", "message"),
    [((422, b"stage: unknown"), "it answered 422: stage: unknown"), (None, "does not answer")],
)
def test_an_event_that_is_not_accepted_is_an_error(
    answer: tuple[int, bytes] | None, message: str
) -> None:
    status, body = answer or (0, b"")
    with serving(lambda *_: (status, {}, body)) as (address, _):
        ledger = Ledger(f"http://{address}" if answer else "http://localhost:1")
        with pytest.raises(PlatformError, match=message):
            ledger.post(EVENT)


@pytest.mark.parametrize(
    ("status", "write"),
    [
        (202, lambda ledger: ledger.post(EVENT)),
        (201, lambda ledger: ledger.freeze("staging", datetime.now(UTC), "a move", "me")),
        (200, lambda ledger: ledger.wait_for("e1", seconds=0)),
    ],
)
def test_another_server_that_takes_what_is_written_is_an_error(
    status: int, write: Callable[[Ledger], object]
) -> None:
    with (
        serving(lambda *_: (status, {}, b"<html>")) as (address, _),
        pytest.raises(PlatformError, match="answers, but is not a ledger"),
    ):
        write(Ledger(f"http://{address}"))


def test_a_freeze_beyond_the_limit_says_so_and_what_to_do() -> None:
    body = b'{"error": {"code": "too-many-freezes", "message": "200 freezes are in force"}}'
    with (
        serving(lambda *_: (409, {}, body)) as (address, _),
        pytest.raises(PlatformError, match="staging: it answered 409: 200 freezes are") as caught,
    ):
        Ledger(f"http://{address}").freeze("staging", datetime.now(UTC), "a move", "me")
    assert "./run inv unfreeze" in caught.value.hint


def test_an_event_that_is_never_stored_is_an_error() -> None:
    with (
        serving(lambda *_: (404, {}, b"")) as (address, _),
        pytest.raises(PlatformError, match="the worker has not stored it within 0 s"),
    ):
        Ledger(f"http://{address}").wait_for("e1", seconds=0)


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (200, {"status": "ready"}, ("ready", ())),
        (200, {"status": "degraded", "reasons": ["Kafka"]}, ("degraded", ("Kafka",))),
        (503, {"status": "not ready", "reasons": ["a", "b"]}, ("not ready", ("a", "b"))),
        (503, {"error": {"message": "it shuts down"}}, ("not ready", ("it shuts down",))),
    ],
)
def test_readiness_is_read_with_its_reasons(
    status: int, body: dict[str, object], expected: tuple[str, tuple[str, ...]]
) -> None:
    with serving(lambda *_: (status, {}, json.dumps(body).encode())) as (address, _):
        assert Ledger(f"http://{address}").readiness() == expected


@pytest.mark.parametrize("body", [b"<html>", b"[]", b"{}", b'{"deployments": null, "next": null}'])
@pytest.mark.parametrize(
    "ask",
    [Ledger.readiness, lambda ledger: ledger.events({}, SINCE), lambda ledger: ledger.running("x")],
)
def test_another_server_is_an_error(ask: Callable[[Ledger], object], body: bytes) -> None:
    with (
        serving(lambda *_: (200, {}, body)) as (address, _),
        pytest.raises(PlatformError, match="answers, but is not a ledger"),
    ):
        ask(Ledger(f"http://{address}"))


def test_an_event_is_sent_with_its_key_and_the_token() -> None:
    ledger = FakeLedger()
    with serving(ledger) as (address, _):
        result, _ = Ledger(f"http://{address}/", "secret").send(EVENT, "k1", seconds=5)
    assert result is SendResult.DELIVERED
    assert (ledger.accepted, ledger.tokens) == ({"k1": EVENT}, {"Bearer secret"})


@pytest.mark.parametrize(("token", "expected"), [("secret", "Bearer secret"), ("", None)])
def test_a_login_of_netrc_is_not_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, token: str, expected: str | None
) -> None:
    (tmp_path / "netrc").write_text("default login me password other\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    authorizations: list[str | None] = []

    def answer(_method: str, _path: str, headers: dict[str, str], _body: bytes) -> Answer:
        authorizations.append(headers.get("Authorization"))
        return 202, {}, b'{"id": "e1"}'

    with serving(answer) as (address, _):
        ledger = Ledger(f"http://{address}", token)
        ledger.send(EVENT, "k1", seconds=5)
        ledger.post(EVENT)
    assert authorizations == [expected, expected]


@pytest.mark.parametrize(
    ("status", "body", "reason"),
    [
        (
            422,
            b'{"error": {"message": "no", "fields": {"a": "is b"}}}',
            "it answered 422: no (a is b)",
        ),
        (503, b"<html>\n  busy", "it answered 503: <html> busy"),
        (401, b'{"error": "no"}', 'it answered 401: {"error": "no"}'),
        (500, b"", "it answered 500"),
    ],
)
def test_a_refusal_has_the_ledgers_own_reason(status: int, body: bytes, reason: str) -> None:
    with serving(lambda *_: (status, {}, body)) as (address, _):
        assert Ledger(f"http://{address}").send(EVENT, "k1", seconds=5)[1] == reason


def test_without_an_answer_the_ledger_is_unavailable() -> None:
    away = SendResult.UNAVAILABLE
    nobody = Ledger("http://localhost:1").send(EVENT, "k", seconds=1)
    assert nobody == (away, "it does not answer")
    with serving(lambda *_: (202, {}, b""), lambda *_: Break("stall", 1.0)) as (address, _):
        late = Ledger(f"http://{address}").send(EVENT, "k", seconds=0.1)
    assert late == (away, "it does not answer in time")
    assert Ledger("http://[").send(EVENT, "k", seconds=1)[0] is away


def test_a_redirect_is_not_followed() -> None:
    with serving(lambda *_: (202, {}, b"")) as (other, seen):
        moved: Answer = (307, {"Location": f"http://{other}/deployments"}, b"")
        with serving(lambda *_: moved) as (address, _):
            ledger = Ledger(f"http://{address}", "secret")
            assert ledger.send(EVENT, "k", seconds=5)[1] == "it answered 307"
            with pytest.raises(PlatformError, match="it answered 307"):
                ledger.events({}, SINCE)
    assert seen == []


def listed(*pages: list[dict[str, Any]]) -> Callable[[str, str, dict[str, str], bytes], Answer]:
    """A ledger whose listing has these pages."""
    numbered = list(enumerate(pages))

    def answer(_method: str, _path: str, _headers: dict[str, str], _body: bytes) -> Answer:
        number, page = numbered.pop(0)
        body = {"deployments": page, "next": f"c{number}" if numbered else None}
        return 200, {}, json.dumps(body).encode()

    return answer


def test_every_page_is_read() -> None:
    with serving(listed([{"id": "3"}, {"id": "2"}], [{"id": "1"}])) as (address, seen):
        events = Ledger(f"http://{address}").events({"component": "a b"}, SINCE)
    assert [event["id"] for event in events] == ["3", "2", "1"]
    query = "component=a+b&since=2026-01-01T00%3A00%3A00.000Z&limit=500"
    assert seen == [f"GET /deployments?{query}", f"GET /deployments?{query}&cursor=c0"]


def test_a_missing_token_is_an_error_that_names_the_variable() -> None:
    with (
        serving(lambda *_: (401, {}, b"no")) as (address, _),
        pytest.raises(PlatformError) as raised,
    ):
        Ledger(f"http://{address}").events({}, SINCE)
    assert "DELIVERY_LEDGER_TOKEN" in raised.value.hint


@pytest.mark.parametrize(
    ("stored", "expected"),
    [
        ([{**EVENT, "id": "1", "received_at": "2026-01-31T12:00:01Z"}], True),
        ([{**EVENT, "details": {"at": "2026-01-31T12:00:00.124Z"}}], False),
        ([{"component": "other"}], False),
    ],
)
def test_an_event_is_stored_if_each_of_its_fields_is(
    stored: list[dict[str, Any]], *, expected: bool
) -> None:
    event = {**EVENT, "details": {"at": "2026-01-31T12:00:00.123Z"}}
    pages = [{"details": event["details"], **entry} for entry in stored]
    with serving(listed([], pages)) as (address, seen):
        assert Ledger(f"http://{address}").has(event, SINCE, seconds=5) is expected
    assert "component=api-rest" in seen[0]


def test_a_ledger_that_fails_does_not_say_whether_it_has_an_event() -> None:
    with serving(lambda *_: (503, {}, b"")) as (address, _):
        assert Ledger(f"http://{address}").has(EVENT, SINCE, seconds=5) is None


@pytest.mark.parametrize(("status", "expected"), [(200, "it answers"), (401, "it answered 401")])
def test_the_status_of_a_ledger_is_how_it_answers(status: int, expected: str) -> None:
    with serving(lambda *_: (status, {}, b"")) as (address, _):
        assert Ledger(f"http://{address}").status() == expected
    assert Ledger("http://localhost:1").status() == "it does not answer"


def test_what_an_environment_runs_is_read_by_component() -> None:
    environments = [
        {"environment": name, "components": [{"component": "api-rest", "version": version}]}
        for name, version in (("local", "k1"), ("staging", "1.0.0"))
    ]
    body = {"environments": environments}
    with serving(lambda *_: (200, {}, json.dumps(body).encode())) as (address, seen):
        ledger = Ledger(f"http://{address}")
        assert ledger.running("local") == {"api-rest": "k1"}
        assert ledger.running("develop") == {}
    assert seen[0] == "GET /environments"
