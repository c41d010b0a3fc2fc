"""The whole loop in-process, without ROS: act, ingest, update, swap weights (paper Alg. 1)."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import gymnasium

from resfit_learner.learner import Learner
from resfit_learner.rollout import run_episode
from resfit_policy.actor import unpack_actor
from resfit_policy.episode_log import Arm, Episode
from resfit_policy.runtime import PolicyRuntime

WINDOW = 50  # episodes in the success window


@dataclass
class Curve:
    """Online episodes of a run, in order."""

    steps: list[int] = field(default_factory=list)  # online steps at each episode's end
    success: list[bool] = field(default_factory=list)

    def add(self, episode: Episode) -> None:
        self.steps.append((self.steps[-1] if self.steps else 0) + episode.length)
        self.success.append(episode.success)

    def windows(self, size: int = WINDOW) -> list[float]:
        """Success over each ``size`` consecutive episodes (fewer where there are fewer)."""
        if len(self.success) < size:
            return [sum(self.success) / len(self.success)] if self.success else []
        return [sum(self.success[end - size : end]) / size for end in range(size, len(self.success) + 1)]


def train(
    env: gymnasium.Env[Any, Any],
    runtime: PolicyRuntime,
    learner: Learner,
    *,
    steps: int,
    seed: int,
    progress: Callable[[Curve, float], None] = lambda curve, seconds: None,
) -> Curve:
    """Train for ``steps`` online steps; ``runtime`` ends with the last weights.

    ``progress(curve, seconds)`` is called after every episode.
    """
    curve, started, index = Curve(), time.monotonic(), learner.counters.sequence
    runtime.set_weights(*unpack_actor(learner.weights()))
    while learner.counters.env_steps < steps:
        index += 1
        episode = run_episode(env, runtime, seed=seed + index, arm=Arm.RESIDUAL, explore=True, episode_id=index)
        learner.ingest(index, episode)
        for _ in range(learner.owed):
            learner.update()
        runtime.set_weights(*unpack_actor(learner.weights()))
        curve.add(episode)
        progress(curve, time.monotonic() - started)
    return curve
