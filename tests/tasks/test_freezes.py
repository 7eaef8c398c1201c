"""`inv freeze`, `unfreeze`, `freezes` with a ledger over real HTTP."""

import json

import pytest

from delivery.tasks import freezes
from tests.deploy.test_freezing import ledger
from tests.tasks.running import run

__all__ = ["ledger"]


@pytest.mark.usefixtures("ledger")
def test_a_freeze_is_set_shown_and_ended(capsys: pytest.CaptureFixture[str]) -> None:
    run(freezes.freezes)
    run(freezes.freeze, environment="staging", until="2999-12-26T08:00", reason="a move")
    run(freezes.freezes)
    run(freezes.freezes, json_=True)
    run(freezes.unfreeze, environment="staging")
    run(freezes.unfreeze, environment="staging")
    printed = capsys.readouterr().out
    document = json.loads(printed[printed.index("[") : printed.index("]") + 1])
    lines = (printed[: printed.index("[")] + printed[printed.index("]") + 1 :]).split("\n")
    until = lines[1].removeprefix("staging is frozen ")
    assert until.endswith(" by Zoë: a move")
    assert [line for line in lines if line] == [
        "nothing is frozen",
        f"staging is frozen {until}",
        f"staging is frozen {until}",
        f"staging was frozen {until}",
        "staging is not frozen",
        "staging is not frozen",
    ]
    assert document[0]["reason"] == "a move"
    assert document[0]["environment"] == "staging"
