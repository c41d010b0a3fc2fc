"""A base for the small arm."""

from __future__ import annotations

import numpy as np

from resfit_policy.observation import Float, Observation
from resfit_policy.task import Task


class ToMiddle:
    """Moves every joint towards the middle of its range, 0.05 rad at a time."""

    def __init__(self, task: Task) -> None:
        self.goal = ((task.robot.lower + task.robot.upper) / 2).astype(np.float32)

    def reset(self) -> None:
        pass

    def act(self, observation: Observation) -> Float:
        here = observation.state[: len(self.goal)]
        return here + np.clip(self.goal - here, -0.05, 0.05)
