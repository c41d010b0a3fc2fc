"""Flow control: a slow learner is waited for, a dead one is not."""

from __future__ import annotations

from resfit_policy.flow import FIRST_WAIT, HEARTBEAT, LAST_WAIT, LearnerGate


def test_without_a_limit_nobody_waits() -> None:
    gate = LearnerGate(0, 0.0)
    assert gate.waits_for(0.0) == '' and gate.drained(5, 0.0, 0.0)


def test_the_first_episode_waits_for_the_learner_for_a_bounded_time() -> None:
    gate = LearnerGate(10, 0.0)
    assert gate.waits_for(1.0) == 'learner_node'
    assert gate.waits_for(FIRST_WAIT + 1) == ''


def test_a_slow_learner_is_waited_for_and_a_dead_one_is_not() -> None:
    gate = LearnerGate(10, 0.0)
    gate.hear(10, 1, 1.0)
    assert gate.waits_for(1.1) == ''
    gate.hear(11, 1, 2.0)
    assert gate.waits_for(2.1) == 'the learner to catch up'
    assert gate.waits_for(2.0 + HEARTBEAT) == ''


def test_the_end_of_a_run_waits_until_everything_is_used() -> None:
    gate = LearnerGate(10, 0.0)
    gate.hear(3, 7, 100.0)
    assert not gate.drained(7, 100.0, 101.0)
    gate.hear(0, 6, 101.0)
    assert not gate.drained(7, 100.0, 102.0), 'the last episode is not in yet'
    gate.hear(0, 7, 102.0)
    assert gate.drained(7, 100.0, 103.0)


def test_the_end_of_a_run_does_not_wait_for_ever() -> None:
    gate = LearnerGate(10, 0.0)
    assert not gate.drained(7, 100.0, 101.0)
    assert gate.drained(7, 100.0, 100.0 + LAST_WAIT)
    gate.hear(3, 7, 110.0)
    assert not gate.drained(7, 100.0, 100.0 + LAST_WAIT)
    assert gate.drained(7, 100.0, 110.0 + LAST_WAIT)
