"""Base against base + residual on the same starts, with intervals that are honest at small n."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import gymnasium

from resfit_learner.rollout import run_episode
from resfit_policy.episode_log import Arm, Episode
from resfit_policy.runtime import PolicyRuntime

Z = 1.959964  # two-sided 95 %


@dataclass(frozen=True)
class Rate:
    """A success rate with its 95 % Wilson interval."""

    success: float
    n: int
    low: float
    high: float


def wilson(successes: int, n: int) -> Rate:
    """Wilson score interval. Raises ValueError unless 0 <= successes <= n and n > 0."""
    if n <= 0 or not 0 <= successes <= n:
        raise ValueError(f'{successes} successes of {n} trials')
    p = successes / n
    centre = (p + Z * Z / (2 * n)) / (1 + Z * Z / n)
    half = Z / (1 + Z * Z / n) * math.sqrt(p * (1 - p) / n + Z * Z / (4 * n * n))
    return Rate(p, n, max(0.0, min(p, centre - half)), min(1.0, max(p, centre + half)))  # p is in it, rounding or not


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
