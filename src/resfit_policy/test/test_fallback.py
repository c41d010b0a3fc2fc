"""When authority must fall to 0: each rule, and that the reason stays."""

from __future__ import annotations

import math

import pytest
from pydantic import ValidationError

from resfit_policy.episode_log import Arm
from resfit_policy.fallback import Fallback, FallbackConfig


def test_nothing_heard_is_no_reason() -> None:
    assert Fallback(base=(40, 100)).check(1e6) == ''


def test_a_learner_that_fell_silent() -> None:
    fallback = Fallback()
    fallback.learner_seen(100.0, 0.4, 0.01)
    assert fallback.check(160.0) == ''
    assert fallback.check(160.1) == 'nothing was heard of the learner for 60 s'
    fallback.learner_seen(161.0, 0.4, 0.01)
    assert 'nothing was heard' in fallback.check(162.0), 'it stays, although the learner is back'
    fallback.clear()
    assert fallback.check(163.0) == ''


def test_after_clearing_a_learner_counts_as_not_yet_heard() -> None:
    fallback = Fallback()
    fallback.learner_seen(0.0, 0.4, 0.01)
    assert fallback.check(100.0)
    fallback.clear()
    assert fallback.check(1000.0) == ''
    fallback.learner_seen(1000.0, 0.4, 0.01)
    assert fallback.check(1061.0)


def test_weights_refused_three_times_in_a_row() -> None:
    fallback = Fallback()
    for _ in range(2):
        fallback.weights_refused('the sha256 does not match')
    fallback.weights_taken()
    for _ in range(2):
        fallback.weights_refused('the sha256 does not match')
    assert fallback.check(0.0) == ''
    fallback.weights_refused('too large')
    assert fallback.check(0.0) == 'weights were refused 3 times in a row: too large'
    fallback.weights_taken()
    assert fallback.check(0.0)
    fallback.clear()
    fallback.weights_refused('again')
    assert fallback.check(0.0) == ''


@pytest.mark.parametrize(
    ('q_mean', 'critic_loss'),
    [(1.51, 0.1), (-0.51, 0.1), (math.nan, 0.1), (0.5, math.nan), (0.5, math.inf), (-math.inf, 0.1)],
)
def test_a_critic_that_diverges_in_three_heartbeats(q_mean: float, critic_loss: float) -> None:
    fallback = Fallback()
    for _ in range(2):
        fallback.learner_seen(0.0, q_mean, critic_loss)
    fallback.learner_seen(0.0, 0.5, 0.1)  # one sane heartbeat: counted anew
    for _ in range(2):
        fallback.learner_seen(0.0, q_mean, critic_loss)
    assert fallback.check(0.0) == ''
    fallback.learner_seen(0.0, q_mean, critic_loss)
    assert 'the critic diverges' in fallback.check(0.0)


def test_values_at_the_edge_are_sane() -> None:
    fallback = Fallback()
    for q_mean in (-0.5, 1.5, 0.0) * 5:
        fallback.learner_seen(0.0, q_mean, 0.0)
    assert fallback.check(0.0) == ''


def test_a_robot_that_is_surely_worse_than_its_base() -> None:
    fallback = Fallback(base=(80, 100))  # at least 71 %
    for success in [True] * 10 + [False] * 9:  # 19 episodes, at most 73 %
        fallback.episode(Arm.RESIDUAL, success)
    assert fallback.check(0.0) == ''
    fallback.episode(Arm.RESIDUAL, False)  # 10 of 20, at most 70 %
    reason = fallback.check(0.0)
    assert reason == 'the last 20 episodes succeeded at 50% (at most 70%), the base alone at 80% (at least 71%)'
    for _ in range(50):
        fallback.episode(Arm.RESIDUAL, True)
    assert fallback.check(0.0) == reason
    fallback.clear()
    for _ in range(19):
        fallback.episode(Arm.RESIDUAL, False)
    assert fallback.check(0.0) == '', 'episodes before it was cleared do not count'


def test_fewer_than_twenty_episodes_are_not_judged() -> None:
    fallback = Fallback(base=(100, 100))
    for _ in range(19):
        fallback.episode(Arm.RESIDUAL, False)
    assert fallback.check(0.0) == ''
    fallback.episode(Arm.RESIDUAL, False)
    assert fallback.check(0.0)


def test_only_the_newest_fifty_episodes_count() -> None:
    fallback = Fallback(base=(60, 100))  # at least 50.2 %
    for success in [True] * 500 + [False] * 31:  # 19 of the newest 50, at most 52 %
        fallback.episode(Arm.RESIDUAL, success)
    assert fallback.check(0.0) == ''
    fallback.episode(Arm.RESIDUAL, False)  # 18 of the newest 50, at most 49.9 %
    assert 'the last 50 episodes succeeded at 36%' in fallback.check(0.0)


def test_the_base_arm_and_an_unknown_base_are_not_judged() -> None:
    known, unknown = Fallback(base=(100, 100)), Fallback()
    for _ in range(100):
        known.episode(Arm.BASE, False)
        unknown.episode(Arm.RESIDUAL, False)
    assert known.check(0.0) == unknown.check(0.0) == ''


def test_the_first_reason_stays() -> None:
    fallback = Fallback()
    for _ in range(3):
        fallback.weights_refused('too large')
    fallback.learner_seen(0.0, 0.5, 0.1)
    assert 'refused' in fallback.check(1000.0)


def test_a_base_or_thresholds_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ValueError, match='5 successes of 4'):
        Fallback(base=(5, 4))
    with pytest.raises(ValueError, match='0 successes of 0'):
        Fallback(base=(0, 0))
    with pytest.raises(ValidationError, match='least must not exceed window'):
        FallbackConfig(window=10)
