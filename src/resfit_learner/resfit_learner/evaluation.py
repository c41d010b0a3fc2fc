"""Base against base + residual on the same starts, with intervals that are honest at small n."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import gymnasium

from resfit_learner.rollout import run_episode
from resfit_policy.episode_log import Arm, Episode
from resfit_policy.rate import Rate as Rate
from resfit_policy.rate import wilson as wilson
from resfit_policy.runtime import PolicyRuntime


def newcombe(first: Rate, second: Rate) -> tuple[float, float]:
    """95 % interval of ``second - first`` (Newcombe's hybrid score interval, method 10)."""
    difference = second.success - first.success
    low = difference - math.hypot(second.success - second.low, first.high - first.success)
    high = difference + math.hypot(second.high - second.success, first.success - first.low)
    return low, high


@dataclass(frozen=True)
class Comparison:
    """What ``resfit evaluate`` reports; the keys of summary.json."""

    base: Rate
    resfit: Rate
    difference: dict[str, float]
    steps_to_success: dict[str, float | None]

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def compare(base: Sequence[Episode], resfit: Sequence[Episode]) -> Comparison:
    """Compare two sets of episodes. Raises ValueError where one is empty."""
    rates = [wilson(sum(item.success for item in arm), len(arm)) for arm in (base, resfit)]
    low, high = newcombe(*rates)
    return Comparison(
        rates[0], rates[1], {'low': low, 'high': high}, {'base': mean_steps(base), 'resfit': mean_steps(resfit)}
    )


def mean_steps(episodes: Sequence[Episode]) -> float | None:
    """Mean control steps of the successful episodes; None without one."""
    lengths = [item.length for item in episodes if item.success]
    return sum(lengths) / len(lengths) if lengths else None


def interleaved(
    env: gymnasium.Env[Any, Any],
    runtime: PolicyRuntime,
    seeds: Sequence[int],
    progress: Callable[[int, Comparison], None] = lambda done, so_far: None,
) -> tuple[list[Episode], list[Episode]]:
    """Run base and base + residual in turn on every seed, without exploration."""
    arms: dict[Arm, list[Episode]] = {Arm.BASE: [], Arm.RESIDUAL: []}
    for index, seed in enumerate(seeds):
        order = (Arm.BASE, Arm.RESIDUAL) if index % 2 == 0 else (Arm.RESIDUAL, Arm.BASE)
        for arm in order:
            arms[arm].append(run_episode(env, runtime, seed=seed, arm=arm, episode_id=2 * index + arm))
        progress(index + 1, compare(arms[Arm.BASE], arms[Arm.RESIDUAL]))
    return arms[Arm.BASE], arms[Arm.RESIDUAL]
