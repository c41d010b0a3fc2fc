"""Any Gymnasium environment as a task."""

from __future__ import annotations

import gymnasium
import numpy as np

from resfit_learner.adapter import adapt
from resfit_policy.supervisor import Supervisor


def test_actions_of_an_environment_may_jump_from_end_to_end() -> None:
    _, task = adapt(gymnasium.make('Pendulum-v1'))
    rng, supervisor = np.random.default_rng(0), Supervisor(task)
    lower, upper = task.robot.lower.astype(np.float32), task.robot.upper.astype(np.float32)
    for index in range(500):
        action = rng.uniform(lower, upper).astype(np.float32) if index % 3 else (lower, upper)[index % 2]
        outcome = supervisor.apply(action, np.zeros_like(action), 1.0)
        assert outcome.executed.tobytes() == action.tobytes() and not outcome.clipped
