"""The last stage before the streamer: what may be executed (design section 2.4)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from resfit_policy.observation import Float
from resfit_policy.task import Task

Array = NDArray[np.float64]
PARTS = (1.0, 0.5, 0.25, 0.0)  # of the residual's share, tried in turn where the robot would touch something


@dataclass(frozen=True)
class Supervised:
    """What the supervisor makes of one control step."""

    executed: Float  # (A,) rad
    clipped: bool  # it is not what base and residual asked for
    held: bool  # even the base action would touch something: the robot stays where it is
    authority: float  # share of the residual in it
    why: str  # what would have been touched, '' where nothing was in the way


class Supervisor:
    """Scales the residual by the authority, and keeps the sum within every limit.

    Each executed action is finite and within the position limits; it is reached from the last one within the limits
    of speed and acceleration; and from it every joint can brake before its position limit. All this holds for
    whatever comes in, up to the rounding of float32. A step for which there is no action counts as standing still.
    """

    def __init__(
        self,
        task: Task,
        residual_limit: float | None = None,
        ramp_steps: int = 0,
        hits: Callable[[Float], str] = lambda positions: '',
    ) -> None:
        """``residual_limit``: rad, the most any joint is corrected, whatever the actor says (default: the robot's).

        ``ramp_steps``: control steps in which the authority in force goes from 0 to 1 or back, 0: at once.
        ``hits``: says what the robot would touch at positions (A,) rad, '' for nothing (``CollisionGate.hits``).
        """
        robot = task.robot
        self.lower = robot.lower.astype(np.float32)
        self.upper = robot.upper.astype(np.float32)
        self.max_step = (robot.velocity / task.control_hz).astype(np.float32)  # rad per control step
        self.max_change = robot.acceleration / task.control_hz**2  # rad per control step, of the step
        self.residual_limit = robot.residual_bounds(residual_limit).astype(np.float32)
        self.ramp_steps = ramp_steps
        self.hits = hits
        self.reset(np.zeros_like(self.lower))

    def reset(self, measured: ArrayLike) -> None:
        """Start an episode at rest at the measured joint positions (A,) rad, with the authority that is then asked for.

        Raises ValueError where they are not finite or not of the robot's shape.
        """
        self.last = np.clip(self._checked('the measured position', measured), self.lower, self.upper)
        self.step = np.zeros(self.last.size)  # rad, the last executed action less the one before
        self.share: float | None = None

    def ramped(self, authority: float) -> float:
        """The share in force in the next ``apply`` with this authority. Raises ValueError unless that is in [0, 1]."""
        if not 0 <= authority <= 1:
            raise ValueError(f'authority {authority} does not lie in [0, 1]')
        if self.share is None or self.ramp_steps * abs(authority - self.share) <= 1 + 1e-9:
            return authority
        return self.share + math.copysign(1 / self.ramp_steps, authority - self.share)

    def apply(self, base_action: ArrayLike, residual: ArrayLike, authority: float) -> Supervised:
        """What to execute, given base action and residual (A,) rad. Authority 0 is the base action to the bit.

        Where the robot would touch something, less of the residual is taken, then none; where the base alone would,
        the robot stops. Raises ValueError when the base action or the residual is not finite or not of the robot's
        shape, or the authority not in [0, 1]; nothing must be executed then.
        """
        try:
            base_action = self._checked('the base action', base_action)
            residual = self._checked('the residual', residual)
            share = self.share = self.ramped(authority)
        except ValueError:
            self.step[:] = 0
            raise
        bounded = np.clip(residual, -self.residual_limit, self.residual_limit)
        why = ''
        for part in PARTS if share > 0 else PARTS[-1:]:
            executed = self._limited(_sum(base_action, part * share, bounded))
            touched = self.hits(executed)
            if not touched:
                break
            why = why or touched
        else:
            part, executed, why = 0.0, self._limited(self.last), touched
        self.step = executed.astype(np.float64) - self.last
        self.last = executed.copy()
        clipped = bool(np.any(executed != _sum(base_action, share, residual)))
        return Supervised(executed, clipped, bool(touched), part * share, why)

    def _checked(self, what: str, values: ArrayLike) -> Float:
        with np.errstate(over='ignore'):
            try:
                array = np.asarray(values, np.float32)
            except (TypeError, ValueError):
                raise ValueError(f'{what} is no array of numbers') from None
        if array.shape != self.lower.shape:
            raise ValueError(f'{what} has shape {array.shape}: the robot has {self.lower.size} joints')
        if not np.isfinite(array).all():
            raise ValueError(f'{what} is not finite')
        return array

    def _limited(self, wanted: Float) -> Float:
        """The action nearest to ``wanted`` that every limit allows."""
        last = self.last.astype(np.float64)
        least = np.maximum(self.step - self.max_change, -self.max_step)
        most = np.minimum(self.step + self.max_change, self.max_step)
        executed = np.clip(wanted, last + least, last + most)
        executed = np.clip(executed, last - self._longest(last - self.lower), last + self._longest(self.upper - last))
        return np.clip(executed, self.lower, self.upper).astype(np.float32)

    def _longest(self, room: Array) -> Array:
        """The longest step (A,) rad that, with all the shorter ones in which it brakes to rest, fits into ``room``.

        With n steps behind it, each shorter by c, a step d needs (n + 1) d - n (n + 1) c / 2.
        """
        c = self.max_change
        n = np.floor((np.sqrt(1 + 8 * room / c) - 1) / 2)
        return np.asarray(room / (n + 1) + n * c / 2)


def _sum(base_action: Float, share: float, residual: Float) -> Float:
    """Base action and a share of the residual, in float32; share 0 leaves the base action as it is."""
    if share == 0:
        return base_action
    with np.errstate(over='ignore'):  # what is infinite is clipped
        return base_action + np.float32(share) * residual
