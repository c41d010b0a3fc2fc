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
