"""Resets, determinism, the success oracle, and what happens when things go wrong."""

import subprocess
import sys
from dataclasses import replace

import mujoco
import numpy as np
import pytest

from resfit_policy.observation import Observation
from resfit_policy.task import load_task
from resfit_sim.experts import make_expert
from resfit_sim.simulation import HOME, Simulation, SimulationError

FINGERPRINT = """
import hashlib
from resfit_policy.task import load_task
from resfit_sim.simulation import HOME, Simulation
simulation = Simulation(load_task('woolly_ball'), 'demonstrated')
simulation.reset(17)
for _ in range(40):
    simulation.apply(HOME)
print(hashlib.sha256(simulation.data.qpos.tobytes() + simulation.data.qvel.tobytes()).hexdigest())
"""


def run(simulation: Simulation, seed: int, ticks: int) -> np.ndarray:
    """Positions after a wild but deterministic motion: (ticks, nq)."""
    simulation.reset(seed)
    positions = []
    for tick in range(ticks):
        simulation.apply(HOME + 0.3 * np.sin(0.05 * tick * np.arange(29)))
        positions.append(simulation.data.qpos.copy())
    return np.array(positions)


def test_same_seed_same_trajectory_to_the_bit_whatever_came_before(simulation: Simulation) -> None:
    first = run(simulation, 5, 60)
    run(simulation, 6, 30)
    assert run(simulation, 5, 60).tobytes() == first.tobytes()
    other = Simulation(simulation.task, simulation.variant)
    assert run(other, 5, 60).tobytes() == first.tobytes()


def test_same_seed_same_start_in_another_process() -> None:
    command = [sys.executable, '-c', FINGERPRINT]
    runs = [subprocess.run(command, capture_output=True, text=True, check=True).stdout for _ in range(2)]
    assert len(runs[0].strip()) == 64
    assert runs[0] == runs[1]


def test_starts_differ_between_seeds_and_stay_within_the_layout(simulation: Simulation) -> None:
    plan, places = simulation.layout, []
    for seed in range(30):
        simulation.reset(seed)
        poses = simulation.object_poses()
        x, y, z = poses[plan.object_name][0]
        assert plan.object_x[0] <= x <= plan.object_x[1]
        assert plan.object_y[0] <= y <= plan.object_y[1]
        assert z == pytest.approx(plan.rest_height)
        places.append((x, y))
    assert len(set(places)) == 30


def test_state_holds_joints_then_poses_in_the_tasks_order(simulation: Simulation) -> None:
    simulation.reset(3)
    state, poses = simulation.state(), simulation.object_poses()
    assert state.shape == (simulation.task.state_size,)
    assert state.dtype == np.float32
    np.testing.assert_allclose(state[:29], simulation.joint_positions(), atol=1e-6)
    start = 29
    for item in simulation.task.objects:
        np.testing.assert_allclose(state[start : start + 3], poses[item.name][0], atol=1e-6)
        if item.pose == 'full':
            axes = simulation.data.body(item.name).xmat.reshape(3, 3)
            np.testing.assert_allclose(state[start + 3 : start + 9], axes.T[:2].ravel(), atol=1e-6)
        start += item.size


def test_quaternions_are_xyzw(simulation: Simulation) -> None:
    simulation.reset(3)
    _, quat = simulation.object_poses()[simulation.layout.object_name]
    assert quat[3] > 0.9
    assert np.linalg.norm(quat) == pytest.approx(1)


def test_nothing_is_welded_and_all_but_the_container_is_free(simulation: Simulation) -> None:
    model = simulation.model
    assert set(model.eq_type.tolist()) == {int(mujoco.mjtEq.mjEQ_JOINT)}
    names = {model.joint(i).name for e in range(model.neq) for i in (model.eq_obj1id[e], model.eq_obj2id[e])}
    for name in simulation.object_poses().keys() - {simulation.layout.container}:
        assert model.joint(name).type[0] == mujoco.mjtJoint.mjJNT_FREE
        assert name not in names


def place(simulation: Simulation, offset: tuple[float, float, float]) -> None:
    """Put the object at ``offset`` from the container's floor, at rest, and the lid, if there is one, on the rim."""
    plan, (container, quat) = simulation.layout, simulation.object_poses()[simulation.layout.container]
    start = simulation.model.joint(plan.object_name).qposadr[0]
    simulation.data.qpos[start : start + 3] = container + offset
    if plan.lid:
        rim = container + [0, 0, 2 * plan.container_size[2] + plan.lid.THICKNESS]
        simulation._place('lid', [*rim], 2 * np.arctan2(quat[2], quat[3]))
    mujoco.mj_forward(simulation.model, simulation.data)


def test_success_needs_the_object_at_rest_inside_the_container(simulation: Simulation) -> None:
    simulation.reset(0)
    assert not simulation.success()
    place(simulation, (0, 0, 0.07))
    for _ in range(5):
        simulation.apply(simulation.joint_positions())
    assert not simulation.success(), 'still falling'
    for _ in range(150):
        simulation.apply(HOME)
    assert simulation.success()
    place(simulation, (0.3, -0.35, simulation.layout.size[-1]))
    assert not simulation.success(), 'beside the container'


def test_success_is_not_given_while_the_hand_still_holds() -> None:
    task = load_task('woolly_ball')
    simulation, expert = Simulation(task, 'demonstrated'), make_expert('woolly_ball', 'demonstrated')
    simulation.reset(11)
    for _ in range(40):  # until the ball is lifted
        target = expert.act(Observation(simulation.state()))
        for _ in range(task.ticks):
            simulation.apply(target)
    assert simulation.touched_by_robot()
    held = simulation.object_poses()['ball'][0]
    assert held[2] > simulation.layout.rest_height + 0.02
    simulation.data.mocap_pos[0] = held - [0, 0, 0.04]  # the tote comes to the hand
    simulation.data.qvel[:] = 0
    mujoco.mj_forward(simulation.model, simulation.data)
    assert simulation.touched_by_robot()
    assert not simulation.success()


def test_the_package_sags_over_an_edge_and_straightens_again() -> None:
    simulation = Simulation(load_task('package_handover'), 'unseen')
    centre, end = (simulation.data.body(name).xpos for name in ('package', 'package_4'))
    simulation.reset(0)
    edge = simulation.model.geom('table').size[1]
    half = simulation.layout.size[1]
    for y, low, high in ((edge - 0.4 * half, 0.01, 0.1), (edge - 2 * half, -0.002, 0.002)):
        simulation._place('package', [0.4, y, simulation.layout.rest_height + 0.03], yaw=0.0)
        for _ in range(100):
            simulation.apply(HOME)
        assert low < centre[2] - end[2] < high


def test_a_hand_on_the_packages_end_touches_the_package() -> None:
    simulation = Simulation(load_task('package_handover'), 'unseen')
    finger = simulation.data.body('R_ff_l2').xpos.copy()
    half = simulation.layout.size[1]
    for gap, touched in ((0.1 * half, True), (1.5 * half, False)):
        simulation._place('package', [finger[0], finger[1] + 0.9 * half + gap, finger[2]], yaw=0.0)
        mujoco.mj_forward(simulation.model, simulation.data)
        assert simulation.touched_by_robot() == touched


@pytest.mark.parametrize('bad', [np.zeros(28), np.full(29, np.nan), np.full(29, np.inf)])
def test_an_unusable_command_is_refused_and_nothing_moves(ball: Simulation, bad: np.ndarray) -> None:
    ball.reset(0)
    before = ball.data.qpos.copy()
    with pytest.raises(ValueError, match='29 finite joint positions'):
        ball.apply(bad)
    assert (ball.data.qpos == before).all()


def test_a_violent_command_never_gives_nan(ball: Simulation) -> None:
    ball.reset(0)
    random, robot = np.random.default_rng(0), ball.task.robot
    for _ in range(60):
        try:
            ball.apply(np.where(random.random(29) < 0.5, robot.lower, robot.upper))
        except SimulationError:
            break
        assert np.isfinite(ball.state()).all()


def test_a_package_crushed_by_a_hand_stays_whole() -> None:
    simulation = Simulation(load_task('package_handover'), 'unseen')
    robot = simulation.task.robot
    for seed in (1, 15):  # with the fast integrator these two explode
        random = np.random.default_rng(seed)
        simulation.reset(seed)
        finger = simulation.data.body('R_ff_l2').xpos + [0, 0.05, -0.02]
        simulation._place('package', list(finger), random.uniform(-1, 1))
        mujoco.mj_forward(simulation.model, simulation.data)
        for tick in range(300):
            if tick % 10 == 0:
                target = np.clip(simulation.joint_positions() + random.uniform(-0.5, 0.5, 29), robot.lower, robot.upper)
            simulation.apply(target)


def test_unstable_physics_raises_instead_of_resetting_silently(ball: Simulation) -> None:
    ball.reset(0)
    ball.data.qvel[:] = 1e12
    with pytest.raises(SimulationError, match='reset the episode'):
        ball.apply(HOME)
    ball.reset(0)
    ball.apply(HOME)


def test_a_tick_that_is_no_multiple_of_the_physics_step_is_refused() -> None:
    with pytest.raises(ValueError, match='choose 200, 100 or 50 Hz'):
        Simulation(replace(load_task('woolly_ball'), command_hz=500.0))


@pytest.mark.parametrize(('task', 'variant', 'word'), [('woolly_ball', 'huge', 'demonstrated, unseen')])
def test_unknown_variant_lists_the_known_ones(task: str, variant: str, word: str) -> None:
    with pytest.raises(ValueError, match=word):
        Simulation(load_task(task), variant)
