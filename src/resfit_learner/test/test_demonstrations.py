"""Bad demonstrations: each a clear error before anything is trained."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from test_learner import DEMOS, HOME, SMALL, TASK

from resfit_learner.bc import BcConfig, train_base
from resfit_learner.demonstrations import check_demonstrations, read_demonstrations
from resfit_learner.export import write_episode
from resfit_learner.learner import Learner
from resfit_policy.episode_log import Episode
from resfit_policy.task import ConfigError, load_task

ORDER = np.roll(np.arange(29), 7)


def failed(episode: Episode) -> Episode:
    return episode.relabelled(False)


def with_value(value: float, part: str = 'state'):
    def change(episode: Episode) -> Episode:
        changed = getattr(episode, part).copy()
        changed[3, 5] = value
        return replace(episode, **{part: changed})

    return change


def of_constant_objects(episode: Episode) -> Episode:
    return replace(episode, state=np.hstack([episode.state[:, :29], np.ones_like(episode.state[:, 29:])]))


def of_a_silent_tracker(episode: Episode) -> Episode:
    return replace(episode, state=np.hstack([episode.state[:, :32], np.ones_like(episode.state[:, 32:])]))


def with_silent_joints(episode: Episode) -> Episode:
    return replace(episode, state=np.hstack([np.tile(HOME, (len(episode.state), 1)), episode.state[:, 29:]]))


def with_a_silent_joint(episode: Episode) -> Episode:
    state, joint = episode.state.copy(), TASK.robot.names.index('R_arm_j3')
    state[:, joint] = DEMOS[0].state[0, joint]
    return replace(episode, state=state)


def in_another_order_by_name(episode: Episode) -> Episode:
    one, two = (TASK.robot.names.index(f'R_arm_j{number}') for number in (1, 2))
    names = list(TASK.robot.names)
    names[one], names[two] = names[two], names[one]
    return replace(episode, joints=tuple(names))


def at_rest(episode: Episode) -> Episode:
    return replace(episode, executed_action=np.full_like(episode.executed_action, HOME))


def in_another_order(episode: Episode) -> Episode:
    return replace(
        episode,
        state=np.hstack([episode.state[:, ORDER], episode.state[:, 29:]]),
        executed_action=np.ascontiguousarray(episode.executed_action[:, ORDER]),
    )


def with_actions_in_another_order(episode: Episode) -> Episode:
    legal = np.clip(episode.executed_action[:, ORDER], TASK.robot.lower, TASK.robot.upper)
    return replace(episode, executed_action=legal.astype(np.float32))


def with_larger_images(episode: Episode) -> Episode:
    return replace(episode, images=np.zeros((len(episode.state), 2, 96, 96, 3), np.uint8))


@pytest.mark.parametrize(
    ('change', 'said'),
    [
        (failed, 'none of the demonstrations is a success'),
        (with_value(np.nan), 'not finite'),
        (with_value(np.inf), 'not finite'),
        (with_value(np.nan, 'executed_action'), 'not finite'),
        (at_rest, 'one and the same action'),
        (of_constant_objects, 'ball, tote: the same throughout'),
        (of_a_silent_tracker, 'tote: the same throughout'),
        (with_a_silent_joint, 'R_arm_j3: the same throughout'),
        (in_another_order_by_name, 'has R_arm_j2 where robot vega_1 has R_arm_j1'),
        (with_silent_joints, 'joint positions: the same throughout'),
        (in_another_order, 'another order'),
        (with_actions_in_another_order, 'another order'),
        (with_larger_images, r'images .*\(2, 96, 96\).*84 x 84'),
    ],
)
def test_bad_demonstrations_are_refused_before_training(change, said):
    bad = [change(episode) for episode in DEMOS]
    with pytest.raises(ConfigError, match=said):
        check_demonstrations(TASK, bad)
    with pytest.raises(ConfigError, match=said):
        Learner(SMALL, TASK, bad)
    with pytest.raises(ConfigError, match=said):
        train_base(BcConfig(steps=1), TASK, bad, 0)


def test_those_of_another_task_are_refused():
    with pytest.raises(ConfigError, match='recorded for another task'):
        check_demonstrations(load_task('package_handover'), DEMOS)
    with pytest.raises(ConfigError, match='recorded for task woolly_ball, not for another_ball'):
        check_demonstrations(replace(TASK, name='another_ball'), DEMOS)  # of the same sizes


def test_a_task_seen_by_cameras_needs_images():
    blind = [replace(episode, state=episode.state[:, :29]) for episode in DEMOS]
    with pytest.raises(ConfigError, match='2 cameras of 84 x 84'):
        check_demonstrations(TASK.without_poses(), blind)


def test_they_are_checked_as_they_are_read(tmp_path):
    for number, episode in enumerate(DEMOS[:2], 1):
        write_episode(tmp_path / f'{number:06d}-{number:06d}', in_another_order(episode))
    with pytest.raises(ConfigError, match='another order'):
        read_demonstrations(TASK, tmp_path)


def test_a_constant_joint_or_coordinate_is_no_fault():
    resting = []
    for episode in DEMOS:
        state, action = episode.state.copy(), episode.executed_action.copy()
        state[:, [4, 31]], action[:, 4] = HOME[4], HOME[4]
        resting.append(replace(episode, state=state, executed_action=action))
    check_demonstrations(TASK, resting)
    learner = Learner(SMALL, TASK, resting)
    learner.ingest(1, resting[0])
    learner.update()
    assert np.isfinite(list(learner.metrics.values())).all()


def test_a_container_may_stand_still_for_one_demonstration_but_not_the_whole_scene():
    check_demonstrations(TASK, [of_a_silent_tracker(DEMOS[0])])
    with pytest.raises(ConfigError, match='ball, tote: the same throughout'):
        check_demonstrations(TASK, [of_constant_objects(DEMOS[0])])
    with pytest.raises(ConfigError, match='joint positions: the same throughout'):
        check_demonstrations(TASK, [with_silent_joints(of_a_silent_tracker(DEMOS[0]))])
