"""The collision gate with Vega: what is clear, what is found, and what a check costs."""

from __future__ import annotations

import time

import numpy as np
import pytest
from numpy.typing import NDArray

from resfit_policy.collision import CollisionGate, load_collision_model
from resfit_policy.supervisor import Supervisor
from resfit_policy.task import load_task, task_names
from resfit_sim.kinematics import ARM, Kinematics, Side, hand_axes
from resfit_sim.scene import TABLE_TOP
from resfit_sim.simulation import ARM_JITTER, HOME

TASK = load_task('woolly_ball')
INTO_CHEST = np.array([-2.18, 0.21, -0.5, -1.6, -0.52, -0.18, -0.3])  # of the right arm, its forearm 13 cm inside


@pytest.fixture(scope='module')
def gate() -> CollisionGate:
    robot = TASK.robot
    return CollisionGate(load_collision_model(robot.collision, TASK.obstacles), robot.names, robot.soft)


@pytest.fixture(scope='module')
def kinematics() -> Kinematics:
    return Kinematics()


def reaching(kinematics: Kinematics, side: Side, point: list[float]) -> NDArray[np.float64]:
    """HOME (29,) rad but for one arm: its wrist at ``point`` m, its palm inward and its fingers forward."""
    found = kinematics.solve(side, HOME, np.array(point), hand_axes(0, 0, 0, side), np.zeros(3))
    assert found.position_error < 0.03
    return found.joints


def test_every_task_knows_its_table() -> None:
    for name in task_names():
        (table,) = load_task(name).obstacles
        assert table.position[2] + table.half_size[2] == pytest.approx(TABLE_TOP)


def test_home_is_clear_wherever_the_arms_start(gate: CollisionGate) -> None:
    random = np.random.default_rng(0)
    assert gate.hits(HOME) == ''
    for _ in range(50):
        joints = HOME.copy()
        joints[:7] += random.uniform(-ARM_JITTER, ARM_JITTER, 7)
        assert gate.hits(joints) == ''


@pytest.mark.parametrize('side', ['R', 'L'])
def test_an_arm_in_the_torso_is_found(gate: CollisionGate, side: Side) -> None:
    joints = HOME.copy()
    joints[ARM[side]] = INTO_CHEST if side == 'R' else INTO_CHEST * [-1, -1, -1, 1, -1, -1, -1]
    assert gate.hits(joints).startswith(f'torso_l3 and {side}_arm_l5, 13')


def test_arms_in_each_other_are_found(gate: CollisionGate, kinematics: Kinematics) -> None:
    right, left = (reaching(kinematics, side, [0.50, -0.05, 1.20]) for side in ('R', 'L'))
    assert gate.hits(right) == gate.hits(left) == ''
    right[ARM['L']] = left[ARM['L']]
    assert gate.hits(right).startswith('L_arm_l7 and R_arm_l7, ')


def test_a_hand_pressed_into_the_table_is_found(gate: CollisionGate, kinematics: Kinematics) -> None:
    assert gate.hits(reaching(kinematics, 'R', [0.35, -0.20, TABLE_TOP + 0.06])) == ''
    assert gate.hits(reaching(kinematics, 'R', [0.35, -0.20, TABLE_TOP - 0.02])).startswith('table and R_hand_base, ')


def test_an_arm_that_is_sent_into_the_torso_stops_before_it_touches_anything(gate: CollisionGate) -> None:
    supervisor = Supervisor(TASK, hits=gate.hits)
    supervisor.reset(HOME)
    goal = HOME.astype(np.float32)
    goal[ARM['R']] = INTO_CHEST
    outcomes = [supervisor.apply(goal, np.zeros_like(goal), 1.0) for _ in range(40)]
    assert not any(gate.hits(outcome.executed) for outcome in outcomes)
    assert not outcomes[0].held and outcomes[-1].held and outcomes[-1].why
    assert not supervisor.apply(HOME.astype(np.float32), np.zeros_like(goal), 1.0).held, 'it may go back'


def test_fingers_may_close_on_each_other(gate: CollisionGate) -> None:
    strict = CollisionGate(gate.model, TASK.robot.names, depth=0.005)
    joints = HOME.copy()
    joints[14:26] = np.where(np.array(['th_j0' in name for name in TASK.robot.names[14:26]]), 1.2, -1.0)
    assert '_th_' in strict.hits(joints) or '_ff_' in strict.hits(joints)
    assert gate.hits(joints) == ''


def test_a_check_takes_less_than_a_millisecond(gate: CollisionGate) -> None:
    random, cost = np.random.default_rng(0), []
    for _ in range(300):
        joints = random.uniform(TASK.robot.lower, TASK.robot.upper)
        started = time.thread_time()
        gate.hits(joints)
        cost.append(time.thread_time() - started)
    assert np.median(cost) < 1e-3
