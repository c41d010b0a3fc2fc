"""From 20 Hz targets to 100 Hz commands (design section 2.6).

The same interpolation runs in the streamer's process on the robot and inside the Gymnasium environments,
so that a control step means the same motion in both.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from resfit_policy.task import Task

Positions = NDArray[np.float64]


class Interpolator:
    """Ramps from the last command to the newest target, one call per tick.

    Every command is finite, within the joints' limits, and within velocity * tick of the last one,
    whatever the targets are.
    """

    def __init__(self, task: Task) -> None:
        self.ticks = task.ticks
        self.lower, self.upper = task.robot.lower, task.robot.upper
        self.max_step = task.robot.velocity * task.tick_ns * 1e-9  # rad per tick
        self.command: Positions = np.zeros(task.action_size)
        self._start = self._target = self.command
        self._tick = self.ticks

    def reset(self, measured: ArrayLike) -> None:
        """Hold ``measured`` (A,) rad: the start of an episode, or a hold."""
        self.command = np.clip(self._checked(measured), self.lower, self.upper)
        self._start = self._target = self.command
        self._tick = self.ticks

    def set_target(self, target: ArrayLike) -> None:
        """Reach ``target`` (A,) rad one control step from now. Raises ValueError on a bad one."""
        self._target = np.clip(self._checked(target), self.lower, self.upper)
        self._start, self._tick = self.command, 0

    @property
    def finished(self) -> bool:
        """The newest target has been reached (or as near as the speed limits let it)."""
        return self._tick >= self.ticks

    def next(self) -> Positions:
        """Command for the next tick, (A,) rad."""
        self._tick = min(self._tick + 1, self.ticks)
        wanted = self._start + (self._target - self._start) * (self._tick / self.ticks)
        step = np.clip(wanted - self.command, -self.max_step, self.max_step)
        self.command = np.clip(self.command + step, self.lower, self.upper)
        return self.command

    def _checked(self, positions: ArrayLike) -> Positions:
        array = np.asarray(positions, dtype=np.float64)
        if array.shape != self.lower.shape:
            raise ValueError(f'expected {self.lower.size} joint positions, got shape {array.shape}')
        if not np.isfinite(array).all():
            raise ValueError('joint positions are not finite')
        return array
