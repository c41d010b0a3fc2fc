"""What scripted experts are made of: grasps, reaches and moves, played as a policy.

An expert is a small script of moves. It reads the newest observation wherever a move is planned, so it corrects
for what happened since, and it commands joint positions through contact alone: nothing is ever attached.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from resfit_policy.observation import Observation
from resfit_policy.task import Task
from resfit_sim.kinematics import HAND, Kinematics, Side, hand_axes
from resfit_sim.scene import layout

Array = NDArray[np.float64]
Moves = Iterator[Array]
UP = np.array([0.0, 0.0, 1.0])
SPEED_SHARE = 0.85  # of the joints' speed limits, at a move's fastest point


@dataclass(frozen=True)
class Grasp:
    """How a hand takes hold. Angles as in ``hand_axes``; offset in hand coordinates [m] is where the object's
    centre goes; flexion is a share of the fingers' range (0 open, 1 closed); thumb_open and thumb_closed are
    th_j0 [rad]."""

    roll: float
    yaw: float
    pitch: float
    offset: tuple[float, float, float]
    thumb_open: float
    thumb_closed: float
    thumb_flexion: float
    flexion_open: float
    flexion_closed: float
    raise_by: float  # m, of the hand above the object's centre

    def axes(self, side: Side, yaw: float = 0.0) -> Array:
        """Hand axes (3, 3), turned by ``yaw`` rad more (counter-clockwise seen from above)."""
        return hand_axes(self.roll, self.yaw + (yaw if side == 'R' else -yaw), self.pitch, side)


class ScriptedExpert(ABC):
    """Plays a script of moves as a policy. Subclasses write ``script``."""

    def __init__(self, task: Task, variant: str) -> None:
        self.task, self.layout = task, layout(task.name, variant)
        self.kinematics = Kinematics()
        self.period = task.period_ns * 1e-9
        self.reset()

    def reset(self) -> None:
        self._moves: Moves | None = None
        self._target = np.zeros(self.task.action_size)

    def act(self, observation: Observation) -> NDArray[np.float32]:
        """The next target (29,) float32 rad; the last one again when the script has ended."""
        state = observation.state.astype(float)
        joints = self.task.action_size
        if self._moves is None:
            self._target = state[:joints].copy()
            self._moves = self.script()
        self.measured = state[:joints]  # rad
        self._objects = np.split(state[joints:], np.cumsum([item.size for item in self.task.objects]))
        self._target = next(self._moves, self._target)
        return self._target.astype(np.float32)

    @abstractmethod
    def script(self) -> Moves:
        """Yield one target (29,) rad per control step; ``self.seen`` is fresh after every yield."""

    def seen(self, index: int) -> Array:
        """Newest pose of the task's object ``index``: (3,) or (9,), see ``Task``."""
        return self._objects[index]

    def fingers(self, side: Side, flexion: float, thumb: float, thumb_flexion: float) -> Array:
        """Hand joints (6,) rad."""
        lower, upper = self.kinematics.lower[HAND[side]], self.kinematics.upper[HAND[side]]
        joints: Array = upper + (lower - upper) * flexion
        joints[0] = thumb
        joints[1] = upper[1] + (lower[1] - upper[1]) * thumb_flexion
        return joints

    def opened(self, side: Side, grasp: Grasp) -> Array:
        return self.fingers(side, grasp.flexion_open, grasp.thumb_open, grasp.flexion_open)

    def closed(self, side: Side, grasp: Grasp) -> Array:
        return self.fingers(side, grasp.flexion_closed, grasp.thumb_closed, grasp.thumb_flexion)

    def released(self, side: Side, grasp: Grasp) -> Array:
        return self.fingers(side, 0.0, grasp.thumb_open, 0.0)

    def reach(self, side: Side, grasp: Grasp, point: Array, axes: Array, fingers: Array, steps: int) -> Moves:
        """Bring the grasp's centre to ``point`` with the hand turned to ``axes`` and the fingers set."""
        offset = np.array(grasp.offset)
        joints = self.kinematics.solve(side, self._target, point, axes, offset).joints
        joints[HAND[side]] = fingers
        return self.move(joints, steps)

    def move(self, joints: Array, steps: int) -> Moves:
        """Ease to ``joints`` (29,) rad in ``steps`` control steps, or in more where speed limits ask it."""
        start = self._target.copy()
        fastest = 1.5 * np.abs(joints - start) / (SPEED_SHARE * self.kinematics.velocity)  # s, at the middle
        steps = max(steps, math.ceil(float(fastest.max()) / self.period))
        for i in range(1, steps + 1):
            share = i / steps
            yield start + (joints - start) * (share * share * (3 - 2 * share))
