"""The history says what is deployed, and what to roll back to."""

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


def test_what_is_deployed_is_the_last_successful_revision() -> None:
    deployed = history("superseded", "deployed", "failed").deployed
    assert deployed is not None
    assert deployed.number == 2
    assert history("failed").deployed is None


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
def test_only_the_last_revision_can_be_pending(states: tuple[str, ...], number: int | None) -> None:
    pending = history(*states).pending
    assert (pending.number if pending else None) == number


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
def test_the_rollback_target_is_the_last_successful_revision_before(
    states: tuple[str, ...], number: int
) -> None:
    assert history(*states).rollback_target().number == number


def test_a_requested_revision_has_to_have_succeeded() -> None:
    revisions = history("superseded", "failed", "superseded", "deployed")
    assert revisions.rollback_target(1).number == 1
    message = "cannot roll back to revision 2: no revision of that number succeeded"
    with pytest.raises(DeclarationError, match=message) as caught:
        revisions.rollback_target(2)
    assert "1 (platform-0.1.0" in caught.value.hint
    assert "3 (platform-0.1.0" in caught.value.hint


@pytest.mark.parametrize("states", [("deployed",), ("failed", "deployed"), ()])
def test_a_history_may_have_no_rollback_target(states: tuple[str, ...]) -> None:
    with pytest.raises(DeclarationError, match="no earlier revision"):
        history(*states).rollback_target()


def revision(number: int, description: str, status: str = "superseded") -> Revision:
    when = datetime(2026, 11, 21, tzinfo=UTC)
    return Revision(number, status, when, "platform-0.1.0", description)


def test_versions_come_from_the_description_also_after_a_rollback() -> None:
    versions = {"api-rest": "0.1.0-dev.26+cd38d5a", "platform-chart": "0.1.0"}
    revisions = [
        revision(1, describe(versions)),
        revision(2, "Upgrade complete"),
        revision(3, "Rollback to 1"),
        revision(4, "Rollback to 3"),
        revision(5, "Rollback to 9"),
        revision(6, 'Upgrade "platform" failed: context deadline exceeded'),
        revision(7, ""),
    ]
    read = [History(tuple(revisions)).versions(each) for each in revisions]
    assert read == [versions, {}, versions, versions, {}, {}, {}]


def test_the_hint_lists_possible_revisions_with_their_versions() -> None:
    revisions = [
        revision(1, "api-rest 0.2.0, platform-chart 0.2.0"),
        revision(2, "Rollback to 1"),
        revision(3, "", "deployed"),
    ]
    with pytest.raises(DeclarationError) as caught:
        History(tuple(revisions)).rollback_target(9)
    versions = "api-rest 0.2.0, platform-chart 0.2.0, 2026-11-21 00:00:00"
    assert caught.value.hint == f"pass --revision with one of: 1 ({versions}); 2 ({versions})"
