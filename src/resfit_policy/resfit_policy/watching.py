"""What there is to see of a run beside its messages: where the hands are, and how often it succeeds. No ROS here."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from resfit_policy.collision import follow_leaders, load_collision_model
from resfit_policy.episode_log import Arm, Phase
from resfit_policy.physics import mujoco
from resfit_policy.task import ConfigError, Robot

WINDOW = 50  # newest judged episodes of each arm
JUDGED = (Phase.SUCCESS, Phase.FAILURE, Phase.TIMEOUT)


class Hands:
    """Forward kinematics of a robot's end effectors, by the model that its actions are checked with."""

    def __init__(self, robot: Robot) -> None:
        """Raises ConfigError where the robot names no model, or the model lacks a joint or an end effector."""
        if not robot.collision:
            raise ConfigError(f'robot {robot.name} names no collision model, by which to know where its hands are')
        self._model = load_collision_model(robot.collision)
        self._data = mujoco.MjData(self._model)
        try:
            self._bodies = [self._model.body(name).id for name in robot.end_effectors]
            self._qpos = [self._model.joint(name).qposadr[0] for name in robot.names]
        except KeyError as error:
            raise ConfigError(f'{robot.collision}: {error.args[0]}') from None

    def at(self, joints: ArrayLike) -> NDArray[np.float64]:
        """(H, 3) m in the world, at joint positions (A,) rad."""
        self._data.qpos[self._qpos] = np.asarray(joints, np.float64)
        follow_leaders(self._model, self._data)
        mujoco.mj_kinematics(self._model, self._data)
        return np.array(self._data.xpos[self._bodies])


class Score:
    """Successes of each arm in its newest judged episodes; a later label replaces an earlier one."""

    def __init__(self) -> None:
        self._labels: dict[int, bool] = {}
        self._closed: dict[Arm, dict[int, None]] = {arm: {} for arm in Arm}  # by id, in the order in which they ended

    def label(self, episode_id: int, success: bool) -> None:
        """Take an episode's newest label."""
        self._labels[episode_id] = success

    def close(self, episode_id: int, arm: Arm, phase: Phase) -> None:
        """An episode has ended; aborted ones count for nothing."""
        closed = self._closed[arm]
        if phase in JUDGED:
            closed[episode_id] = None
        if len(closed) > WINDOW:
            oldest = next(iter(closed))
            del closed[oldest]
            self._labels.pop(oldest, None)

    def count(self, arm: Arm) -> tuple[int, int]:
        """Successes, and episodes whose label is known, among the newest of an arm."""
        known = [self._labels[item] for item in self._closed[arm] if item in self._labels]
        return sum(known), len(known)

    def __str__(self) -> str:
        counts = {arm: self.count(arm) for arm in Arm}
        parts = [f'{arm.name.lower()} {successes} of {n}' for arm, (successes, n) in counts.items() if n]
        return ', '.join(parts) or 'nothing yet'
