"""The events that api-rest sends are those that this worker accepts."""

import json
import sys
import uuid
from pathlib import Path
from typing import Any

import pytest
from async_worker import event
from async_worker.errors import Undecodable
from ledger.event_rules import ACTOR_LENGTH, DETAILS_LEVELS, LENGTHS, validate

APP = Path(__file__).parents[1]
API_REST = APP.parent / "api-rest"

pytestmark = pytest.mark.skipif(not API_REST.exists(), reason="api-rest is not beside this folder")


@pytest.fixture
def api_event(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(API_REST / "src")
    yield __import__("api_rest.event").event
    for name in [name for name in sys.modules if name.partition(".")[0] == "api_rest"]:
        del sys.modules[name]


def test_both_apps_and_their_library_have_the_same_version() -> None:
    def version(folder: Path) -> str:
        lines = (folder / "pyproject.toml").read_text(encoding="utf-8").splitlines()
        return next(line for line in lines if line.startswith("version = "))

    assert version(APP) == version(API_REST) == version(APP.parent / "ledger")


def test_the_largest_event_of_the_api_is_stored(api_event: Any) -> None:
    payload = {
        **{name: "x" * limit for name, limit in LENGTHS.items()},
        "status": "started",
        "details": {"text": "é" * 1000, "number": 1e300},
    }
    assert validate(payload) == {}
    accepted = api_event.accept(payload, actor="x" * ACTOR_LENGTH)
    row = event.decode(api_event.encode(accepted))._asdict()
    assert {name: row[name] for name in payload if name != "details"} == {
        name: value for name, value in payload.items() if name != "details"
    }
    assert json.loads(row["details"]) == payload["details"]
    assert (row["id"], row["actor"]) == (accepted["id"], accepted["actor"])
    assert row["received_at"].replace(" ", "T") + "Z" == accepted["received_at"]


def nested(levels: int) -> str:
    return '{"a":' + "[" * (levels - 1) + "]" * (levels - 1) + "}"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("details", "[]"),
        ("details", "1"),
        ("details", nested(DETAILS_LEVELS)),
        ("details", nested(DETAILS_LEVELS + 1)),
        ("details", nested(200)),
        ("details", '{"a":1e400}'),
        ("details", '{"a":' + "9" * 308 + "}"),
        ("details", '{"a":' + "9" * 309 + "}"),
        ("details", '{"a":' + "9" * 5000 + "}"),
        ("details", r'{"a":"\ud800"}'),
        ("details", r'{"\udfff":0}'),
        ("details", r'{"\u0000":"\ud83d\ude00"}'),
        ("version", r'"\ud800"'),
        ("version", "1" * 5000),
        ("responsible", "null"),
        ("stage", '"smoke-test"'),
        ("status", "[]"),
        *((name, '"x"') for name in LENGTHS),
        *((name, f'"{"x" * limit}"') for name, limit in LENGTHS.items()),
        *((name, f'"{"x" * (limit + 1)}"') for name, limit in LENGTHS.items()),
    ],
    ids=lambda text: text[:16],
)
def test_both_apps_reject_the_same_values_and_name_the_field(
    api_event: Any,
    name: str,
    value: str,
) -> None:
    valid = {**dict.fromkeys(LENGTHS, "x"), "status": "started"}
    payload = json.dumps({**valid, name: 0}).replace(f'"{name}": 0', f'"{name}": {value}')
    set_by_server = f'"id": "{uuid.uuid4()}", "received_at": "2026-01-02T03:04:05.000678Z", '
    wrong = validate(api_event.parse_json(payload.encode()))
    message = payload.replace("{", "{" + set_by_server, 1).encode()
    if wrong:
        assert list(wrong) == [name]
        with pytest.raises(Undecodable, match=f"^{name} "):
            event.decode(message)
    else:
        assert event.decode(message)


def test_events_of_the_api_are_no_heartbeats(api_event: Any) -> None:
    assert not event.Message("t", 0, 0, None, b"", (api_event.KIND_HEADER,)).is_heartbeat
    assert api_event.KIND_HEADER[0] == event.KIND
