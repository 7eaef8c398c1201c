"""The balancer picks ready instances only."""

import asyncio

import pytest

from tests.ledger import balancer as module
from tests.ledger.balancer import Balancer, accepts_requests
from tests.ledger.stack import wait_for
from tests.load.generator import Target
from tests.registries import serving

ONE, TWO = Target("127.0.0.1", 1), Target("127.0.0.1", 2)


@pytest.fixture(autouse=True)
def _fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "INTERVAL", 0.001)
    monkeypatch.setattr(module, "QUEUE_SECONDS", 0.05)


def pick(balancer: Balancer) -> Target:
    return asyncio.run(balancer.pick())


def test_alternates_among_the_ready_instances() -> None:
    ready = {ONE: True, TWO: True}
    with Balancer([ONE, TWO], ready.__getitem__).checking() as balancer:
        wait_for("both", lambda: balancer.sends_to(ONE) and balancer.sends_to(TWO))
        assert {pick(balancer), pick(balancer)} == {ONE, TWO}
        ready[ONE] = False
        wait_for("one to be left out", lambda: not balancer.sends_to(ONE))
        assert [pick(balancer) for _ in range(4)] == [TWO] * 4
        ready[ONE] = True
        wait_for("both again", lambda: balancer.sends_to(ONE))
        assert ONE in {pick(balancer), pick(balancer)}


def test_no_instance_is_ready_before_the_first_check() -> None:
    with pytest.raises(ConnectionError, match="no instance is ready"):
        pick(Balancer([ONE], lambda _: True))


def test_a_request_waits_for_an_instance_but_not_for_ever() -> None:
    checked: list[Target] = []

    def accepts(target: Target) -> bool:
        checked.append(target)
        return False

    with Balancer([ONE], accepts).checking() as balancer, pytest.raises(ConnectionError):
        pick(balancer)
    assert checked
    assert balancer.longest_wait > 0


@pytest.mark.parametrize(
    ("status", "body", "accepts"),
    [
        (200, b'{"status": "ready"}', [True]),
        (200, b'{"status": "degraded"}', [True]),
        (503, b'{"status": "stopping"}', [False]),
    ],
)
def test_an_instance_accepts_requests_unless_it_is_stopping_or_away(
    status: int, body: bytes, accepts: list[bool]
) -> None:
    with serving(lambda *_: (status, {}, body)) as (address, seen):
        host, port = address.split(":")
        assert [accepts_requests(Target(host, int(port)))] == accepts
    assert seen == ["GET /ready"]
    assert not accepts_requests(Target(host, int(port)))
