"""``resfit expert``: how often the scripted expert solves a task."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from typing import Any

from resfit_bringup.progress import Progress, window
from resfit_learner.evaluation import mean_steps, wilson
from resfit_learner.rollout import run_episode
from resfit_policy.episode_log import Arm
from resfit_policy.runtime import PolicyRuntime
from resfit_policy.task import ConfigError
from resfit_sim.env import VegaEnv
from resfit_sim.experts import make_expert


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        '--episodes', type=int, default=100, help='episodes, each from its own start (default: %(default)s)'
    )
    parser.add_argument('--variant', default='unseen', help='demonstrated or unseen object (default: %(default)s)')


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Starts are those of seeds ``seed * 1000 + i``."""
    if args.episodes < 1:
        raise ConfigError('--episodes must be 1 or more')
    env = VegaEnv(args.task, variant=args.variant)
    runtime = PolicyRuntime(env.task, make_expert(env.task.name, args.variant))
    episodes = []
    with Progress('expert', args.episodes, 'episodes') as progress:
        for index in range(args.episodes):
            episodes.append(run_episode(env, runtime, seed=args.seed * 1000 + index, arm=Arm.BASE, episode_id=index))
            progress.update(index + 1, window([item.success for item in episodes]))
    rate = wilson(sum(item.success for item in episodes), len(episodes))
    steps = mean_steps(episodes)
    print(  # noqa: T201
        f'{env.task.name} ({args.variant}): {rate.success:.1%} of {rate.n} [{rate.low:.1%}, {rate.high:.1%}]'
        + (f', {steps:.0f} steps to success' if steps else '')
    )
    return {'task': env.task.name, 'seed': args.seed, 'variant': args.variant, 'steps': steps, **asdict(rate)}
