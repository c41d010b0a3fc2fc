"""A base for the small arm."""

from __future__ import annotations

import numpy as np

from resfit_policy.observation import Float, Observation
from resfit_policy.task import Task


class ToMiddle:
    """Leads every joint to the middle of its range, by at most 0.2 rad: an arm on a busy machine follows late."""

    def __init__(self, task: Task) -> None:
        self.goal = ((task.robot.lower + task.robot.upper) / 2).astype(np.float32)

    def reset(self) -> None:
        pass

    def act(self, observation: Observation) -> Float:
        here = observation.state[: len(self.goal)]
        return here + np.clip(self.goal - here, -0.2, 0.2)
