"""Bases for node tests."""

from __future__ import annotations

import numpy as np

from resfit_policy.observation import Float, Observation
from resfit_policy.task import Task


class Hold:
    """Asks for the joint positions it sees, and for NaN where the first object is below the ground."""

    def __init__(self, task: Task) -> None:
        self.size = task.action_size

    def reset(self) -> None:
        pass

    def act(self, observation: Observation) -> Float:
        action = observation.state[: self.size].copy()
        return np.full_like(action, np.nan) if observation.state[self.size + 2] < 0 else action


class Fold:
    """Takes every joint towards its lower limit, on which way the arms meet themselves."""

    def __init__(self, task: Task) -> None:
        self.goal = task.robot.lower.astype(np.float32)

    def reset(self) -> None:
        pass

    def act(self, observation: Observation) -> Float:
        now = observation.state[: self.goal.size]
        return np.clip(self.goal, now - 0.1, now + 0.1)
