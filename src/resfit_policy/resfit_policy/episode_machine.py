"""The life of an episode, without ROS: IDLE, RESETTING, RUNNING, then SUCCESS, FAILURE, TIMEOUT or ABORTED.

An episode of T executed steps ends at the observation after step T - 1. A verdict on that observation and
the policy's word that it has seen it come from two processes in either order; both are waited for, so that
the outcome and T depend on the stamps alone.

Who judges may be unsure. At a time-out that makes the episode doubtful: it stays RUNNING, without a step to come, until
an operator labels it.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from typing import Literal

import numpy as np

from resfit_policy.episode_log import Arm, Phase

Arms = Literal['residual', 'base', 'alternate']


@dataclass(frozen=True)
class Start:
    """How an episode begins."""

    seed: int
    arm: Arm


def schedule(index: int, seed: int, arms: Arms) -> Start:
    """Start of the episode ``index`` (from 0) of a run.

    'alternate' runs each seed with both arms, in an order drawn per seed, so that neither profits from time.
    """
    if arms == 'alternate':
        pair, second = divmod(index, 2)
        flipped = bool(np.random.default_rng((seed, pair)).integers(2))
        return Start(seed + pair, Arm.RESIDUAL if flipped != bool(second) else Arm.BASE)
    return Start(seed + index, Arm.BASE if arms == 'base' else Arm.RESIDUAL)


@dataclass(frozen=True)
class Outcome:
    """How an episode ended. ``length`` is T; ``stamp`` ns is that of the judged observation."""

    phase: Phase
    length: int
    stamp: int


class EpisodeMachine:
    """Decides when and how the running episode ends."""

    def __init__(self, needs_verdict: bool) -> None:
        """``needs_verdict``: a time-out counts only once an oracle has judged the last observation."""
        self.needs_verdict = needs_verdict
        self.phase = Phase.IDLE
        self.episode_id = 0
        self.start = Start(0, Arm.BASE)
        self.begun = 0  # ns, observations from here on belong to the episode
        self._stamps: list[int] = []  # ns, of each observation that the policy acted on, then of the final one
        self._final = False
        self._judged: tuple[int, Phase] | None = None  # stamp and outcome that only wait for the policy
        self._denied = -1  # ns, newest observation that was judged
        self._sure = True  # of that
        self.doubtful = False  # it timed out, and only an operator can say with what result

    @property
    def length(self) -> int:
        """Executed steps known of."""
        return len(self._stamps) - int(self._final)

    def reset(self, episode_id: int, start: Start) -> None:
        """The scene is being put into its start."""
        self.phase, self.episode_id, self.start = Phase.RESETTING, episode_id, start

    def run(self, stamp: int) -> None:
        """Observations from ``stamp`` ns on belong to the episode."""
        self.phase, self.begun = Phase.RUNNING, stamp
        self._stamps, self._final, self._judged, self._denied = [], False, None, -1
        self._sure, self.doubtful = True, False

    @property
    def begun_to_act(self) -> bool:
        """The policy has acted in this episode: what comes of it is its doing."""
        return bool(self._stamps)

    @property
    def awaits_verdict(self) -> bool:
        """The policy has seen its last observation, and nobody has judged it yet."""
        return self.phase == Phase.RUNNING and self._final and self._judged is None and not self.doubtful

    def on_verdict(self, stamp: int, success: bool, sure: bool = True) -> Outcome | None:
        """A verdict of an oracle or a classifier on the observation at ``stamp``. The outcome, once there is one.

        ``sure``: whether it would stand by a denial.
        """
        if self.phase != Phase.RUNNING or stamp <= self.begun or self.doubtful:
            return None
        if success and self._judged is None:
            self._judged = (stamp, Phase.SUCCESS)
        if stamp >= self._denied:
            self._denied, self._sure = stamp, sure
        return self._decide()

    def on_step(self, episode_id: int, stamp: int, step: int, final: bool) -> Outcome | None:
        """The policy has acted on (or, when ``final``, seen) the observation of ``step``."""
        if self.phase != Phase.RUNNING or episode_id != self.episode_id:
            return None
        if step == len(self._stamps):
            self._stamps.append(stamp)
            self._final = final
        return self._decide()

    def on_label(self, success: bool) -> Outcome | None:
        """An operator ends the running episode at its next observation; the outcome where none is to come.

        The newest label wins, over a verdict that only waits for the policy, too.
        """
        if self.phase != Phase.RUNNING:
            return None
        if self._final and not success:  # it ran to its end all the same, and a time-out bootstraps
            return self._end(Outcome(Phase.TIMEOUT, self.length, self._stamps[-1]))
        now = self._stamps[-1] if self._stamps else self.begun
        ends = now + 1 if self._judged is None else self._judged[0]
        self._judged = (ends, Phase.SUCCESS if success else Phase.FAILURE)
        return self._decide() if self._final else None

    def doubt(self) -> None:
        """Nobody judges the last observation any more: an operator must."""
        self.doubtful = self.awaits_verdict

    def stall(self) -> Outcome:
        """No step is to come any more: end with the result that only waited for one, else without any."""
        if self._judged is None or not self.length:
            return self.abort()
        stamp, phase = self._judged
        return self._end(Outcome(phase, self.length, stamp))

    def abort(self) -> Outcome:
        """End the episode without a result; what there is of it is not learned from."""
        stamp = self._stamps[-1] if self._stamps else self.begun
        return self._end(Outcome(Phase.ABORTED, self.length, stamp))

    def _decide(self) -> Outcome | None:
        if self._judged is not None:
            stamp, phase = self._judged
            length = bisect_left(self._stamps, stamp)  # the steps that led to the judged observation
            if 0 < length < len(self._stamps):
                return self._end(Outcome(phase, length, stamp))
            if self._final:  # labelled after the last step
                return self._end(Outcome(phase, self.length, self._stamps[-1]))
            if length == 0 and self._stamps:
                self._judged = None  # before the policy's first step: not its doing
        if not self._final or (self.needs_verdict and self._denied < self._stamps[-1]):
            return None
        if not self._sure:
            self.doubt()
            return None
        return self._end(Outcome(Phase.TIMEOUT, self.length, self._stamps[-1]))

    def _end(self, outcome: Outcome) -> Outcome:
        self.phase, self.doubtful = outcome.phase, False
        return outcome
