"""``resfit experiment``: the core in-process on any Gymnasium environment, without ROS."""

from __future__ import annotations

import argparse
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import gymnasium
import yaml

from resfit_bringup import report
from resfit_bringup.job import Job, digest, load_job
from resfit_bringup.pipeline import (
    TRAINING_SEEDS,
    cache_folder,
    cached_base,
    evaluate,
    expert_demonstrations,
    record_demonstrations,
)
from resfit_bringup.progress import Progress, window
from resfit_learner.adapter import adapt
from resfit_learner.bags import read_log
from resfit_learner.bc import relabel
from resfit_learner.checkpoint import save_checkpoint
from resfit_learner.curve import Curve
from resfit_learner.learner import Learner
from resfit_learner.training import train
from resfit_policy.base_policy import load_base
from resfit_policy.runtime import PolicyRuntime
from resfit_policy.task import ConfigError, Task
from resfit_sim.env import VegaEnv


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        '--env', metavar='ID', help='a Gymnasium environment in place of --task (needs --demos or --expert)'
    )
    parser.add_argument('--steps', type=int, help="online control steps (default: the job's)")
    parser.add_argument('--recipe', help="named set of hyper-parameters (default: the job's)")
    parser.add_argument(
        '--set', action='append', default=[], metavar='KEY=VALUE', help='change one hyper-parameter; repeatable'
    )
    parser.add_argument('--job', type=Path, metavar='YAML', help="settings in place of the task's own")
    parser.add_argument('--demos', type=Path, help='folder of bags (default: made by the expert, and cached)')
    parser.add_argument('--expert', metavar='MODULE:FACTORY', help='demonstrator for --env; called with the task')
    parser.add_argument(
        '--base', type=Path, help='frozen base policy (default: trained on the demonstrations, and cached)'
    )
    parser.add_argument('--episodes', type=int, help="evaluation episodes per arm (default: the job's)")
    parser.add_argument('--out', type=Path, help='folder for curve, checkpoint and summary')


def changes(pairs: list[str]) -> dict[str, Any]:
    """``KEY=VALUE`` arguments, values as YAML. Raises ConfigError."""
    wrong = [pair for pair in pairs if '=' not in pair]
    if wrong:
        raise ConfigError(f'--set {wrong[0]}: write KEY=VALUE')
    return {key: yaml.safe_load(value) for key, _, value in (pair.partition('=') for pair in pairs)}


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Demonstrations, base, training, evaluation."""
    started = time.monotonic()
    job = load_job(
        args.env or args.task, args.job, steps=args.steps, recipe=args.recipe, evaluation_episodes=args.episodes
    )
    config = job.learner_config(**changes(args.set))
    env, task = make_env(args, job.variant)
    demonstrations = _demonstrations(args, job, task)
    base = args.base or cached_base(task, demonstrations, job, args.seed)
    policy = load_base(str(base), task)
    relabelled = [relabel(episode, policy) for episode in demonstrations]
    learner = Learner(config, task, relabelled, args.seed)
    runtime = PolicyRuntime(task, policy, seed=args.seed)
    with Progress('ResFiT', job.steps) as progress:

        def show(curve: Curve, seconds: float) -> None:
            progress.update(min(curve.steps[-1], job.steps), window(curve.success))

        curve = train(env, runtime, learner, steps=job.steps, seed=args.seed * 100_000 + TRAINING_SEEDS, progress=show)
    comparison, _, _ = evaluate(env, runtime, job.evaluation_episodes, args.seed)
    print(report.table(comparison))  # noqa: T201
    summary = report.summarise(
        task, args.seed, curve, comparison, time.monotonic() - started,
        recipe=job.recipe, updates=learner.counters.updates, config=asdict(config),
    )  # fmt: skip
    summary['curve'] = {'steps': curve.steps, 'success': [int(item) for item in curve.success]}
    if args.out:
        args.out.mkdir(parents=True, exist_ok=True)
        report.learning_curve(args.out / 'learning_curve.png', task, curve, comparison)
        save_checkpoint(learner, args.out / 'checkpoints')
    return summary


def make_env(args: argparse.Namespace, variant: str) -> tuple[gymnasium.Env[Any, Any], Task]:
    """The environment of --env or --task, and its task. Raises ConfigError."""
    if not args.env:
        env = VegaEnv(args.task, variant=variant)
        return env, env.task
    try:
        return adapt(gymnasium.make(args.env))
    except (gymnasium.error.Error, ImportError) as error:
        raise ConfigError(f'cannot make the environment "{args.env}": {error}') from None


def _demonstrations(args: argparse.Namespace, job: Job, task: Task) -> list[Any]:
    if args.demos:
        return list(read_log(args.demos))
    if args.env and not args.expert:
        raise ConfigError('--env needs demonstrations: give --demos FOLDER or --expert MODULE:FACTORY')
    if not args.env:
        return list(read_log(expert_demonstrations(task, job, args.seed)))
    env, expert = make_env(args, job.variant)[0], load_base(args.expert, task)
    folder = (
        cache_folder() / 'demonstrations' / f'{task.name}-{digest(task, job.demonstrations, args.seed, args.expert)}'
    )
    return record_demonstrations(folder, env, task, expert, job.demonstrations, args.seed)
