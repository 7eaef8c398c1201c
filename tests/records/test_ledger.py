"""Talking to the ledger: over real HTTP, with answers as told."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from delivery.errors import PlatformError
from delivery.records.ledger import Ledger
from tests.registries import Answer, Break, serving

EVENT = {"component": "api-rest"}


def test_posts_an_event_and_reads_it_back_once_it_is_stored() -> None:
    answers = [
        (202, b'{"id": "e1"}'),
        (404, b"{}"),
        (200, b'{"id": "e1", "component": "api-rest"}'),
    ]

    def answer(_method: str, _path: str, _headers: dict[str, str], _body: bytes) -> Answer:
        status, body = answers.pop(0)
        return status, {}, body

    with serving(answer) as (address, seen):
        ledger = Ledger(f"http://{address}")
        identifier = ledger.post(EVENT)
        stored, seconds = ledger.wait_for(identifier, seconds=5)
    assert stored == {"id": "e1", "component": "api-rest"}
    assert seconds > 0
    assert seen == ["POST /deployments", "GET /deployments/e1", "GET /deployments/e1"]


def test_sends_the_event_as_json() -> None:
    bodies: list[bytes] = []

    def answer(_method: str, _path: str, _headers: dict[str, str], body: bytes) -> Answer:
        bodies.append(body)
        return 202, {}, b'{"id": "e1"}'

    with serving(answer) as (address, _):
        Ledger(f"http://{address}").post(EVENT)
    assert json.loads(bodies[0]) == EVENT


def test_a_refused_event_is_an_error() -> None:
    with (
        serving(lambda *_: (422, {}, b"stage: unknown")) as (address, _),
        pytest.raises(PlatformError, match="it answered 422: stage: unknown"),
    ):
        Ledger(f"http://{address}").post(EVENT)


def test_an_event_that_is_never_stored_is_an_error() -> None:
    with (
        serving(lambda *_: (404, {}, b"")) as (address, _),
        pytest.raises(PlatformError, match="the worker has not stored it in 0 s"),
    ):
        Ledger(f"http://{address}").wait_for("e1", seconds=0)


def test_a_ledger_that_is_not_there_is_an_error() -> None:
    with pytest.raises(PlatformError, match="does not answer"):
        Ledger("http://localhost:1").post(EVENT)


@pytest.mark.parametrize(
    ("status", "body", "told"),
    [
        (200, {"status": "ready"}, ("ready", ())),
        (
            200,
            {"status": "degraded", "reasons": ["Kafka does not answer"]},
            ("degraded", ("Kafka does not answer",)),
        ),
        (503, {"status": "not ready", "reasons": ["a", "b"]}, ("not ready", ("a", "b"))),
        (
            503,
            {"error": {"code": "draining", "message": "it shuts down"}},
            ("not ready", ("it shuts down",)),
        ),
    ],
)
def test_what_it_says_of_itself(
    status: int, body: dict[str, object], told: tuple[str, tuple[str, ...]]
) -> None:
    with serving(lambda *_: (status, {}, json.dumps(body).encode())) as (address, _):
        assert Ledger(f"http://{address}").readiness() == told


@pytest.mark.parametrize("body", [b"<html>", b"[]", b"{}"])
def test_what_says_nothing_of_itself_is_no_ledger(body: bytes) -> None:
    with (
        serving(lambda *_: (200, {}, body)) as (address, _),
        pytest.raises(PlatformError, match="answers, but is no ledger"),
    ):
        Ledger(f"http://{address}").readiness()


def listed(
    pages: list[list[dict[str, object]]],
) -> Callable[[str, str, dict[str, str], bytes], Answer]:
    """A ledger whose listing has these pages."""
    left = list(enumerate(pages))

    def answer(_method: str, _path: str, _headers: dict[str, str], _body: bytes) -> Answer:
        number, page = left.pop(0)
        body = {"deployments": page, "next": f"c{number}" if left else None}
        return 200, {}, json.dumps(body).encode()

    return answer


def test_offers_an_event_under_its_key_and_with_the_token() -> None:
    headers: list[dict[str, str]] = []

    def answer(_method: str, _path: str, told: dict[str, str], _body: bytes) -> Answer:
        headers.append(told)
        return 202, {}, b'{"id": "e1"}'

    with serving(answer) as (address, _):
        assert Ledger(f"http://{address}/", "secret").offer(EVENT, "k1", seconds=5)[0] == 202
        Ledger(f"http://{address}").offer(EVENT, "k1", seconds=5)
    assert (headers[0]["Idempotency-Key"], headers[0]["Authorization"]) == ("k1", "Bearer secret")
    assert "Authorization" not in headers[1]


@pytest.mark.parametrize(("token", "sent"), [("secret", "Bearer secret"), ("", None)])
def test_a_login_of_netrc_is_not_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, token: str, sent: str | None
) -> None:
    (tmp_path / "netrc").write_text("default login me password other\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    authorizations: list[str | None] = []

    def answer(_method: str, _path: str, headers: dict[str, str], _body: bytes) -> Answer:
        authorizations.append(headers.get("Authorization"))
        return 202, {}, b'{"id": "e1"}'

    with serving(answer) as (address, _):
        ledger = Ledger(f"http://{address}", token)
        ledger.offer(EVENT, "k1", seconds=5)
        ledger.post(EVENT)
    assert authorizations == [sent, sent]


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (
            422,
            b'{"error": {"code": "x", "message": "some fields are wrong", "fields": {"stage": "must be one of"}}}',
            "it answered 422: some fields are wrong (stage must be one of)",
        ),
        (503, b"<html>\n  busy", "it answered 503: <html> busy"),
        (401, b'{"error": "no"}', 'it answered 401: {"error": "no"}'),
        (500, b"", "it answered 500"),
    ],
)
def test_says_what_a_refusal_says(status: int, body: bytes, said: str) -> None:
    with serving(lambda *_: (status, {}, body)) as (address, _):
        assert Ledger(f"http://{address}").offer(EVENT, "k1", seconds=5) == (status, said)


def test_an_answer_that_does_not_come_is_none() -> None:
    assert Ledger("http://localhost:1").offer(EVENT, "k", seconds=1) == (0, "nobody answers there")
    with serving(lambda *_: (202, {}, b""), lambda *_: Break("stall", 1.0)) as (address, _):
        assert Ledger(f"http://{address}").offer(EVENT, "k", seconds=0.1) == (
            0,
            "it does not answer in time",
        )
    assert Ledger("http://[").offer(EVENT, "k", seconds=1)[0] == 0


def test_the_token_goes_to_no_other_address() -> None:
    with serving(lambda *_: (202, {}, b"")) as (other, seen):
        moved: Answer = (307, {"Location": f"http://{other}/deployments"}, b"")
        with serving(lambda *_: moved) as (address, _):
            assert Ledger(f"http://{address}", "secret").offer(EVENT, "k", seconds=5)[0] == 307
            with pytest.raises(PlatformError, match="it answered 307"):
                Ledger(f"http://{address}", "secret").events({}, "2026-01-01T00:00:00Z")
    assert seen == []


def test_reads_every_page() -> None:
    with serving(listed([[{"id": "3"}, {"id": "2"}], [{"id": "1"}]])) as (address, seen):
        found = Ledger(f"http://{address}").events({"component": "a b"}, "2026-01-01T00:00:00.000Z")
    assert [event["id"] for event in found] == ["3", "2", "1"]
    query = "component=a+b&since=2026-01-01T00%3A00%3A00.000Z&limit=500"
    assert seen == [f"GET /deployments?{query}", f"GET /deployments?{query}&cursor=c0"]


@pytest.mark.parametrize("body", [b"<html>", b"[]", b"{}", b'{"deployments": null, "next": null}'])
def test_what_is_no_ledger_is_an_error(body: bytes) -> None:
    with (
        serving(lambda *_: (200, {}, body)) as (address, _),
        pytest.raises(PlatformError, match="answers, but is no ledger"),
    ):
        Ledger(f"http://{address}").events({}, "2026-01-01T00:00:00Z")


def test_a_token_that_is_missing_is_an_error_that_names_the_variable() -> None:
    with (
        serving(lambda *_: (401, {}, b"no")) as (address, _),
        pytest.raises(PlatformError) as raised,
    ):
        Ledger(f"http://{address}").events({}, "2026-01-01T00:00:00Z")
    assert "DELIVERY_LEDGER_TOKEN" in raised.value.hint


def test_knows_whether_it_holds_an_event() -> None:
    with serving(listed([[{**EVENT, "status": "failed"}], [{**EVENT, "id": "1"}]])) as (
        address,
        seen,
    ):
        assert Ledger(f"http://{address}").holds(EVENT, "2026-01-01T00:00:00Z", seconds=5) is True
    assert "component=api-rest" in seen[0]
    with serving(listed([[{"component": "other"}]])) as (address, _):
        assert Ledger(f"http://{address}").holds(EVENT, "2026-01-01T00:00:00Z", seconds=5) is False
    with serving(lambda *_: (503, {}, b"")) as (address, _):
        assert Ledger(f"http://{address}").holds(EVENT, "2026-01-01T00:00:00Z", seconds=5) is None


def test_says_how_it_answers_now() -> None:
    with serving(lambda *_: (200, {}, b"{}")) as (address, _):
        assert Ledger(f"http://{address}").answers() == "it answers"
    with serving(lambda *_: (401, {}, b"")) as (address, _):
        assert Ledger(f"http://{address}").answers() == "it answered 401"
    assert Ledger("http://localhost:1").answers() == "it does not answer"


def test_says_what_runs_in_an_environment() -> None:
    told = {
        "environments": [
            {"environment": "local", "components": [{"component": "api-rest", "version": "k1"}]},
            {
                "environment": "staging",
                "components": [{"component": "api-rest", "version": "1.0.0"}],
            },
        ]
    }
    with serving(lambda *_: (200, {}, json.dumps(told).encode())) as (address, seen):
        ledger = Ledger(f"http://{address}")
        assert ledger.running("local") == {"api-rest": "k1"}
        assert ledger.running("develop") == {}
    assert seen[0] == "GET /environments"


@pytest.mark.parametrize(
    "answer", [(503, b"{}"), (200, b"<html>"), (200, b"{}"), (200, b'{"environments": [1]}')]
)
def test_a_ledger_that_does_not_say_what_runs_is_an_error(answer: tuple[int, bytes]) -> None:
    with (
        serving(lambda *_: (answer[0], {}, answer[1])) as (address, _),
        pytest.raises(PlatformError),
    ):
        Ledger(f"http://{address}").running("local")
