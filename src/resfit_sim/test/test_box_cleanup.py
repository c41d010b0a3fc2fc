"""When a box counts as closed over its block."""

import mujoco
import numpy as np
import pytest

from resfit_policy.task import load_task
from resfit_sim.simulation import HOME, Simulation

RIM = 0.086  # m, the lid's centre above the box's floor when it lies on the rim, and 2 mm more
TILT = (np.cos(0.3), np.sin(0.3), 0, 0)  # quaternion (w, x, y, z)


@pytest.fixture
def closed() -> Simulation:
    """The block in the box, the lid on it, everything at rest."""
    simulation = Simulation(load_task('box_cleanup'), 'unseen')
    simulation.reset(4)
    put(simulation, 'block', (0, 0, 0.05))
    put(simulation, 'lid', (0, 0, RIM))
    settle(simulation)
    return simulation


def put(
    simulation: Simulation,
    name: str,
    offset: tuple[float, float, float],
    yaw: float = 0.0,
    turned: tuple[float, ...] = (1, 0, 0, 0),
) -> None:
    """Put ``name`` at ``offset`` in the box's frame, its sides along the box's but for ``yaw`` and ``turned``."""
    box, quat = simulation.object_poses()['box']
    heading = 2 * np.arctan2(quat[2], quat[3])
    turn = np.array([[np.cos(heading), -np.sin(heading)], [np.sin(heading), np.cos(heading)]])
    simulation._place(name, [*(box[:2] + turn @ offset[:2]), box[2] + offset[2]], heading + yaw)
    place = simulation.data.joint(name).qpos
    upright = place[3:].copy()
    mujoco.mju_mulQuat(place[3:], upright, np.array(turned, float))
    mujoco.mj_forward(simulation.model, simulation.data)


def settle(simulation: Simulation) -> None:
    for _ in range(100):
        simulation.apply(HOME)


def test_block_inside_and_lid_on_the_rim_is_success(closed: Simulation) -> None:
    assert closed.success()


@pytest.mark.parametrize(
    ('name', 'offset', 'yaw', 'turned'),
    [
        ('block', (0.0, -0.2, 0.03), 0.0, (1, 0, 0, 0)),  # beside the box
        ('block', (0.0, 0.0, 0.19), 0.0, (1, 0, 0, 0)),  # over the box, and then on the lid or beside it
        ('lid', (0.0, 0.25, 0.004), 0.0, (1, 0, 0, 0)),  # on the table
        ('lid', (0.0, 0.04, RIM), 0.0, (1, 0, 0, 0)),  # on the rim, leaves a gap
        ('lid', (0.0, 0.0, RIM), np.pi / 4, (1, 0, 0, 0)),  # corners uncovered
        ('lid', (0.0, 0.05, 0.11), 0.0, TILT),  # one side slides into the box
    ],
)
def test_everything_else_is_not(
    closed: Simulation, name: str, offset: tuple[float, float, float], yaw: float, turned: tuple[float, ...]
) -> None:
    put(closed, name, offset, yaw, turned)
    settle(closed)
    assert np.abs(closed.data.qvel).max() < 0.05, 'judged for its place, not its motion'
    assert not closed.success()


def test_a_lid_a_little_askew_still_closes_the_box(closed: Simulation) -> None:
    put(closed, 'lid', (0.008, -0.008, RIM), yaw=0.1)
    settle(closed)
    assert closed.success()


def test_a_hand_on_the_lid_is_not_yet_success(closed: Simulation) -> None:
    def shift(offset: np.ndarray) -> None:
        """Move box, block and lid as one."""
        closed.data.mocap_pos[0] += offset
        for name in ('block', 'lid'):
            closed.data.joint(name).qpos[:3] += offset
        mujoco.mj_forward(closed.model, closed.data)

    finger, lid = closed.data.body('L_mf_l2').xpos.copy(), closed.object_poses()['lid'][0]
    shift(finger - lid - [0, 0, 0.01])
    assert closed.touched_by_robot()
    assert not closed.success()
    shift(np.array([0, 0, -0.15]))
    assert closed.success()
