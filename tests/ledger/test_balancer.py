"""The balancer: sends where somebody is ready, and only there."""

import pytest

from tests.ledger import balancer as module
from tests.ledger.balancer import Balancer
from tests.ledger.client import Address
from tests.ledger.stack import wait_for

ONE, TWO = ("127.0.0.1", 1), ("127.0.0.1", 2)


@pytest.fixture(autouse=True)
def _fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "INTERVAL", 0.001)
    monkeypatch.setattr(module, "QUEUE_SECONDS", 0.05)


def test_takes_turns_among_the_ready_and_leaves_out_the_others() -> None:
    ready = {ONE: True, TWO: True}
    with Balancer([ONE, TWO], ready=ready.__getitem__).looking() as balancer:
        wait_for("both", lambda: balancer.sends_to(ONE) and balancer.sends_to(TWO))
        assert {balancer.pick(), balancer.pick()} == {ONE, TWO}
        ready[ONE] = False
        wait_for("one to be left out", lambda: not balancer.sends_to(ONE))
        assert [balancer.pick() for _ in range(4)] == [TWO] * 4
        ready[ONE] = True
        wait_for("both again", lambda: balancer.sends_to(ONE))
        assert ONE in {balancer.pick(), balancer.pick()}


def test_nobody_is_ready_before_it_was_asked() -> None:
    assert Balancer([ONE], ready=lambda _: True).pick() is None


def test_a_request_waits_for_somebody_but_not_for_ever() -> None:
    asked: list[Address] = []

    def ready(address: Address) -> bool:
        asked.append(address)
        return False

    with Balancer([ONE], ready=ready).looking() as balancer:
        assert balancer.pick() is None
    assert asked
    assert balancer.longest_wait > 0
