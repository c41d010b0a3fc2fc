"""The last stage before the streamer: what may be executed (design section 2.4)."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from resfit_policy.observation import Float
from resfit_policy.task import Task


class Supervisor:
    """Bounds the residual, scales it by the authority, keeps the sum within position and speed limits."""

    def __init__(self, task: Task, residual_limit: float | None = None) -> None:
        """``residual_limit``: rad, the most any joint is corrected, whatever the actor says (default: the robot's)."""
        self.lower = task.robot.lower.astype(np.float32)
        self.upper = task.robot.upper.astype(np.float32)
        self.max_step = (task.robot.velocity / task.control_hz).astype(np.float32)  # rad per control step
        self.residual_limit = np.float32(task.robot.residual_limit if residual_limit is None else residual_limit)
        self.last = np.zeros_like(self.lower)

    def reset(self, measured: ArrayLike) -> None:
        """Start an episode from the measured joint positions (A,) rad."""
        self.last = np.clip(np.asarray(measured, np.float32), self.lower, self.upper)

    def apply(self, base_action: Float, residual: Float, authority: float) -> tuple[Float, bool]:
        """Return the executed action (A,) rad and whether a limit changed it.

        Authority 0 is the base action to the bit (within the robot's limits, which hold for the base too).
        Raises ValueError when the base action or the residual is not finite or not of the robot's shape.
        """
        if base_action.shape != self.lower.shape or residual.shape != self.lower.shape:
            raise ValueError(
                f'action of shape {base_action.shape}, residual of shape {residual.shape}: '
                f'the robot has {self.lower.size} joints'
            )
        if not (np.isfinite(base_action).all() and np.isfinite(residual).all()):
            raise ValueError('base action or residual is not finite')
        bounded = np.clip(residual, -self.residual_limit, self.residual_limit)
        wanted = base_action + np.float32(authority) * bounded if authority > 0 else base_action
        executed = np.clip(wanted, self.last - self.max_step, self.last + self.max_step)
        executed = np.clip(executed, self.lower, self.upper).astype(np.float32)
        self.last = executed
        return executed, bool(np.any(executed != base_action + np.float32(authority) * residual))
