import threading

import pytest
from api_rest.errors import Busy, Unavailable
from api_rest.gate import Gate


def fail(gate: Gate) -> None:
    with pytest.raises(Unavailable, match="away"), gate.passing():
        raise Unavailable("away")


def test_a_well_dependency_takes_all_callers_at_once() -> None:
    gate = Gate()
    with gate.passing(), gate.passing():
        pass


def test_after_a_failure_only_one_caller_tries() -> None:
    gate = Gate()
    fail(gate)
    with gate.passing(), pytest.raises(Unavailable, match="away"), gate.passing():
        pytest.fail("a second caller got in")


def test_a_refused_caller_does_not_end_the_trial_of_the_other() -> None:
    gate = Gate()
    fail(gate)
    with gate.passing():
        for _ in range(2):
            with pytest.raises(Unavailable), gate.passing():
                pytest.fail("a second caller got in")


def test_the_gate_is_open_again_after_a_success() -> None:
    gate = Gate()
    fail(gate)
    with gate.passing():
        pass
    with gate.passing(), gate.passing():
        pass


def test_the_next_trial_can_come_from_another_thread() -> None:
    gate = Gate()
    fail(gate)
    thread = threading.Thread(target=fail, args=(gate,))
    thread.start()
    thread.join()
    with gate.passing():
        pass


def test_a_bug_is_no_outage() -> None:
    gate = Gate()
    with pytest.raises(KeyError), gate.passing():
        raise KeyError
    with gate.passing(), gate.passing():
        pass


def test_a_check_is_never_refused_and_opens_the_gate_for_others() -> None:
    gate = Gate()
    fail(gate)
    with gate.passing():
        with gate.checking():
            pass
        with gate.passing(), gate.passing():
            pass


def test_a_check_that_fails_closes_the_gate() -> None:
    gate = Gate()
    with pytest.raises(Unavailable), gate.checking():
        raise Unavailable("away")
    with gate.passing(), pytest.raises(Unavailable, match="away"), gate.passing():
        pytest.fail("a second caller got in")


def be_busy(gate: Gate) -> None:
    with pytest.raises(Busy), gate.passing():
        raise Busy("busy", "no connection was free")


def test_one_request_that_the_dependency_had_no_time_for_closes_the_gate_for_nobody() -> None:
    gate = Gate()
    be_busy(gate)
    with gate.passing(), gate.passing():
        pass


def test_one_request_that_the_dependency_had_no_time_for_does_not_open_the_gate() -> None:
    gate = Gate()
    fail(gate)
    be_busy(gate)
    with gate.passing(), pytest.raises(Unavailable, match="away"), gate.passing():
        pytest.fail("a second caller got in")
