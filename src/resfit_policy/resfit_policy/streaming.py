"""What the streamer decides: which command to send, and when to hold (design section 2.6). No ROS here."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from resfit_policy.observation import Float
from resfit_policy.sampler import NotReady, match_joints
from resfit_policy.streamer import Interpolator, Positions
from resfit_policy.task import Task

JUMP = 0.2  # rad beyond what a joint can do at twice its speed limit: no motion looks like this


def jumped(before: ArrayLike, after: ArrayLike, seconds: float, velocity: ArrayLike) -> bool:
    """Were joints at ``before`` (A,) rad, and ``seconds`` later at ``after``, moved by something else than motion?

    As a simulation's reset does, or an encoder that finds its place anew. ``velocity``: (A,) rad/s, the speed limits.
    """
    reach = 2 * np.asarray(velocity) * max(seconds, 0.0) + JUMP
    return bool((np.abs(np.asarray(after, np.float64) - np.asarray(before, np.float64)) > reach).any())


class Streamer:
    """Turns targets and joint states into commands.

    In lockstep every tick of the simulation gets exactly one command, and no target means that the simulation
    stands still. In real time a command leaves at every tick, and no target means that the measured pose is held.

    Each command is within one tick's motion of the last one. Only where the joint states themselves have a gap, so
    that the robot may be anywhere, it starts from the pose measured after it.
    """

    def __init__(self, task: Task) -> None:
        self.task = task
        self.interpolator = Interpolator(task)
        self.patience = 2 * task.period_ns  # ns without a target after which the measured pose is held
        self.holding = True
        self.why = 'no target yet'
        self.refused = 0  # targets that could not be used
        self.stopped = False  # emergency stop
        self._jumped = True  # the robot may be elsewhere than the last command says
        self._measured: Float | None = None
        self._now = -1  # ns, stamp of the newest joint states
        self._target: tuple[int, Float] | None = None  # arrived, not yet begun
        self._begun = -1  # ns, stamp of the target last begun
        self._answered = -1  # ns, tick last answered in lockstep

    def on_joints(self, stamp: int, names: Sequence[str], positions: ArrayLike) -> None:
        """Take joint states. Unusable ones are as good as none."""
        try:
            measured = match_joints(self.task.robot.names, names, positions)
        except NotReady as problem:
            self.why = f'joint_states: {problem}'
            return
        if stamp < self._now:  # the clock went back: a restarted simulation, a bag played again
            self._target, self._begun, self._answered = None, -1, -1
            self.holding, self.why = True, 'time went back'
        before, gap = self._measured, not 0 <= stamp - self._now <= self.patience
        seconds = 1e-9 * max(stamp - self._now, 0)
        self._measured, self._now = measured, stamp
        moved = before is not None and jumped(before, measured, seconds, self.task.robot.velocity)
        self._jumped |= gap or moved
        if moved and not gap:
            self._target = None
            self.hold('the measured pose jumped')

    def on_target(self, stamp: int, names: Sequence[str], positions: ArrayLike) -> None:
        """Take a target; an unusable one is counted and makes the streamer hold."""
        try:
            if len(names) != len(positions):  # type: ignore[arg-type]
                raise NotReady(f'{len(names)} names, {len(positions)} positions')  # type: ignore[arg-type]
            target = match_joints(self.task.robot.names, names, positions)
        except NotReady as problem:
            self.refused += 1
            self._target = None
            self.hold(f'target refused: {problem}')
            return
        if stamp > self._begun and not self.stopped:  # a repeated target is no new one
            self._target = (stamp, target)

    def stop(self) -> None:
        """Emergency stop: hold the pose measured now, whatever targets come."""
        if not self.stopped:
            self.stopped, self._target = True, None
            self.hold('emergency stop')

    def restart(self) -> None:
        """Release the stop, or begin to command a robot that something else has moved: from the measured pose."""
        self.stopped, self._target, self._jumped = False, None, True
        self.hold('no target yet')

    def answer(self) -> tuple[int, Positions] | None:
        """Lockstep: the tick's stamp and its command, or None where none is due yet.

        A tick that is published again gets the same command again.
        """
        if self._measured is None:
            return None
        if self._now == self._answered:
            return self._now, self.interpolator.command
        self._forget_old()
        if self.holding or self.interpolator.finished:
            if self._target is None or self._target[0] > self._now:
                return None
            self._begin()
        self._answered = self._now
        return self._now, self.interpolator.next()

    def tick(self) -> Positions | None:
        """Real time: the command for now, None before the first joint states."""
        if self._measured is None:
            return None
        self._forget_old()
        self._land()
        if self._target is not None:
            self._begin()
        return self.interpolator.next()

    def _forget_old(self) -> None:
        """Drop a stale target, and hold when the last good one is too long ago (also after a reset's jump)."""
        if self._target is not None and self._now - self._target[0] > self.patience:
            self._target = None
            self.why = 'target is stale'
        if self._target is None and not self.holding and self._now - self._begun > self.patience:
            self.hold('targets stopped')

    def _begin(self) -> None:
        assert self._target is not None and self._measured is not None
        self._land()
        self._begun = self._target[0]
        self.interpolator.set_target(self._target[1])
        self._target, self.holding, self.why = None, False, ''

    def hold(self, why: str) -> None:
        """Latch the pose measured now; the hold lasts until the next usable target."""
        self.holding, self.why = True, 'emergency stop' if self.stopped else why
        if self._measured is not None:
            self._land()
            self.interpolator.set_target(np.asarray(self._measured))

    def _land(self) -> None:
        """Begin anew at the measured pose where the last command says nothing about the robot any more."""
        if self._jumped and self._measured is not None:
            self.interpolator.reset(self._measured)
            self._jumped = False
