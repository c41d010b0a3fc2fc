"""When the residual loses its authority: the learner is gone or diverges, or the robot has become worse than its base.

Only decides; whoever asks sets the authority. No ROS here.
"""

from __future__ import annotations

import math
from collections import deque
from typing import Annotated

from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass

from resfit_policy.episode_log import Arm
from resfit_policy.rate import wilson
from resfit_policy.task import STRICT

Count = Annotated[int, Field(ge=1)]


@dataclass(frozen=True, config=STRICT)
class FallbackConfig:
    """How long, how often and how far, until authority falls to 0."""

    silence: Annotated[float, Field(gt=0)] = 60.0  # s without a heartbeat of the learner, which sends one each second
    refusals: Count = 3  # weights that could not be used, in a row
    heartbeats: Count = 3  # with a critic that diverges, in a row
    q_low: float = -0.5  # mean Q; rewards are 0 or 1, so true values lie in [0, 1]
    q_high: float = 1.5
    window: Count = 50  # newest residual episodes that are judged
    least: Count = 20  # residual episodes before any are

    @model_validator(mode='after')
    def _check(self) -> FallbackConfig:
        if not self.q_low < self.q_high:
            raise ValueError('q_low must be below q_high')
        if self.least > self.window:
            raise ValueError('least must not exceed window, or no episode is ever judged')
        return self


class Fallback:
    """Gathers what is known about the learner and the newest episodes. The first reason stays until ``clear``."""

    def __init__(self, base: tuple[int, int] | None = None, config: FallbackConfig | None = None) -> None:
        """``base``: successes and episodes of the base alone, None where nobody has counted.

        Raises ValueError where these are no counts of which a rate can be made.
        """
        self.config = config or FallbackConfig()
        self.base = wilson(*base) if base else None
        self.clear()

    def clear(self) -> None:
        """Somebody wants the residual to act, whatever was wrong: forget it, and judge what comes from now on."""
        self._reason = ''
        self._heard: float | None = None  # s, newest heartbeat
        self._diverged = self._refused = 0  # in a row
        self._episodes: deque[bool] = deque(maxlen=self.config.window)

    def learner_seen(self, now_s: float, q_mean: float, critic_loss: float) -> None:
        """A heartbeat of the learner, at a time that never goes back, with the mean Q and loss of its last batch."""
        self._heard = now_s
        sane = self.config.q_low <= q_mean <= self.config.q_high and math.isfinite(critic_loss)
        self._diverged = 0 if sane else self._diverged + 1
        if self._diverged >= self.config.heartbeats:
            self._blame(f'the critic diverges: mean Q {q_mean:.2f}, loss {critic_loss:.3g}')

    def weights_refused(self, reason: str) -> None:
        """Weights came that could not be used."""
        self._refused += 1
        if self._refused >= self.config.refusals:
            self._blame(f'weights were refused {self._refused} times in a row: {reason}')

    def weights_taken(self) -> None:
        """Weights came and were used."""
        self._refused = 0

    def episode(self, arm: Arm, success: bool) -> None:
        """A finished episode; those of the base arm say nothing about the residual."""
        if arm != Arm.RESIDUAL:
            return
        self._episodes.append(success)
        if self.base is None or len(self._episodes) < self.config.least:
            return
        rate = wilson(sum(self._episodes), len(self._episodes))
        if rate.high < self.base.low:
            self._blame(
                f'the last {rate.n} episodes succeeded at {rate.success:.0%} (at most {rate.high:.0%}), '
                f'the base alone at {self.base.success:.0%} (at least {self.base.low:.0%})'
            )

    def check(self, now_s: float) -> str:
        """Why authority must be 0, '' where it need not be."""
        if self._heard is not None and now_s - self._heard > self.config.silence:
            self._blame(f'nothing was heard of the learner for {now_s - self._heard:.0f} s')
        return self._reason

    def _blame(self, reason: str) -> None:
        self._reason = self._reason or reason
