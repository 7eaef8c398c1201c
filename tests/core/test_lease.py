"""Who is at a release is told by a Lease, whatever the clocks say."""

from datetime import UTC, datetime, timedelta

from delivery.core import lease
from delivery.core.lease import LEASE_SECONDS

NOW = datetime(2026, 11, 21, 12, 0, 0, 5, tzinfo=UTC)


def test_reads_back_what_it_made() -> None:
    found = lease.read(lease.made("deploy", "me", NOW))
    assert (found.holder, found.since, found.renewed, found.version) == ("me", NOW, NOW, "")


def test_taking_keeps_the_version_so_that_of_two_one_is_refused() -> None:
    given = {**lease.made("deploy", "you", NOW), "metadata": {"name": "deploy", "resourceVersion": "7"}}
    later = NOW + timedelta(minutes=1)
    taken = lease.taken(given, "me", later)
    assert lease.read(taken) == lease.Holding("me", later, later, "7")
    assert taken["spec"]["leaseTransitions"] == 2
    assert lease.read(given).holder == "you"


def test_renewing_keeps_the_holder_and_since_when() -> None:
    later = NOW + timedelta(seconds=5)
    found = lease.read(lease.renewed(lease.made("deploy", "me", NOW), later))
    assert (found.holder, found.since, found.renewed) == ("me", NOW, later)


def test_a_released_one_has_no_holder() -> None:
    assert lease.read(lease.released(lease.made("deploy", "me", NOW))).holder == ""


def test_a_holder_is_dead_when_no_renewal_is_seen_whatever_its_clock_says() -> None:
    fast = lease.read(lease.made("deploy", "me", NOW + timedelta(hours=1)))
    assert not fast.dead(NOW, LEASE_SECONDS)
    assert fast.dead(NOW, LEASE_SECONDS + 1)


def test_one_that_stopped_long_ago_needs_no_watching() -> None:
    found = lease.read(lease.made("deploy", "me", NOW))
    assert not found.dead(NOW + timedelta(seconds=20 * LEASE_SECONDS), 0)
    assert found.dead(NOW + timedelta(seconds=20 * LEASE_SECONDS + 1), 0)


def test_what_was_begun_before_the_holder_came_is_not_the_holders() -> None:
    found = lease.read(lease.made("deploy", "me", NOW))
    assert found.covers(NOW + timedelta(seconds=1))
    assert not found.covers(NOW - timedelta(seconds=1))
