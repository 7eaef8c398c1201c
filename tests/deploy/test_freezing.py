"""A deploy asks a real HTTP server for freezes; windows, overrides and a ledger that is away."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from delivery.deploy import freezing
from delivery.errors import DeclarationError, FrozenError, PlatformError
from delivery.project.declaration import Declaration
from tests.deploy.cluster import Cluster, target
from tests.registries import Answer, serving

CLOSED = {"zone": "UTC", "rules": {"FREQ=DAILY;UNTIL=20200101T000000": "1h"}}


class LedgerOfFreezes:
    """Stores freezes, as api-rest does."""

    def __init__(self) -> None:
        self.freezes: list[dict[str, Any]] = []
        self.token = ""
        self.refusal: Answer | None = None

    def answer(self, method: str, path: str, headers: dict[str, str], body: bytes) -> Answer:
        if self.refusal:
            return self.refusal
        if self.token and headers.get("Authorization") != f"Bearer {self.token}":
            return 401, {}, b'{"error": {}}'
        if method == "GET":
            return 200, {}, json.dumps({"freezes": self.freezes}).encode()
        if method == "POST":
            made = {**json.loads(body), "id": str(len(self.freezes)), "actor": None}
            self.freezes.append(made)
            return 201, {}, json.dumps(made).encode()
        gone = path.rpartition("/")[2]
        self.freezes = [each for each in self.freezes if each["id"] != gone]
        return 200, {}, b"{}"


@pytest.fixture
def ledger(monkeypatch: pytest.MonkeyPatch) -> Iterator[LedgerOfFreezes]:
    made = LedgerOfFreezes()
    with serving(made.answer) as (address, _):
        monkeypatch.setenv("DELIVERY_LEDGER", f"http://{address}")
        monkeypatch.setenv("DELIVERY_RESPONSIBLE", "Zoë")
        yield made


def tomorrow() -> str:
    return f"{datetime.now(UTC) + timedelta(days=1):%Y-%m-%dT%H:%M%z}"


def test_a_frozen_environment_is_not_deployed_to_until_it_is_unfrozen(
    declaration: Declaration, cluster: Cluster, ledger: LedgerOfFreezes
) -> None:
    place = target(cluster, "staging")
    assert freezing.check(declaration, "staging", "not needed", place) == ""
    freezing.freeze(declaration, "staging", tomorrow(), "a move")
    freezing.freeze(declaration, "staging", tomorrow(), "another")
    assert freezing.check(declaration, "production", "", target(cluster, "production")) == ""
    with pytest.raises(
        FrozenError, match=r"staging: it is frozen until .* by Zoë: a move"
    ) as error:
        freezing.check(declaration, "staging", "", place)
    assert error.value.exit_code == 11
    assert freezing.check(declaration, "staging", "an outage", place) == "an outage"
    assert [each.reason for each in freezing.unfreeze(declaration, "staging")] == [
        "a move",
        "another",
    ]
    assert ledger.freezes == []
    assert freezing.check(declaration, "staging", "", place) == ""


@pytest.mark.usefixtures("ledger")
def test_a_freeze_of_the_environment_of_previews_is_one_of_every_preview(
    with_previews: Declaration, cluster: Cluster
) -> None:
    place = target(cluster, "preview-feature-a-1a2b3c")
    other = target(cluster, "preview-feature-b-1a2b3c")
    freezing.freeze(with_previews, place.name, tomorrow(), "a demonstration")
    for name in ("preview", place.name):  # as a flag and as a plan name it
        with pytest.raises(FrozenError, match=f"cannot deploy to {name}: it is frozen"):
            freezing.check(with_previews, name, "", place)
    assert freezing.check(with_previews, "preview", "", other) == ""
    freezing.freeze(with_previews, "preview", tomorrow(), "a move")
    with pytest.raises(FrozenError, match="a move"):
        freezing.check(with_previews, other.name, "", other)


def test_docker_asks_too(declaration: Declaration, ledger: LedgerOfFreezes) -> None:
    until = tomorrow()
    ledger.freezes = [
        {
            "id": "1",
            "environment": "local",
            "until": until,
            "reason": "r",
            "responsible": "Zoë",
            "actor": None,
        }
    ]
    with pytest.raises(FrozenError, match="cannot deploy to local"):
        freezing.check(declaration, "local", "")
    ledger.refusal = (503, {}, b"away")
    assert freezing.check(declaration, "local", "") == ""


@pytest.mark.parametrize(
    "refusal", [(503, {}, b"away"), (200, {}, b"hello"), (200, {}, b"{}"), (404, {}, b"<html>")]
)
def test_without_an_answer_the_environment_decides(
    declaration: Declaration,
    cluster: Cluster,
    ledger: LedgerOfFreezes,
    refusal: Answer,
    capsys: pytest.CaptureFixture[str],
) -> None:
    ledger.refusal = refusal
    assert freezing.check(declaration, "staging", "", target(cluster, "staging")) == ""
    assert "staging: whether it is frozen is unknown: " in capsys.readouterr().out
    strict = target(cluster, "staging", on_unknown="refuse")
    with pytest.raises(FrozenError, match="whether it is frozen is unknown"):
        freezing.check(declaration, "staging", "", strict)
    assert freezing.check(declaration, "staging", "the ledger is down", strict)
    cluster.revisions = []  # the ledger may be what the first deploy brings
    assert freezing.check(declaration, "staging", "", strict) == ""


def test_an_earlier_ledger_knows_no_freezes(
    declaration: Declaration, cluster: Cluster, ledger: LedgerOfFreezes
) -> None:
    ledger.refusal = (404, {}, b'{"error": {"code": "not-found", "message": "nothing here"}}')
    strict = target(cluster, "staging", on_unknown="refuse")
    assert freezing.check(declaration, "staging", "", strict) == ""


def test_windows_hold_without_a_ledger(declaration: Declaration, cluster: Cluster) -> None:
    with pytest.raises(FrozenError, match="none of its windows opens again"):
        freezing.check(declaration, "staging", "", target(cluster, "staging", windows=CLOSED))


def test_a_ledger_that_protects_reads_gets_the_environments_token(
    declaration: Declaration,
    cluster: Cluster,
    ledger: LedgerOfFreezes,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ledger.token = "secret"
    strict = target(cluster, "staging", on_unknown="refuse")
    monkeypatch.setattr(type(strict), "ledger_token", lambda _self: "secret")
    assert freezing.check(declaration, "staging", "", strict) == ""
    with pytest.raises(PlatformError, match="it answered 401"):
        freezing.unfreeze(declaration, "staging")


@pytest.mark.parametrize(
    ("name", "until", "reason", "message"),
    [
        ("stagin", "2999-01-01T00:00", "r", "cannot find the environment stagin"),
        ("staging", "soon", "r", "'soon' is not a valid time"),
        ("staging", "2020-01-01T00:00", "r", "has passed"),
        ("staging", "2999-01-01T00:00", "", "cannot freeze staging: --reason is empty"),
        ("staging", "2999-01-01T00:00", " ", "cannot freeze staging: --reason is empty"),
    ],
)
def test_a_freeze_has_an_environment_a_time_to_come_and_a_reason(
    declaration: Declaration, name: str, until: str, reason: str, message: str
) -> None:
    with pytest.raises(DeclarationError, match=message):
        freezing.freeze(declaration, name, until, reason)


def test_a_time_without_an_offset_is_of_the_windows_zone(
    declaration: Declaration, ledger: LedgerOfFreezes
) -> None:
    windows = {"zone": "America/Sao_Paulo", "rules": {"FREQ=DAILY": "1d"}}
    document = declaration.model_dump(mode="json", exclude_none=True)
    document["environments"]["staging"]["windows"] = windows
    zoned = Declaration.model_validate(document)
    freezing.freeze(zoned, "staging", "2999-12-26T08:00", "r")
    assert ledger.freezes[0]["until"] == "2999-12-26T11:00:00+00:00"
