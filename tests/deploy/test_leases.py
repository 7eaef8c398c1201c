"""Who is at a release is told by a Lease, whatever the clocks say."""

from datetime import UTC, datetime, timedelta

from delivery.deploy import leases
from delivery.deploy.leases import (
    LEASE_SECONDS,
    RENEW_DEADLINE_SECONDS,
    REQUEST_SECONDS,
    RETRY_SECONDS,
    STOP_SECONDS,
)

NOW = datetime(2026, 11, 21, 12, 0, 0, 5, tzinfo=UTC)


def test_reads_back_what_it_made() -> None:
    found = leases.read(leases.made("deploy", "me", NOW))
    assert (found.holder, found.since, found.renewed, found.version) == ("me", NOW, NOW, "")


def test_taking_keeps_the_version_so_that_of_two_one_is_refused() -> None:
    given = {
        **leases.made("deploy", "you", NOW),
        "metadata": {"name": "deploy", "resourceVersion": "7"},
    }
    later = NOW + timedelta(minutes=1)
    taken = leases.taken(given, "me", later)
    assert leases.read(taken) == leases.Holding("me", later, later, "7")
    assert taken["spec"]["leaseTransitions"] == 2
    assert leases.read(given).holder == "you"


def test_renewing_keeps_the_holder_and_since_when() -> None:
    later = NOW + timedelta(seconds=5)
    found = leases.read(leases.renewed(leases.made("deploy", "me", NOW), later))
    assert (found.holder, found.since, found.renewed) == ("me", NOW, later)


def test_a_released_one_has_no_holder() -> None:
    assert leases.read(leases.released(leases.made("deploy", "me", NOW))).holder == ""


def test_a_holder_is_dead_when_no_renewal_is_seen_for_longer_than_the_lease() -> None:
    found = leases.read(leases.made("deploy", "me", NOW))
    assert not found.dead(LEASE_SECONDS)
    assert found.dead(LEASE_SECONDS + 0.1)


def test_a_holder_goes_on_until_the_deadline_after_its_last_renewal() -> None:
    assert leases.is_kept(100, 100 + RENEW_DEADLINE_SECONDS - 0.1)
    assert not leases.is_kept(100, 100 + RENEW_DEADLINE_SECONDS)


def test_the_holder_has_stopped_before_others_begin_and_may_fail_once_to_renew() -> None:
    assert RENEW_DEADLINE_SECONDS + STOP_SECONDS < LEASE_SECONDS
    assert 2 * (RETRY_SECONDS + REQUEST_SECONDS) <= RENEW_DEADLINE_SECONDS


def test_a_holder_that_came_back_is_another_one_though_it_has_the_same_name() -> None:
    first = leases.made("deploy", "me", NOW)
    later = NOW + timedelta(seconds=5)
    renewed = {
        **leases.renewed(first, later),
        "metadata": {"name": "deploy", "resourceVersion": "8"},
    }
    assert leases.read(renewed).is_same(leases.read(first))
    assert not leases.read(leases.taken(first, "me", later)).is_same(leases.read(first))
    assert not leases.read(leases.made("deploy", "you", NOW)).is_same(leases.read(first))


def test_what_was_begun_before_the_holder_came_is_not_the_holders() -> None:
    found = leases.read(leases.made("deploy", "me", NOW))
    assert found.covers(NOW + timedelta(seconds=1))
    assert not found.covers(NOW - timedelta(seconds=1))
