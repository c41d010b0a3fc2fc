"""Scripted experts: the demonstrators of the tasks. They see what a policy sees and nothing else."""

from __future__ import annotations

import math

import numpy as np

from resfit_policy.observation import BasePolicy
from resfit_policy.task import Task, load_task
from resfit_sim.experts_box import BoxCleanupExpert
from resfit_sim.scene import TABLE_TOP, layout
from resfit_sim.scripted import UP, Array, Grasp, Moves, ScriptedExpert


class WoollyBallExpert(ScriptedExpert):
    """Right hand: over the ball, down, close, lift, turn towards the tote, lower, open."""

    GRASPS = {
        'demonstrated': Grasp(
            roll=0.773, yaw=0.115, pitch=0.467, offset=(0.104, 0.051, 0.009), thumb_open=1.069,
            thumb_closed=1.163, thumb_flexion=0.875, flexion_open=0.15, flexion_closed=0.655, raise_by=0.003,
        ),
        'unseen': Grasp(
            roll=0.922, yaw=0.159, pitch=0.414, offset=(0.108, 0.0525, 0.003), thumb_open=1.126,
            thumb_closed=1.199, thumb_flexion=0.894, flexion_open=0.15, flexion_closed=0.808, raise_by=0.006,
        ),
    }  # fmt: skip
    CARRY_HEIGHT = 0.21  # m above the table
    TURN = 0.75  # rad towards the tote while carrying: with 0.6 or less, elbow and torso meet

    def __init__(self, task: Task, variant: str) -> None:
        super().__init__(task, variant)
        self.grasp = self.GRASPS[variant]

    def script(self) -> Moves:
        grasp, ball = self.grasp, self.seen(0)
        opened, closed = self.opened('R', grasp), self.closed('R', grasp)
        axes = grasp.axes('R')
        before = ball - axes[:, 1] * 0.09 - axes[:, 0] * 0.03 + UP * 0.03
        yield from self.reach('R', grasp, before, axes, opened, 16)
        hold = self.seen(0) + UP * grasp.raise_by
        yield from self.reach('R', grasp, hold, axes, opened, 10)
        yield from self.reach('R', grasp, hold, axes, closed, 10)
        carry = TABLE_TOP + self.CARRY_HEIGHT
        above = np.array([hold[0], hold[1], carry])
        yield from self.reach('R', grasp, above, axes, closed, 9)
        tote = self.seen(1)
        drop = np.array([tote[0], tote[1], carry])
        yield from self.reach('R', grasp, (above + drop) / 2, grasp.axes('R', self.TURN / 2), closed, 8)
        turned = grasp.axes('R', self.TURN)
        yield from self.reach('R', grasp, drop, turned, closed, 8)
        low = drop - UP * 0.05
        yield from self.reach('R', grasp, low, turned, closed, 5)
        yield from self.reach('R', grasp, low, turned, self.released('R', grasp), 7)


class PackageHandoverExpert(ScriptedExpert):
    """Right hand lifts the package by one end, left takes the other end, right lets go, left drops it."""

    GRASPS = {
        'demonstrated': Grasp(
            roll=1.299, yaw=0.554, pitch=0.565, offset=(0.1055, 0.051, -0.016), thumb_open=0.762,
            thumb_closed=1.314, thumb_flexion=0.934, flexion_open=0.18, flexion_closed=0.678, raise_by=0.006,
        ),
        'unseen': Grasp(
            roll=1.299, yaw=0.554, pitch=0.565, offset=(0.1055, 0.047, -0.016), thumb_open=0.762,
            thumb_closed=1.314, thumb_flexion=0.95, flexion_open=0.18, flexion_closed=0.72, raise_by=0.006,
        ),
    }  # fmt: skip
    REACH = 0.07  # m from the package's centre to where a hand holds it: nearer the end, what sags pulls it out
    LEFT_TURN = 0.2  # rad that the left hand follows the package's yaw at most: beyond, its wrist cannot
    MEETING = np.array([0.36, 0.03, TABLE_TOP + 0.20])  # where the package's centre is handed over

    def __init__(self, task: Task, variant: str) -> None:
        super().__init__(task, variant)
        self.grasp = self.GRASPS[variant]

    def package(self) -> tuple[Array, Array, float]:
        """Centre (3,) m, long axis (3,) pointing to the robot's left, and the axis's yaw [rad]."""
        pose = self.seen(0)
        axis = pose[6:9] * (1.0 if pose[7] > 0 else -1.0)
        return pose[:3], axis, math.atan2(-axis[0], axis[1])

    def script(self) -> Moves:
        yield from self.take_right()
        yield from self.take_left()
        yield from self.let_go_right()
        yield from self.drop_left()

    def take_right(self) -> Moves:
        grasp = self.grasp
        opened, closed = self.opened('R', grasp), self.closed('R', grasp)
        centre, axis, yaw = self.package()
        axes, hold = grasp.axes('R', yaw), centre - axis * self.REACH + UP * grasp.raise_by
        before = hold - axes[:, 1] * 0.09 - axes[:, 0] * 0.03 + UP * 0.03
        yield from self.reach('R', grasp, before, axes, opened, 18)
        yield from self.reach('R', grasp, hold, axes, opened, 10)
        yield from self.reach('R', grasp, hold, axes, closed, 10)
        yield from self.reach('R', grasp, hold + UP * 0.16, grasp.axes('R', yaw / 2), closed, 10)
        meet = self.MEETING - [0, self.REACH, 0]
        yield from self.reach('R', grasp, meet, grasp.axes('R'), closed, 14)

    def take_left(self) -> Moves:
        grasp = self.grasp
        opened, closed = self.opened('L', grasp), self.closed('L', grasp)
        yield from self.move(self._target, 2)  # let the package come to rest before it is looked at
        centre, axis, yaw = self.package()
        axes = grasp.axes('L', float(np.clip(yaw, -self.LEFT_TURN, self.LEFT_TURN)))
        hold = centre + axis * self.REACH + UP * grasp.raise_by
        before = hold - axes[:, 1] * 0.10 - axes[:, 0] * 0.05 + UP * 0.02
        yield from self.reach('L', grasp, before, axes, opened, 20)
        yield from self.reach('L', grasp, hold, axes, opened, 10)
        yield from self.reach('L', grasp, hold, axes, closed, 10)

    def let_go_right(self) -> Moves:
        grasp = self.grasp
        wrist, axes = self.kinematics.hand_pose('R', self._target)
        point = wrist + axes @ np.array(grasp.offset)
        away = point - axes[:, 1] * 0.10 - axes[:, 0] * 0.08 - [0, 0.05, 0]
        yield from self.reach('R', grasp, point, axes, self.released('R', grasp), 7)
        yield from self.reach('R', grasp, away, axes, self.released('R', grasp), 10)

    def drop_left(self) -> Moves:
        grasp = self.grasp
        closed = self.closed('L', grasp)
        wrist, axes = self.kinematics.hand_pose('L', self._target)
        centre, tote = self.seen(0)[:3], self.seen(1)
        held = wrist + axes @ np.array(grasp.offset) - centre  # from the package's centre to the grasp
        drop = np.array([tote[0] + held[0], tote[1] + held[1], TABLE_TOP + 0.20])
        axes = grasp.axes('L')
        yield from self.reach('L', grasp, drop, axes, closed, 16)
        low = drop - UP * 0.06
        yield from self.reach('L', grasp, low, axes, closed, 6)
        yield from self.reach('L', grasp, low, axes, self.released('L', grasp), 7)
        yield from self.reach('L', grasp, drop, axes, self.released('L', grasp), 10)


EXPERTS: dict[str, type[ScriptedExpert]] = {
    'woolly_ball': WoollyBallExpert,
    'package_handover': PackageHandoverExpert,
    'box_cleanup': BoxCleanupExpert,
}


def make_expert(task_name: str, variant: str) -> BasePolicy:
    """The demonstrator of one task. Raises ConfigError for a task or variant without one."""
    layout(task_name, variant)  # names what there is
    return EXPERTS[task_name](load_task(task_name), variant)


def demonstrated(task: Task) -> BasePolicy:
    """The demonstrator on the objects of the demonstrations: a base by the name resfit_sim.experts:demonstrated."""
    return make_expert(task.name, 'demonstrated')


def unseen(task: Task) -> BasePolicy:
    """The demonstrator on the objects that the demonstrations do not show: resfit_sim.experts:unseen."""
    return make_expert(task.name, 'unseen')
