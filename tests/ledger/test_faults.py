"""The schedule of faults: each target its share, in order, and before the load ends."""

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.ledger.chaos import FROZEN, TARGETS, Report, Settings, outage, schedule
from tests.load.recording import Recording
from tests.load.test_recording import request

SEEDS, KILLS, EVENTS = st.integers(), st.integers(0, 60), st.integers(100, 100_000)


@settings(deadline=None)
@given(seed=SEEDS, kills=KILLS, events=EVENTS)
def test_every_target_is_killed_equally_often(seed: int, kills: int, events: int) -> None:
    faults = schedule(Settings(events, kills, seed))
    assert len(faults) == kills
    for services in TARGETS.values():
        killed = sum(1 for fault in faults if fault.services[0] in services)
        assert killed >= kills // len(TARGETS)
    assert [fault.after for fault in faults] == sorted(fault.after for fault in faults)
    assert all(0 <= fault.after <= events * 0.9 and fault.seconds >= 0 for fault in faults)
    assert all(len(set(fault.services)) == len(fault.services) <= 2 for fault in faults)


@settings(deadline=None)
@given(seed=SEEDS, kills=KILLS, events=EVENTS)
def test_freezes_come_once_each_and_leave_the_kills_unchanged(
    seed: int, kills: int, events: int
) -> None:
    faults = schedule(Settings(events, kills, seed, freeze=20.0))
    freezes = [fault for fault in faults if fault.frozen]
    assert sorted(fault.services for fault in freezes) == sorted((service,) for service in FROZEN)
    assert {fault.seconds for fault in freezes} == {20.0}
    assert [fault.after for fault in faults] == sorted(fault.after for fault in faults)
    assert all(0 <= fault.after <= events * 0.9 for fault in freezes)
    killed = [fault for fault in faults if not fault.frozen]
    assert killed == schedule(Settings(events, kills, seed))


def test_a_fault_is_reported_while_it_lasts_and_once_after_it() -> None:
    report = Report(Settings(1, 1, 1))
    (fault,) = schedule(report.settings)
    assert report.take_fault() == ""
    with report.during(fault):
        assert report.take_fault() == report.take_fault() == str(fault)
    assert report.take_fault() == ""
    with report.during(fault):
        pass
    assert [report.take_fault(), report.take_fault()] == [str(fault), ""]


def test_an_outage_is_the_longest_time_between_accepted_events() -> None:
    failed = request(8, status=503, id=None)
    recording = Recording((request(2), request(4), failed, request(14)), (), 1.0)
    assert outage(recording) == 10
