"""``resfit experiment``: the core in-process on any Gymnasium environment, without ROS."""

from __future__ import annotations

import argparse
import hashlib
import shlex
import time
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import yaml

from resfit_bringup import report
from resfit_bringup.band import base_within
from resfit_bringup.job import Job, digest, load_job
from resfit_bringup.pipeline import (
    TRAINING_SEEDS,
    cache_folder,
    cached_base,
    contents,
    evaluate,
    evaluate_start,
    expert_demonstrations,
    fingerprint,
    record_demonstrations,
    seeds,
)
from resfit_bringup.progress import Progress, window
from resfit_bringup.resumable import Log, told_by, train_resumable
from resfit_bringup.versions import versions
from resfit_learner import adapter, metaworld
from resfit_learner.bc import relabel
from resfit_learner.checkpoint import save_checkpoint
from resfit_learner.config import MACHINE
from resfit_learner.demonstrations import read_demonstrations
from resfit_learner.evaluation import wilson
from resfit_learner.method import METHODS, Method, Setup, make_method
from resfit_learner.rollout import run_episode
from resfit_learner.training import ResFiT
from resfit_policy.actor import ActorConfig
from resfit_policy.base_policy import ChunkPolicy, load_base
from resfit_policy.episode_log import Arm, Episode
from resfit_policy.task import ConfigError, Task, parse_config
from resfit_sim.env import VegaEnv

INTERMEDIATE_SEEDS = 6000  # starts of --eval-every, apart from all others
INTERMEDIATE_EPISODES = 50
PACE = 10  # demonstrations that tell how long the task takes


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        '--env', metavar='ID', help='a Gymnasium environment in place of --task, or metaworld:<task of Meta-World>'
    )
    parser.add_argument('--horizon', type=int, help="with --env: steps per episode (default: the environment's)")
    parser.add_argument(
        '--observation', choices=('state', 'vision'), help='vision: cameras in place of object poses (default: state)'
    )
    parser.add_argument('--steps', type=int, help="online control steps (default: the job's)")
    parser.add_argument('--method', default='resfit', choices=METHODS, help='how to get better (default: %(default)s)')
    parser.add_argument('--recipe', help="named set of hyper-parameters (default: the job's)")
    parser.add_argument(
        '--set', action='append', default=[], metavar='KEY=VALUE', help='change one hyper-parameter; repeatable'
    )
    parser.add_argument('--job', type=Path, metavar='YAML', help="settings in place of the task's own")
    parser.add_argument('--demos', type=Path, help='folder of bags (default: made by the expert, and cached)')
    parser.add_argument(
        '--expert',
        metavar='POLICY',
        help='demonstrator for --env, MODULE:FACTORY or a file as for --base (default: its own)',
    )
    parser.add_argument('--demonstrations', type=int, help="number of demonstrations (default: the job's)")
    parser.add_argument(
        '--base-band', type=float, nargs=2, metavar=('LOW', 'HIGH'),
        help="take as many demonstrations as give a base of such a success rate (default: the job's, if any)",
    )  # fmt: skip
    parser.add_argument(
        '--base', type=Path, help='frozen base policy (default: trained on the demonstrations, and cached)'
    )
    parser.add_argument('--episodes', type=int, help="evaluation episodes per arm (default: the job's)")
    parser.add_argument(
        '--eval-every', type=int, default=0, metavar='STEPS', help='evaluate on the way, too, on 50 starts of its own'
    )
    parser.add_argument(
        '--out', type=Path, help='folder for checkpoint and curve; a run in it is gone on with, also with more --steps'
    )


def changes(pairs: list[str]) -> dict[str, Any]:
    """``KEY=VALUE`` arguments, values as YAML. Raises ConfigError."""
    wrong = [pair for pair in pairs if '=' not in pair]
    if wrong:
        raise ConfigError(f'--set {wrong[0]}: write KEY=VALUE')
    return {key: yaml.safe_load(value) for key, _, value in (pair.partition('=') for pair in pairs)}


def refuse_ignored(args: argparse.Namespace) -> None:
    """Raises ConfigError for options that would have no effect beside others."""
    if args.env and args.observation == 'vision':
        raise ConfigError('--observation vision is for --task: an environment is seen as it shows itself')
    if args.expert and (args.demos or not args.env):
        raise ConfigError('--expert makes the demonstrations of --env: leave it out, or --demos')
    if args.base_band and (args.base or args.demonstrations):
        raise ConfigError('--base-band chooses base and demonstrations: leave it out, or --base and --demonstrations')


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Demonstrations, base, training, evaluation."""
    started = time.monotonic()
    refuse_ignored(args)
    if args.env and args.env.startswith(metaworld.PREFIX):
        metaworld.enter_venv()
    job = load_job(
        args.env or args.task, args.job, bool(args.env), steps=args.steps, recipe=args.recipe,
        evaluation_episodes=args.episodes, horizon=args.horizon, demonstrations=args.demonstrations,
        base_band=args.base_band, observation=args.observation,
    )  # fmt: skip
    job = replace(job, learner={**job.learner, **changes(args.set)})
    config = job.learner_config()
    print(f'{args.env or args.task}: method {args.method}, recipe {job.recipe}, {job.steps} online steps')  # noqa: T201
    make = partial(make_env, args, job)
    if args.env and job.patience and not job.horizon:
        make = partial(make_env, args, replace(job, horizon=_patient_horizon(args, job, *make())))
    env, task = make()
    demonstrations, base, choice = _given(args, job, env, task)
    print(f'base policy: {base}')  # noqa: T201
    if args.method == 'filtered_bc' and not isinstance(load_base(str(base), task), ChunkPolicy):
        raise ConfigError('filtered_bc trains anew only what "resfit bc" trains: leave out --base')
    warms = config.warm_start and args.method == 'resfit'
    file = args.out / 'run.safetensors' if args.out else None
    shape = told_by(file).get('actor') if file and args.method == 'resfit' else None
    warming = Progress('warm start', config.warm_start, 'updates').update if warms and not shape else lambda step: None
    setup = Setup(
        task=task,
        make_env=lambda: make()[0],
        make_base=lambda: load_base(str(base), task),
        demonstrations=[relabel(item, load_base(str(base), task), config.from_pixels(task)) for item in demonstrations],
        config=config,
        bc=job.bc,
        seed=args.seed,
        first_start=args.seed * 100_000 + TRAINING_SEEDS,
        show=warming,
        resumed=parse_config(ActorConfig, shape, str(file)) if shape else None,
    )
    before = time.monotonic(), time.process_time()
    method = make_method(args.method, setup)
    prepared = time.monotonic()
    warmed = (prepared - before[0], time.process_time() - before[1]) if warms and not shape else (0.0, 0.0)
    made_of = {'base': fingerprint(str(base)), 'demonstrations': digest(contents(demonstrations))}
    log = train(args, job, method, env, made_of, Log(warm_s=warmed[0], warm_cpu_s=warmed[1]))
    trained = time.monotonic()
    comparison, _, _ = evaluate(env, method.runtime, job.evaluation_episodes, args.seed)
    base_acts = method.runtime.alone
    start = evaluate_start(env, method.runtime, job.evaluation_episodes, args.seed) if warms else None
    print(report.table(comparison, start))  # noqa: T201
    curve, training_s = method.curve, max(log.elapsed, 1e-9)
    # with the warm start and the training of stopped tries
    wall_s = prepared - started + log.warm_s - warmed[0] + training_s + time.monotonic() - trained
    summary = report.summarise(
        task, args.seed, curve, comparison, wall_s,
        env=args.env or task.name, variant=job.variant, horizon=task.horizon, method=args.method, recipe=job.recipe,
        training_s=round(training_s, 1), training_cpu_s=round(log.cpu, 1),  # without the warm start
        warm_start_s=round(log.warm_s, 1), warm_start_cpu_s=round(log.warm_cpu_s, 1),
        env_steps_per_s=round(method.env_steps / training_s, 1),
        reached=report.milestones(curve, seconds=log.seconds, cpu_seconds=log.cpu_seconds), evaluations=log.evaluations,
        settings=method.settings, job=asdict(job), base_choice=choice, versions=versions(),
        start=asdict(start) if start else None, base_acts=base_acts,
        command=shlex.join(['resfit', *args.words]),
    )  # fmt: skip
    summary['curve'] = {
        'steps': curve.steps,
        'success': [int(item) for item in curve.success],
        'seconds': [round(item, 1) for item in log.seconds],
        'cpu_seconds': [round(item, 1) for item in log.cpu_seconds],
    }
    if args.out:
        report.learning_curve(args.out / 'learning_curve.png', task, curve, comparison)
        if isinstance(method, ResFiT) and config.on_graph:
            save_checkpoint(method.learner, args.out / 'checkpoints')  # its actor is what the policy node loads
    return summary


def train(
    args: argparse.Namespace, job: Job, method: Method, env: gymnasium.Env[Any, Any], made_of: dict[str, str], log: Log
) -> Log:
    """The online part, with progress; with --out it goes on from where it was stopped."""
    file = None
    if args.out:
        args.out.mkdir(parents=True, exist_ok=True)
        file, args.resume = args.out / 'run.safetensors', []
    identity = {
        'env': args.env or args.task, 'method': args.method, 'seed': args.seed,
        'settings': {key: value for key, value in method.settings.items() if key not in MACHINE},
        'eval_every': args.eval_every, **made_of,
        'job': asdict(replace(job, steps=1, evaluation_episodes=1, learner={})),
    }  # fmt: skip
    starts = seeds(INTERMEDIATE_SEEDS, args.seed, INTERMEDIATE_EPISODES)

    def assess() -> dict[str, Any]:
        won = [run_episode(env, method.runtime, seed=start, arm=Arm.RESIDUAL).success for start in starts]
        return asdict(wilson(sum(won), len(won)))

    with Progress(args.method, job.steps) as progress:
        return train_resumable(
            method, job.steps, log=log, file=file, identity=identity, evaluate=assess, evaluate_every=args.eval_every,
            progress=lambda: progress.update(min(method.env_steps, job.steps), window(method.curve.success)),
        )  # fmt: skip


def make_env(args: argparse.Namespace, job: Job) -> tuple[gymnasium.Env[Any, Any], Task]:
    """The environment of --env or --task, and its task. Raises ConfigError."""
    if args.env:
        return adapter.make(args.env, job.horizon)
    if job.horizon or job.patience:
        raise ConfigError('a horizon (or patience) is for --env: that of a task is in its YAML file')
    env = VegaEnv(args.task, observation=job.observation, variant=job.variant)
    return env, env.task


def _patient_horizon(args: argparse.Namespace, job: Job, env: gymnasium.Env[Any, Any], task: Task) -> int:
    """So many steps as ``patience`` demonstrations take on average: what took longer is stuck."""
    assert job.patience is not None
    lengths = [episode.length for episode in _demonstrations(args, job, env, task, PACE)]
    return min(task.horizon, round(job.patience * float(np.mean(lengths))))


def _given(
    args: argparse.Namespace, job: Job, env: gymnasium.Env[Any, Any], task: Task
) -> tuple[list[Episode], Path, dict[str, Any]]:
    """Demonstrations, the folder of the base, and how that was chosen."""
    if job.base_band and not args.base and not args.demonstrations:
        return base_within(*job.base_band, env, task, partial(_demonstrations, args, job, env, task), job, args.seed)
    count = args.demonstrations if args.demos else job.demonstrations
    demonstrations = _demonstrations(args, job, env, task, count)
    return demonstrations, args.base or cached_base(task, demonstrations, job, args.seed), {}


def _demonstrations(
    args: argparse.Namespace, job: Job, env: gymnasium.Env[Any, Any], task: Task, count: int | None
) -> list[Episode]:
    if args.demos:
        return read_demonstrations(task, args.demos, count)
    assert count is not None
    if not args.env:
        return read_demonstrations(task, expert_demonstrations(task, replace(job, demonstrations=count), args.seed))
    expert = load_base(args.expert, task) if args.expert else adapter.expert(env, task)
    known_by = [args.expert]
    if args.expert and Path(args.expert).is_file():  # by what is in it, too
        known_by.append(hashlib.sha256(Path(args.expert).read_bytes()).hexdigest())
    which = digest(task, count, args.seed, *known_by)
    folder = cache_folder() / 'demonstrations' / f'{task.name}-{which}'
    return record_demonstrations(folder, env, task, expert, count, args.seed)
