"""The Gymnasium environments, by Gymnasium's own checker and by ours."""

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

import resfit_sim
from resfit_policy.task import load_task


@pytest.mark.parametrize('name', sorted(resfit_sim.ENVIRONMENTS))
@pytest.mark.parametrize('observation', ['state', 'vision'])
@pytest.mark.filterwarnings('ignore:.*symmetric and normalized')  # actions are joint positions, rad
@pytest.mark.filterwarnings('error')
def test_gymnasiums_checker_is_content(name: str, observation: str) -> None:
    env = gymnasium.make(name, observation=observation, render_mode='rgb_array')
    check_env(env.unwrapped)
    env.close()


def test_shapes_are_those_of_the_task() -> None:
    task = load_task('package_handover')
    env = gymnasium.make('resfit/VegaPackageHandover-v0', observation='vision')
    seen, _ = env.reset(seed=1)
    assert seen['state'].shape == (29,)
    assert seen['images'].shape == (2, task.image_size, task.image_size, 3)
    assert seen['images'].dtype == np.uint8
    np.testing.assert_allclose(env.action_space.low, task.robot.lower, atol=1e-6)
    env.close()


def test_the_horizon_truncates_and_does_not_terminate() -> None:
    env = gymnasium.make('resfit/VegaWoollyBall-v0')
    seen, _ = env.reset(seed=4)
    action, steps, truncated = seen[:29], 0, False
    while not truncated:
        _, reward, terminated, truncated, info = env.step(action)
        steps += 1
        assert not terminated
        assert reward == 0.0
        assert info['success'] is False
    assert steps == load_task('woolly_ball').horizon
    env.close()


def test_an_action_is_reached_no_faster_than_the_joints_may_move() -> None:
    env = gymnasium.make('resfit/VegaWoollyBall-v0')
    task = load_task('woolly_ball')
    seen, _ = env.reset(seed=4)
    wanted = seen[:29].copy()
    wanted[0] += 1.0
    moved, *_ = env.step(wanted)
    assert 0 < moved[0] - seen[0] <= task.robot.velocity[0] / task.control_hz + 1e-3
    env.close()


def test_same_seed_same_episode_and_unseeded_resets_go_on_from_it() -> None:
    def starts(env: gymnasium.Env) -> list[bytes]:
        return [env.reset(seed=9)[0].tobytes(), env.reset()[0].tobytes(), env.reset()[0].tobytes()]

    env = gymnasium.make('resfit/VegaWoollyBall-v0')
    first = starts(env)
    assert len(set(first)) == 3
    assert starts(env) == first
    env.close()


def test_the_variant_changes_the_object() -> None:
    heights = []
    for variant in ('demonstrated', 'unseen'):
        env = gymnasium.make('resfit/VegaWoollyBall-v0', variant=variant)
        heights.append(env.reset(seed=0)[0][31])
        env.close()
    assert heights[0] - heights[1] == pytest.approx(0.033 - 0.028, abs=1e-5)  # the radii
