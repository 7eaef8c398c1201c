"""What a Lease says about its holder."""

from datetime import UTC, datetime, timedelta

from delivery.deploy import leases
from delivery.deploy.leases import (
    LEASE_SECONDS,
    RENEW_DEADLINE_SECONDS,
    REQUEST_SECONDS,
    RETRY_SECONDS,
    STOP_SECONDS,
    Holder,
    read_holder,
)

NOW = datetime(2026, 11, 21, 12, 0, 0, 5, tzinfo=UTC)
LATER = NOW + timedelta(seconds=5)
NEW = leases.new_lease("deploy", "me", NOW)


def test_a_new_lease_names_its_holder() -> None:
    assert read_holder(NEW) == Holder("me", NOW, "")


def test_a_second_holder_keeps_the_version_so_that_a_third_is_refused() -> None:
    lease = {**NEW, "metadata": {"name": "deploy", "resourceVersion": "7"}}
    acquired = leases.acquired(lease, "you", LATER)
    assert read_holder(acquired) == Holder("you", LATER, "7")
    assert acquired["spec"]["leaseTransitions"] == 2
    assert read_holder(lease).name == "me"


def test_a_renewed_lease_keeps_its_holder_and_a_released_one_has_none() -> None:
    renewed = leases.renewed(NEW, LATER)
    assert read_holder(renewed) == read_holder(NEW)
    assert renewed["spec"]["renewTime"] > NEW["spec"]["renewTime"]
    assert read_holder(leases.released(NEW)).name == ""


def test_helm_has_ended_before_the_next_holder_starts_and_one_renewal_may_fail() -> None:
    assert RENEW_DEADLINE_SECONDS + STOP_SECONDS < LEASE_SECONDS
    assert 2 * (RETRY_SECONDS + REQUEST_SECONDS) <= RENEW_DEADLINE_SECONDS


def test_a_holder_that_acquires_the_lease_again_is_another_holder() -> None:
    renewed = {
        **leases.renewed(NEW, LATER),
        "metadata": {"name": "deploy", "resourceVersion": "8"},
    }
    assert read_holder(renewed).is_same(read_holder(NEW))
    assert not read_holder(leases.acquired(NEW, "me", LATER)).is_same(read_holder(NEW))
    assert not read_holder(leases.new_lease("deploy", "you", NOW)).is_same(read_holder(NEW))


def test_a_holder_has_the_lease_from_when_it_acquired_it() -> None:
    assert read_holder(NEW).had_lease_at(LATER)
    assert not read_holder(NEW).had_lease_at(NOW - timedelta(seconds=1))
