"""The balancer picks ready instances only."""

import asyncio

import pytest

from tests.ledger import balancer as module
from tests.ledger.balancer import Balancer
from tests.ledger.stack import wait_for
from tests.load.generator import Target

ONE, TWO = Target("127.0.0.1", 1), Target("127.0.0.1", 2)


@pytest.fixture(autouse=True)
def _fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "INTERVAL", 0.001)


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
