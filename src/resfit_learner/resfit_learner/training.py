"""The whole loop in-process, without ROS: act, ingest, update, swap weights (paper Alg. 1)."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import gymnasium

from resfit_learner.curve import Curve
from resfit_learner.learner import Learner
from resfit_learner.rollout import run_episode
from resfit_policy.actor import unpack_actor
from resfit_policy.episode_log import Arm
from resfit_policy.runtime import PolicyRuntime


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
