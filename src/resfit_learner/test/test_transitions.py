"""n-step targets by hand, across success, failure and time-out."""

import numpy as np
import pytest

from resfit_learner.transitions import build_transitions
from resfit_policy.episode_log import Arm, Flag, Phase, StepRecord, build_episode

GAMMA = 0.9


def record(step, final=False):
    return StepRecord(
        stamp=step * 50_000_000,
        step=step,
        state=np.full(3, step, np.float32),
        base_action=np.full(2, step, np.float32),
        residual=np.zeros(2, np.float32),
        executed_action=np.full(2, step + 0.5, np.float32),
        authority=1.0,
        weights_version=1,
        flags=Flag.FINAL if final else Flag.NONE,
    )


def episode(length, outcome, extra=True):
    steps = [record(step) for step in range(length)] + ([record(length, True)] if extra else [])
    return build_episode(
        steps, episode_id=1, task='t', seed=0, arm=Arm.RESIDUAL, outcome=outcome,
        success=outcome == Phase.SUCCESS, last_step=length - 1,
    )  # fmt: skip


def test_a_success_ends_and_is_discounted():
    got = build_transitions(episode(5, Phase.SUCCESS), GAMMA, 3)
    # reward 1 at step 4; windows from 2, 3 and 4 reach it
    assert got.reward == pytest.approx([0, 0, 0.81, 0.9, 1.0])
    assert got.discount == pytest.approx([0.729, 0.729, 0, 0, 0])
    assert list(got.next_row[:2]) == [3, 4]
    assert got.mc_return == pytest.approx([0.9**4, 0.9**3, 0.81, 0.9, 1.0])


def test_what_was_executed_is_stored_and_not_base_and_residual():
    got = build_transitions(episode(3, Phase.SUCCESS), GAMMA, 3)  # the supervisor limited it: base and residual differ
    assert got.base_action[:3, 0] == pytest.approx([0, 1, 2])
    assert got.action[:3, 0] == pytest.approx([0.5, 1.5, 2.5])


def test_a_failure_ends_without_reward():
    got = build_transitions(episode(4, Phase.FAILURE), GAMMA, 3)
    assert not got.reward.any()
    assert got.discount == pytest.approx([0.729, 0, 0, 0])
    assert not got.mc_return.any()


@pytest.mark.parametrize(
    ('outcome', 'reward', 'discount'),
    [
        (Phase.SUCCESS, [0.729, 0.81, 0.9, 1.0], [0, 0, 0, 0]),
        (Phase.FAILURE, [0, 0, 0, 0], [0, 0, 0, 0]),
        (Phase.TIMEOUT, [0, 0, 0, 0], [0.6561, 0.729, 0.81, 0.9]),
    ],
)
def test_a_return_longer_than_the_episode_ends_with_it(outcome, reward, discount):
    got = build_transitions(episode(4, outcome), GAMMA, 10)
    assert got.reward == pytest.approx(reward)
    assert got.discount == pytest.approx(discount)
    assert outcome != Phase.TIMEOUT or list(got.next_row) == [4, 4, 4, 4]


def test_a_time_out_bootstraps():
    got = build_transitions(episode(4, Phase.TIMEOUT), GAMMA, 3)
    assert not got.reward.any()
    assert got.discount == pytest.approx([0.729, 0.729, 0.81, 0.9])
    assert list(got.next_row) == [3, 4, 4, 4]
    assert not got.mc_return.any()
    assert len(got.state) == 5 and got.state[4, 0] == 4  # the last observation is there


def test_an_episode_cut_off_bootstraps_from_the_last_observation_there_is():
    got = build_transitions(episode(4, Phase.TIMEOUT, extra=False), GAMMA, 3)
    assert len(got) == 3
    assert list(got.next_row) == [3, 3, 3]
    assert (got.discount > 0).all()


def test_an_aborted_episode_teaches_nothing():
    assert len(build_transitions(episode(4, Phase.ABORTED), GAMMA, 3)) == 0


def test_steps_after_the_judged_one_are_dropped():
    steps = [record(step) for step in (0, 1, 2, 3, 4)]
    both = [
        build_episode(
            steps[:count], episode_id=1, task='t', seed=0, arm=Arm.BASE, outcome=Phase.SUCCESS,
            success=True, last_step=2,
        )
        for count in (3, 5)
    ]  # fmt: skip
    assert both[0].state.tobytes() == both[1].state.tobytes()
    assert both[0].length == both[1].length == 3


def test_a_missing_or_doubled_step_is_refused():
    for steps in ([0, 2], [0, 0, 1], [1]):
        with pytest.raises(ValueError, match='not all there exactly once'):
            build_episode(
                [record(step) for step in steps], episode_id=1, task='t', seed=0, arm=Arm.BASE,
                outcome=Phase.SUCCESS, success=True, last_step=max(steps),
            )  # fmt: skip


def test_a_corrected_label_changes_the_return():
    wrong = episode(4, Phase.TIMEOUT)
    right = build_transitions(wrong.relabelled(True), GAMMA, 3)
    assert right.reward == pytest.approx([0, 0.81, 0.9, 1.0])
    assert right.discount == pytest.approx([0.729, 0, 0, 0])
