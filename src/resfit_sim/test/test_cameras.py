"""What the cameras see."""

import os
import subprocess
import sys

import mujoco
import numpy as np
import pytest

from resfit_policy.task import load_task
from resfit_sim.looks import BASELINE
from resfit_sim.simulation import Simulation

SIZE = 84


def move_object(simulation: Simulation, position: np.ndarray) -> None:
    start = simulation.model.joint(simulation.layout.object_name).qposadr[0]
    simulation.data.qpos[start : start + 3] = position
    mujoco.mj_forward(simulation.model, simulation.data)


def changed(before: np.ndarray, after: np.ndarray) -> int:
    """Pixels that differ clearly."""
    return int((np.abs(before.astype(int) - after).max(axis=2) > 25).sum())


@pytest.mark.parametrize('camera', ['head_left', 'head_right', 'overview'])
def test_cameras_see_the_object_wherever_it_starts(simulation: Simulation, camera: str) -> None:
    for seed in range(6):
        simulation.reset(seed)
        before = simulation.render(camera, SIZE, SIZE)
        move_object(simulation, np.array([0.3, 0.0, -5.0]))
        assert changed(before, simulation.render(camera, SIZE, SIZE)) >= 4, seed
    simulation.close()


@pytest.mark.parametrize('camera', ['head_left', 'head_right'])
def test_head_cameras_see_the_container_and_both_hands_at_rest(simulation: Simulation, camera: str) -> None:
    simulation.reset(1)
    before = simulation.render(camera, SIZE, SIZE)
    tote = simulation.data.mocap_pos[0].copy()
    simulation.data.mocap_pos[0, 2] = -5
    mujoco.mj_forward(simulation.model, simulation.data)
    assert changed(before, simulation.render(camera, SIZE, SIZE)) > 100
    simulation.data.mocap_pos[0] = tote
    for joint in ('R_arm_j1', 'L_arm_j1'):
        simulation.reset(1)
        simulation.data.joint(joint).qpos += 0.5 if joint[0] == 'R' else -0.5
        mujoco.mj_forward(simulation.model, simulation.data)
        assert changed(before, simulation.render(camera, SIZE, SIZE)) > 20, joint
    simulation.close()


def test_a_bend_of_the_package_is_drawn() -> None:
    simulation = Simulation(load_task('package_handover'), 'unseen')
    straight = simulation.render('overview', 2 * SIZE, 2 * SIZE)
    end = simulation.model.body('package_4').jntadr[0]
    start = simulation.model.jnt_qposadr[end]
    simulation.data.qpos[start : start + 4] = [np.cos(0.5), 0, 0, np.sin(0.5)]  # 1 rad sideways
    mujoco.mj_forward(simulation.model, simulation.data)
    assert changed(straight, simulation.render('overview', 2 * SIZE, 2 * SIZE)) > 20
    simulation.close()


def test_no_camera_ever_looks_into_the_void(simulation: Simulation) -> None:
    simulation.reset(0)
    for pitch in (-1.4, 0.0, 1.4):
        simulation.data.joint('head_j1').qpos = pitch
        mujoco.mj_forward(simulation.model, simulation.data)
        for camera in ('head_left', 'head_right'):
            picture = simulation.render(camera, SIZE, SIZE)
            assert (picture.max(axis=2) == 0).mean() < 0.02
    simulation.close()


def test_the_head_cameras_are_a_stereo_pair(ball: Simulation) -> None:
    left, right = ball.data.camera('head_left'), ball.data.camera('head_right')
    assert np.linalg.norm(left.xpos - right.xpos) == pytest.approx(BASELINE)
    np.testing.assert_allclose(left.xmat, right.xmat, atol=1e-12)


def test_pictures_are_rgb_and_the_same_each_time(ball: Simulation) -> None:
    ball.reset(2)
    first, second = ball.render('overview', 48, 64), ball.render('overview', 48, 64)
    assert first.shape == (48, 64, 3)
    assert first.dtype == np.uint8
    assert first.tobytes() == second.tobytes()
    ball.close()


def test_rendering_does_not_touch_the_physics(ball: Simulation) -> None:
    def motion(draw: bool) -> bytes:
        ball.reset(4)
        for _ in range(10):
            ball.apply(ball.joint_positions())
            if draw:
                ball.render('head_left', 24, 24)
        return ball.data.qpos.tobytes()

    assert motion(draw=True) == motion(draw=False)
    ball.close()


def test_a_machine_that_cannot_render_says_what_to_install() -> None:
    script = (
        'import ctypes\n'
        'from resfit_sim import rendering\n'
        'def missing(name, *rest): raise OSError(name)\n'
        'rendering.ctypes.CDLL = missing\n'
        'rendering.select_backend()\n'
    )
    environment = {key: value for key, value in os.environ.items() if key != 'MUJOCO_GL'}
    ran = subprocess.run([sys.executable, '-c', script], capture_output=True, text=True, env=environment)
    assert ran.returncode != 0
    assert 'RenderError' in ran.stderr
    assert 'apt-get install' in ran.stderr


def test_an_episode_without_pictures_needs_no_renderer() -> None:
    simulation = Simulation(load_task('woolly_ball'), 'unseen')
    simulation.reset(0)
    simulation.apply(simulation.joint_positions())
    assert not simulation._cameras


@pytest.mark.parametrize('renderer', ['osmesa', 'no_such_renderer'])
def test_without_pictures_it_does_not_matter_which_renderer_is_asked_for(renderer: str) -> None:
    """mujoco itself cannot be imported where it does not have the renderer."""
    script = "from resfit_sim.env import VegaEnv; print(VegaEnv('woolly_ball').reset(seed=1)[0].shape)"
    environment = {**os.environ, 'MUJOCO_GL': renderer}
    ran = subprocess.run([sys.executable, '-c', script], capture_output=True, text=True, env=environment)
    assert ran.stdout == '(35,)\n', ran.stderr
