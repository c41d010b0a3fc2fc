"""A base of a wanted strength, on a task that nobody has tuned: by the number of its demonstrations."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import gymnasium

from resfit_bringup.job import Job
from resfit_bringup.pipeline import cached_base, seeds
from resfit_bringup.progress import Progress
from resfit_learner.evaluation import Rate, wilson
from resfit_learner.rollout import run_episode
from resfit_policy.base_policy import load_base
from resfit_policy.episode_log import Arm, Episode
from resfit_policy.runtime import PolicyRuntime
from resfit_policy.task import Task

BAND_SEEDS = 3000  # starts that choose the base, apart from all others
STARTS = 50
FIRST, MOST = 10, 160  # demonstrations


def base_within(
    low: float,
    high: float,
    env: gymnasium.Env[Any, Any],
    task: Task,
    demonstrations: Callable[[int], list[Episode]],
    job: Job,
    seed: int,
) -> tuple[list[Episode], Path, dict[str, Any]]:
    """A base that succeeds on ``low`` to ``high`` of its starts: its demonstrations, its folder, the choice.

    ``demonstrations(count)`` are the first so many, or all where there are fewer.
    """
    made: dict[int, tuple[list[Episode], Path]] = {}

    def success(count: int) -> Rate:
        episodes = demonstrations(count)
        folder = cached_base(task, episodes, job, seed)
        made[count] = episodes, folder
        runtime, won = PolicyRuntime(task, load_base(str(folder), task)), 0
        with Progress(f'base of {len(episodes)} demonstrations', STARTS, 'starts') as progress:
            for done, start in enumerate(seeds(BAND_SEEDS, seed, STARTS), 1):
                won += run_episode(env, runtime, seed=start, arm=Arm.BASE).success
                progress.update(done, f'{won / done:.0%}')
        return wilson(won, STARTS)

    count, tried = choose_count(success, low, high)
    choice = {'band': [low, high], 'demonstrations': count, **asdict(tried[count])}
    return *made[count], choice | {'tried': {number: rate.success for number, rate in tried.items()}}


def choose_count(
    success: Callable[[int], Rate], low: float, high: float, first: int = FIRST, most: int = MOST
) -> tuple[int, dict[int, Rate]]:
    """A number of demonstrations whose base lies within the band, and all that were tried on the way.

    Success grows with the demonstrations, roughly: double or halve, then bisect. Where no number gives a base
    within the band, the nearest above is taken: what never succeeds is no start.
    """
    tried: dict[int, Rate] = {}
    below, above, count = 0, most + 1, first
    while count not in tried:
        tried[count] = success(count)
        if low <= tried[count].success <= high:
            break
        if tried[count].success < low:
            below = count
        else:
            above = count
        count = min(2 * below, most) if above > most else max(1, (below + above) // 2)

    def distance(number: int) -> tuple[bool, float, int]:
        rate = tried[number].success
        return rate < low, abs(rate - low), number

    return min(tried, key=distance), tried
