"""Episodes in-process, on any Gymnasium environment: no ROS, the same runtime (design section 1)."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np

from resfit_policy.episode_log import Arm, Episode, Phase, build_episode
from resfit_policy.observation import NO_IMAGES, Observation
from resfit_policy.runtime import PolicyRuntime


def observe(raw: Any) -> Observation:
    """Observation of a Box (state) or a Dict with ``state`` and ``images``."""
    if isinstance(raw, dict):
        return Observation(np.asarray(raw['state'], np.float32), np.asarray(raw.get('images', NO_IMAGES)))
    return Observation(np.asarray(raw, np.float32))


def succeeded(reward: float, info: dict[str, Any]) -> bool:
    """Success as environments report it: info['success'], info['is_success'], else a positive reward."""
    for key in ('success', 'is_success'):
        if key in info:
            return bool(info[key])
    return reward > 0


def run_episode(
    env: gymnasium.Env[Any, Any],
    runtime: PolicyRuntime,
    *,
    seed: int,
    arm: Arm = Arm.RESIDUAL,
    explore: bool = False,
    episode_id: int = 0,
) -> Episode:
    """Run one episode to success or time-out; the start is a function of ``seed``.

    Raises RuntimeError when the environment ends an episode that ``runtime`` cannot log.
    """
    raw, info = env.reset(seed=seed)
    runtime.begin(arm, explore, episode_id)
    period = runtime.task.period_ns
    steps, success, ended, length = [], False, False, 0
    while not (success or ended) and length < runtime.task.horizon:
        record = runtime.step(observe(raw), stamp=length * period)
        steps.append(record)
        raw, reward, terminated, truncated, info = env.step(record.executed_action)
        length += 1
        success = succeeded(float(reward), info)
        ended = bool(terminated or truncated)
    if success:
        outcome = Phase.SUCCESS
    else:
        outcome = Phase.FAILURE if ended and bool(terminated) else Phase.TIMEOUT
    if outcome == Phase.TIMEOUT:
        steps.append(runtime.step(observe(raw), stamp=length * period, final=True))
    return build_episode(
        steps,
        episode_id=episode_id,
        task=runtime.task.name,
        seed=seed,
        arm=arm,
        outcome=outcome,
        success=success,
        last_step=length - 1,
        joints=runtime.task.robot.names,
    )
