"""What serves, and what to go back to, follows from the history alone."""

from datetime import UTC, datetime

import pytest

from delivery.deploy.history import History, Revision, describe
from delivery.errors import DeclarationError


def history(*states: str) -> History:
    """Revisions from 1 on; "deployed:Rollback to 2" has a description."""
    when = datetime(2026, 11, 21, tzinfo=UTC)
    revisions = (
        Revision(number, state.partition(":")[0], when, "platform-0.1.0", state.partition(":")[2])
        for number, state in enumerate(states, start=1)
    )
    return History(tuple(revisions))


def test_what_serves_is_the_last_that_went_well() -> None:
    found = history("superseded", "deployed", "failed").serving
    assert found is not None
    assert found.number == 2
    assert history("failed").serving is None


@pytest.mark.parametrize(
    ("states", "number"),
    [
        (("deployed", "pending-upgrade"), 2),
        (("pending-install",), 1),
        (("superseded", "deployed", "pending-rollback"), 3),
        (("pending-upgrade", "deployed"), None),
        ((), None),
    ],
)
def test_only_the_last_revision_can_be_stuck(states: tuple[str, ...], number: int | None) -> None:
    found = history(*states).pending
    assert (found.number if found else None) == number


@pytest.mark.parametrize(
    ("states", "number"),
    [
        (("superseded", "deployed"), 1),
        (("superseded", "failed", "deployed"), 1),
        (("superseded", "superseded", "superseded", "deployed:Rollback to 2"), 1),
        (("superseded", "superseded", "superseded:Rollback to 1", "deployed"), 3),
        (("superseded", "deployed", "failed"), 1),
        (("superseded", "failed"), 1),
    ],
)
def test_goes_back_to_the_last_good_one_before(states: tuple[str, ...], number: int) -> None:
    assert history(*states).rollback_target().number == number


def test_goes_back_to_the_one_that_is_told_if_it_went_well() -> None:
    revisions = history("superseded", "failed", "superseded", "deployed")
    assert revisions.rollback_target(1).number == 1
    with pytest.raises(
        DeclarationError, match="revision 2: there is none that went well"
    ) as caught:
        revisions.rollback_target(2)
    assert "1 (platform-0.1.0" in caught.value.hint
    assert "3 (platform-0.1.0" in caught.value.hint


@pytest.mark.parametrize("states", [("deployed",), ("failed", "deployed"), ()])
def test_there_may_be_nothing_to_go_back_to(states: tuple[str, ...]) -> None:
    with pytest.raises(DeclarationError, match="no earlier revision"):
        history(*states).rollback_target()


def told(number: int, description: str, status: str = "superseded") -> Revision:
    when = datetime(2026, 11, 21, tzinfo=UTC)
    return Revision(number, status, when, "platform-0.1.0", description)


def test_a_revision_says_what_it_or_the_one_that_it_repeats_is_made_of() -> None:
    versions = {"api-rest": "0.1.0-dev.26+cd38d5a", "platform-chart": "0.1.0"}
    revisions = [
        told(1, describe(versions)),
        told(2, "Upgrade complete"),
        told(3, "Rollback to 1"),
        told(4, "Rollback to 3"),
        told(5, "Rollback to 9"),
        told(6, 'Upgrade "platform" failed: context deadline exceeded'),
        told(7, ""),
    ]
    found = [History(tuple(revisions)).versions(one) for one in revisions]
    assert found == [versions, {}, versions, versions, {}, {}, {}]


def test_where_one_can_go_back_to_is_said_by_what_it_is_made_of() -> None:
    revisions = [
        told(1, "api-rest 0.2.0, platform-chart 0.2.0"),
        told(2, "Rollback to 1"),
        told(3, "", "deployed"),
    ]
    with pytest.raises(DeclarationError) as caught:
        History(tuple(revisions)).rollback_target(9)
    made_of = "api-rest 0.2.0, platform-chart 0.2.0, 2026-11-21 00:00:00"
    assert caught.value.hint == f"those that did: 1 ({made_of}); 2 ({made_of})"
