"""The demonstrators solve their tasks from the observation alone."""

import gymnasium
import numpy as np
import pytest

import resfit_sim
from resfit_policy.observation import Observation
from resfit_policy.task import load_task
from resfit_sim.experts import make_expert
from resfit_sim.kinematics import ARM, HAND, Kinematics, hand_axes
from resfit_sim.scene import VARIANTS
from resfit_sim.simulation import HOME

NAMES = {task: name for name, task in resfit_sim.ENVIRONMENTS.items()}


@pytest.mark.parametrize('task', sorted(NAMES))
def test_experts_solve_at_least_11_of_12_fresh_starts(task: str) -> None:
    robot, solved = load_task(task).robot, 0
    for variant in VARIANTS:
        env, expert = gymnasium.make(NAMES[task], variant=variant), make_expert(task, variant)
        for seed in range(8100, 8106):
            seen, _ = env.reset(seed=seed)
            expert.reset()
            done = False
            while not done:
                action = expert.act(Observation(seen))
                assert action.dtype == np.float32
                assert (action >= robot.lower - 1e-3).all() and (action <= robot.upper + 1e-3).all()
                seen, _, terminated, truncated, _ = env.step(action)
                done = terminated or truncated
            solved += terminated
        env.close()
    assert solved >= 11


def test_no_part_of_the_robot_but_fingers_touches_another_while_an_expert_works() -> None:
    for task in sorted(NAMES):
        env, expert = gymnasium.make(NAMES[task], variant='demonstrated'), make_expert(task, 'demonstrated')
        simulation = env.unwrapped.simulation
        seen, _ = env.reset(seed=8300)
        done = False
        while not done:
            seen, _, terminated, truncated, _ = env.step(expert.act(Observation(seen)))
            done = terminated or truncated
            bodies = simulation.model.geom_bodyid[simulation.data.contact.geom]
            for pair in bodies[(simulation.model.body_rootid[bodies] == simulation.model.body('base').id).all(axis=1)]:
                names = [simulation.model.body(body).name for body in pair]
                assert all(name.endswith(('_l1', '_l2')) and 'arm' not in name for name in names), names
        env.close()


def test_targets_respect_the_speed_limits() -> None:
    env = gymnasium.make(NAMES['woolly_ball'], variant='demonstrated')
    task, expert = load_task('woolly_ball'), make_expert('woolly_ball', 'demonstrated')
    seen, _ = env.reset(seed=8200)
    last = seen[:29]
    for _ in range(70):
        action = expert.act(Observation(seen))
        assert (np.abs(action - last) <= task.robot.velocity / task.control_hz + 1e-6).all()
        seen, *_ = env.step(action)
        last = action
    env.close()


def test_an_expert_forgets_the_last_episode_at_reset() -> None:
    env = gymnasium.make(NAMES['woolly_ball'], variant='demonstrated')
    used, fresh = make_expert('woolly_ball', 'demonstrated'), make_expert('woolly_ball', 'demonstrated')
    first, _ = env.reset(seed=1)
    for _ in range(25):
        used.act(Observation(first))
    used.reset()
    second, _ = env.reset(seed=2)
    assert used.act(Observation(second)).tobytes() == fresh.act(Observation(second)).tobytes()
    env.close()


@pytest.mark.parametrize('side', ['R', 'L'])
def test_inverse_kinematics_reaches_what_forward_kinematics_gives(side: str) -> None:
    kinematics, random = Kinematics(), np.random.default_rng(3)
    offset = np.array([0.1, 0.05, 0.0])
    for _ in range(10):
        there = HOME.copy()
        there[ARM[side]] += random.uniform(-0.3, 0.3, 7)
        wrist, axes = kinematics.hand_pose(side, there)
        solution = kinematics.solve(side, HOME, wrist + axes @ offset, axes, offset, iterations=200)
        assert solution.position_error < 2e-3
        assert solution.rotation_error < 1e-2
        untouched = np.ones(29, bool)
        untouched[ARM[side]] = False
        assert (solution.joints[untouched] == HOME[untouched]).all()


def test_an_unreachable_point_is_reported_not_hidden() -> None:
    axes = hand_axes(0.5, 0.3, 0.2)
    solution = Kinematics().solve('R', HOME, np.array([3.0, 0, 1]), axes, np.zeros(3))
    assert solution.position_error > 1
    assert np.isfinite(solution.joints).all()


def test_left_hand_axes_mirror_the_right_ones() -> None:
    kinematics = Kinematics()
    mirrored = HOME.copy()
    mirrored[ARM['L']] = HOME[ARM['R']] * [-1, -1, -1, 1, -1, -1, -1]
    mirrored[HAND['L']] = HOME[HAND['R']]
    right, right_axes = kinematics.hand_pose('R', mirrored)
    left, left_axes = kinematics.hand_pose('L', mirrored)
    np.testing.assert_allclose(left, right * [1, -1, 1], atol=2e-3)
    np.testing.assert_allclose(left_axes, np.diag([1, -1, 1]) @ right_axes, atol=2e-3)


def test_unknown_task_names_what_there_is() -> None:
    with pytest.raises(ValueError, match='woolly_ball'):
        make_expert('fold_shirt', 'unseen')
