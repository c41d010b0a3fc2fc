"""A base of a wanted strength, on a task that nobody has tuned: fewer demonstrations, or shorter training."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
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


@dataclass(frozen=True)
class Level:
    """How a base is made: weaker ones come first."""

    demonstrations: int
    training: float = 1.0  # share of the gradient steps


# Two demonstrations are the fewest: one to learn from, one to see by how much the base errs. Where these are
# enough for a strong base, only training it more briefly makes a weaker one.
LADDER = (
    *(Level(2, 1 / part) for part in (64, 32, 16, 8, 4, 2)),
    *(Level(count) for count in (2, 3, 4, 5, 7, 10, 14, 20, 28, 40, 57, 80, 113, 160)),
)
FIRST = LADDER.index(Level(10))


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

    def success(index: int) -> Rate:
        level = LADDER[index]
        episodes = demonstrations(level.demonstrations)
        bc, act = (max(1, round(part.steps * level.training)) for part in (job.bc, job.act))
        briefer = replace(job, bc=replace(job.bc, steps=bc), act=replace(job.act, steps=act))
        folder = cached_base(task, episodes, briefer, seed)
        made[index] = episodes, folder
        runtime, won = PolicyRuntime(task, load_base(str(folder), task)), 0
        with Progress(f'base of {len(episodes)} demonstrations', STARTS, 'starts') as progress:
            for done, start in enumerate(seeds(BAND_SEEDS, seed, STARTS), 1):
                won += run_episode(env, runtime, seed=start, arm=Arm.BASE).success
                progress.update(done, f'{won / done:.0%}')
        return wilson(won, STARTS)

    index, tried = choose(success, low, high, FIRST, len(LADDER))
    choice = {'band': [low, high], **asdict(LADDER[index]), **asdict(tried[index])}
    others = [{**asdict(LADDER[number]), 'success': rate.success} for number, rate in tried.items()]
    return *made[index], choice | {'tried': others}


def choose(
    success: Callable[[int], Rate], low: float, high: float, first: int, count: int
) -> tuple[int, dict[int, Rate]]:
    """By bisection, a level from 0 to ``count`` - 1 whose success lies within the band, and all that were tried.

    Success rises with the level, roughly. Where none lies within the band, the nearest above is taken: what never
    succeeds is no start.
    """
    tried: dict[int, Rate] = {}
    below, above, level = -1, count, first
    while above - below > 1:
        tried[level] = success(level)
        if low <= tried[level].success <= high:
            break
        if tried[level].success < low:
            below = level
        else:
            above = level
        level = (below + above) // 2

    def distance(number: int) -> tuple[bool, float, int]:
        rate = tried[number].success
        return rate < low, abs(rate - low), number

    return min(tried, key=distance), tried
