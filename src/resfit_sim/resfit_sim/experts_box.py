"""The demonstrator of ``box_cleanup``: the right hand puts the block into the box, the left one the lid on it."""

from __future__ import annotations

import math

import numpy as np

from resfit_policy.task import Task
from resfit_sim.kinematics import ARM, HAND
from resfit_sim.scene import TABLE_TOP
from resfit_sim.scripted import UP, Array, Grasp, Moves, ScriptedExpert
from resfit_sim.simulation import HOME


def heading(pose: Array) -> float:
    """Yaw of a pose (9,) with four-fold symmetry, within 45 degrees of straight, rad."""
    yaw = math.atan2(pose[4], pose[3])
    return yaw - math.pi / 2 * round(yaw / (math.pi / 2))


class BoxCleanupExpert(ScriptedExpert):
    """Right hand: the block into the box, and out of the way. Left hand: the lid by its knob onto the box."""

    BLOCKS = {
        'demonstrated': Grasp(
            roll=0.773, yaw=0.115, pitch=0.467, offset=(0.104, 0.051, 0.009), thumb_open=1.069,
            thumb_closed=1.163, thumb_flexion=0.875, flexion_open=0.15, flexion_closed=0.70, raise_by=0.003,
        ),
        'unseen': Grasp(
            roll=0.922, yaw=0.159, pitch=0.414, offset=(0.108, 0.0525, 0.003), thumb_open=1.126,
            thumb_closed=1.199, thumb_flexion=0.894, flexion_open=0.15, flexion_closed=0.808, raise_by=0.006,
        ),
    }  # fmt: skip
    KNOB = Grasp(  # its object is the lid, whose centre is that of the plate
        roll=1.154, yaw=0.03, pitch=0.0815, offset=(0.106, 0.048, 0.003), thumb_open=0.994,
        thumb_closed=1.088, thumb_flexion=0.856, flexion_open=0.134, flexion_closed=0.871, raise_by=0.0555,
    )  # fmt: skip
    CARRY_HEIGHT = 0.21  # m above the table
    TURN = 0.5  # rad towards the box while the block is carried

    def __init__(self, task: Task, variant: str) -> None:
        super().__init__(task, variant)
        self.block, self.knob = self.BLOCKS[variant], self.KNOB
        assert self.layout.lid is not None
        self.lid = self.layout.lid

    def script(self) -> Moves:
        yield from self.put_block()
        yield from self.take_lid()
        yield from self.put_lid()

    def put_block(self) -> Moves:
        grasp = self.block
        opened, closed = self.opened('R', grasp), self.closed('R', grasp)
        axes, hold = grasp.axes('R'), self.seen(0) + UP * grasp.raise_by
        before = hold - axes[:, 1] * 0.09 - axes[:, 0] * 0.03 + UP * 0.03
        yield from self.reach('R', grasp, before, axes, opened, 16)
        yield from self.reach('R', grasp, hold, axes, opened, 10)
        yield from self.reach('R', grasp, hold, axes, closed, 10)
        above = np.array([hold[0], hold[1], TABLE_TOP + self.CARRY_HEIGHT])
        yield from self.reach('R', grasp, above, axes, closed, 9)
        box = self.seen(1)[:3]
        drop, turned = np.array([box[0], box[1], above[2]]), grasp.axes('R', self.TURN)
        yield from self.reach('R', grasp, drop, turned, closed, 14)
        low = drop - UP * 0.05
        yield from self.reach('R', grasp, low, turned, closed, 5)
        yield from self.reach('R', grasp, low, turned, self.released('R', grasp), 7)
        yield from self.reach('R', grasp, drop - [0.04, 0.08, 0], turned, self.released('R', grasp), 6)

    def take_lid(self) -> Moves:
        """The left hand goes to the knob while the right one goes home."""
        grasp = self.knob
        opened, closed = self.opened('L', grasp), self.closed('L', grasp)
        lid = self.seen(2)
        axes = grasp.axes('L', -self.swing() / 2)
        hold = lid[:3] + UP * grasp.raise_by
        before = hold - axes[:, 1] * 0.09 - axes[:, 0] * 0.03 + UP * 0.03
        home = self._target.copy()
        home[ARM['R']], home[HAND['R']] = HOME[ARM['R']], HOME[HAND['R']]
        joints = self.kinematics.solve('L', home, before, axes, np.array(grasp.offset)).joints
        joints[HAND['L']] = opened
        yield from self.move(joints, 18)
        yield from self.reach('L', grasp, hold, axes, opened, 10)
        yield from self.reach('L', grasp, hold, axes, closed, 10)
        yield from self.reach('L', grasp, hold + UP * 0.18, axes, closed, 11)

    def put_lid(self) -> Moves:
        grasp = self.knob
        yield from self.over_box(0.13, 18)
        yield from self.over_box(0.02, 8)
        yield from self.over_box(-0.002, 6)
        wrist, axes = self.kinematics.hand_pose('L', self._target)
        point = wrist + axes @ np.array(grasp.offset)
        yield from self.reach('L', grasp, point, axes, self.opened('L', grasp), 7)
        away = point - axes[:, 0] * 0.06 + UP * 0.08
        yield from self.reach('L', grasp, away, axes, self.opened('L', grasp), 10)

    def swing(self) -> float:
        """Turn that brings the lid's sides along the box's, rad."""
        return heading(self.seen(1)) - heading(self.seen(2))

    def over_box(self, height: float, steps: int) -> Moves:
        """Carry the held lid to ``height`` above the box's rim, its sides along the box's.

        How the hand holds it is measured anew: the lid turns and slides a little in the fingers.
        """
        grasp = self.knob
        wrist, axes = self.kinematics.hand_pose('L', self.measured)
        point = wrist + axes @ np.array(grasp.offset)
        box, lid = self.seen(1)[:3], self.seen(2)[:3]
        goal = np.array([box[0], box[1], TABLE_TOP + 2 * self.layout.container_size[2] + self.lid.THICKNESS + height])
        cos, sin = math.cos(self.swing()), math.sin(self.swing())
        turn = np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]])
        held = turn @ (point - lid)  # from the lid to the grasp, after the turn
        yield from self.reach('L', grasp, goal + held, turn @ axes, self.closed('L', grasp), steps)
