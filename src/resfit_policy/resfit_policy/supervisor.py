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
EASED = 0.8  # of the largest effort, below which a hold for effort ends


@dataclass(frozen=True)
class Supervised:
    """What the supervisor makes of one control step."""

    executed: Float  # (A,) rad
    clipped: bool  # it is not what base and residual asked for
    held: bool  # even the base action would touch something, or a joint works too hard: to the measured pose
    authority: float  # share of the residual in it
    why: str  # what would have been touched or works too hard, '' where nothing is wrong


class Supervisor:
    """Scales the residual by the authority, and keeps the sum within every limit.

    Each executed action is finite and within the position limits; it is reached from the last one within the limits
    of speed and acceleration; and from it every joint can brake before its position limit. All this holds for
    whatever comes in, up to the rounding of float32. A step for which there is no action counts as standing still.
    To hold is to go, within the same limits, to the pose that was measured when the hold began.
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
        self.names = robot.names
        self.lower = robot.lower.astype(np.float32)
        self.upper = robot.upper.astype(np.float32)
        self.max_step = (robot.velocity / task.control_hz).astype(np.float32)  # rad per control step
        self.max_change = robot.acceleration / task.control_hz**2  # rad per control step, of the step
        self.residual_limit = robot.residual_bounds(residual_limit).astype(np.float32)
        self.most_effort = robot.most_effort
        self.ramp_steps = ramp_steps
        self.hits = hits
        self.strained = ''  # which joint works too hard, episode or not
        self.reset(np.zeros_like(self.lower))

    def reset(self, measured: ArrayLike) -> None:
        """Start an episode at rest at the measured joint positions (A,) rad, with the authority that is then asked for.

        Raises ValueError where they are not finite or not of the robot's shape.
        """
        self.restart(measured)
        self.share: float | None = None

    def restart(self, measured: ArrayLike) -> None:
        """Start from rest at the measured joint positions (A,) rad after a gap; the authority goes on as it was.

        Raises ValueError where they are not finite or not of the robot's shape.
        """
        self.last = np.clip(self.checked('the measured position', measured), self.lower, self.upper)
        self.step = np.zeros(self.last.size)  # rad, the last executed action less the one before
        self._measured: Float | None = None  # since the last step
        self._refuge: Float | None = None  # where the hold leads

    def feel(self, measured: ArrayLike, efforts: ArrayLike | None = None) -> None:
        """Take the measured positions (A,) rad and, where the robot has them, efforts (A,) Nm; as often as they come.

        A joint above its largest effort makes the robot hold until every joint is below ``EASED`` of its own. An
        effort that is not a number counts as none. Raises ValueError where positions are not finite or of wrong shape.
        """
        self._measured = self.checked('the measured position', measured)
        if efforts is None:
            return
        load = np.abs(np.asarray(efforts, np.float64)) / self.most_effort
        load[np.isnan(load)] = 0
        worst = int(load.argmax())
        if load[worst] > 1:
            self.strained = f'{self.names[worst]} works at {load[worst]:.0%} of its largest effort'
        elif load[worst] < EASED:
            self.strained = ''

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
        or a joint works too hard, the robot holds. Raises ValueError when the base action or the residual is not finite
        or not of the robot's shape, or the authority not in [0, 1]; nothing must be executed then.
        """
        try:
            base_action = self.checked('the base action', base_action)
            residual = self.checked('the residual', residual)
            share = self.share = self.ramped(authority)
        except ValueError:
            self.step[:] = 0
            raise
        bounded = np.clip(residual, -self.residual_limit, self.residual_limit)
        why, held, part = self.strained, bool(self.strained), 0.0
        for part in () if held else PARTS if share > 0 else PARTS[-1:]:
            executed = self._limited(_sum(base_action, part * share, bounded))
            touched = self.hits(executed)
            why, held = why or touched, bool(touched)
            if not touched:
                break
        if held:
            if self._refuge is None:
                self._refuge = self.last if self._measured is None else self._measured
            executed = self._limited(self._refuge)
        else:
            self._refuge = None
        self._measured = None
        self.step = executed.astype(np.float64) - self.last
        self.last = executed.copy()
        clipped = bool(np.any(executed != _sum(base_action, share, residual)))
        return Supervised(executed, clipped, held, part * share, why)

    def follow(self, executed: Float) -> None:
        """Go on from ``executed`` (A,) rad, which took the place of what ``apply`` gave last."""
        self.step += executed.astype(np.float64) - self.last
        self.last = executed.copy()

    def checked(self, what: str, values: ArrayLike) -> Float:
        """``values`` as (A,) float32. Raises ValueError where they are not finite or not of the robot's shape."""
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


def make_supervisor(task: Task, residual_limit: float | None, ramp: float, collision_check: bool) -> Supervisor:
    """A supervisor with a collision check, where the robot names a model for it.

    ``residual_limit``: rad, as above. ``ramp``: s, in which authority goes from 0 to 1. Raises ConfigError where the
    collision model cannot be had.
    """
    supervisor = Supervisor(task, residual_limit, round(ramp * task.control_hz))
    if task.robot.collision and collision_check:
        from resfit_policy.collision import CollisionGate, load_collision_model  # MuJoCo, for those who want it

        model = load_collision_model(task.robot.collision, task.obstacles)
        supervisor.hits = CollisionGate(model, task.robot.names, task.robot.soft).hits
    return supervisor


def _sum(base_action: Float, share: float, residual: Float) -> Float:
    """Base action and a share of the residual, in float32; share 0 leaves the base action as it is."""
    if share == 0:
        return base_action
    with np.errstate(over='ignore'):  # what is infinite is clipped
        return base_action + np.float32(share) * residual
