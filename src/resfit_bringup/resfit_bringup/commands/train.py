"""``resfit train``: the main job, from nothing to a better policy and a report."""

from __future__ import annotations

import argparse
import json
import logging
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml

from resfit_bringup import report
from resfit_bringup.commands.bag.report import write_report
from resfit_bringup.commands.evaluate import load_policy
from resfit_bringup.job import Job, load_job
from resfit_bringup.pipeline import count_base, evaluate, evaluate_start, train_and_save_base
from resfit_bringup.runs import new_run, newest_actor, point_latest
from resfit_bringup.stages import (
    add_graph_arguments,
    collect_demonstrations,
    graph_options,
    read_curve,
    train_on_graph,
)
from resfit_learner.checkpoint import latest_checkpoint
from resfit_learner.config import MACHINE
from resfit_learner.curve import Curve
from resfit_learner.demonstrations import read_demonstrations
from resfit_policy.files import write_atomically
from resfit_policy.task import ConfigError, Task, read_json
from resfit_sim.env import VegaEnv

log = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        '--run',
        dest='run_dir',
        type=Path,
        help='run folder; an unfinished one is gone on with (default: a new one in runs/)',
    )
    parser.add_argument('--job', type=Path, metavar='YAML', help="settings in place of the task's own")
    parser.add_argument(
        '--observation', choices=('state', 'vision'), help='vision: cameras in place of object poses (default: state)'
    )
    parser.add_argument('--steps', type=int, help="online control steps (default: the job's)")
    parser.add_argument('--demonstrations', type=int, help="expert episodes to record (default: the job's)")
    parser.add_argument('--episodes', type=int, help="evaluation episodes per arm (default: the job's)")
    add_graph_arguments(parser)


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Demonstrations, base, its count, residual RL on the graph, evaluation, report; each stage once."""
    started = time.monotonic()
    job = load_job(
        args.task, args.job, steps=args.steps, demonstrations=args.demonstrations, evaluation_episodes=args.episodes,
        observation=args.observation,
    )  # fmt: skip
    given = graph_options(args) | {'vision': job.observation == 'vision'}
    env = VegaEnv(args.task, observation=job.observation, variant=job.variant)
    run_dir = open_run(args.run_dir, args.task, args.seed, job)
    log.info('run folder: %s', run_dir)
    args.resume = [] if args.run_dir else ['--run', str(run_dir)]
    file = run_dir / 'wall_s.json'
    before = float(json.loads(file.read_text())) if file.exists() else 0.0

    def wall() -> float:
        """Seconds of all tries together, so that a resumed run does not look faster than it was."""
        return before + time.monotonic() - started

    try:
        return stages(env, run_dir, job, args, given, wall)
    finally:
        write_atomically(file, json.dumps(wall()).encode())


def stages(
    env: VegaEnv,
    run_dir: Path,
    job: Job,
    args: argparse.Namespace,
    given: dict[str, Any],
    wall: Callable[[], float],
) -> dict[str, Any]:
    """What ``run`` does in its run folder; what an earlier try has finished is left as it is."""
    task, demonstrations, base = env.task, run_dir / 'demonstrations', run_dir / 'base'
    if not (base / 'policy.json').exists():
        if len(read_curve(demonstrations).success) < job.demonstrations:
            collect_demonstrations(demonstrations, args.task, job, args.seed, **given)
        train_and_save_base(base, task, read_demonstrations(task, demonstrations), job, args.seed)
    curve = read_curve(run_dir)
    if not learned(run_dir, curve, job):
        counted = count_base(run_dir / 'base_count.json', env, base, (job.evaluation_episodes + 1) // 2, args.seed)
        if not counted[0]:
            log.warning(
                'the base alone succeeded in none of %d episodes: there is little to learn from; more demonstrations, '
                'or demonstrations nearer to what it meets, will help',
                counted[1],
            )
        curve = train_on_graph(run_dir, args.task, job, args.seed, demonstrations, base, counted, **given)
        if not curve.steps or curve.steps[-1] < job.steps:
            done = curve.steps[-1] if curve.steps else 0
            raise ConfigError(f'the graph was ended after {done} of {job.steps} steps: go on with --run {run_dir}')
        if not learned(run_dir, curve, job):
            log.warning('the learner has not used every episode: what is evaluated is its newest checkpoint')

    runtime = load_policy(env, str(base), newest_actor(run_dir))
    comparison, base_episodes, resfit_episodes = evaluate(env, runtime, job.evaluation_episodes, args.seed)
    warms = job.learner_config().warm_start
    start = evaluate_start(env, runtime, job.evaluation_episodes, args.seed) if warms else None
    print(report.table(comparison, start))  # noqa: T201
    summary = report.summarise(
        task, args.seed, curve, comparison, wall(), recipe=job.recipe, start=asdict(start) if start else None,
        **learner_figures(run_dir, job),
    )  # fmt: skip
    write_atomically(run_dir / 'summary.json', (json.dumps(summary, indent=2) + '\n').encode())
    report.learning_curve(run_dir / 'learning_curve.png', task, curve, comparison)
    make_video(run_dir / 'before_after.gif', task, job, runtime, base_episodes, resfit_episodes)
    try:
        write_report(run_dir, run_dir / 'report.html', videos=0)  # films take longer than all the rest
    except (ConfigError, OSError) as error:
        log.warning('no report.html: %s', error)
    log.info('report: %s', run_dir)
    return summary


def open_run(given: Path | None, task: str, seed: int, job: Job) -> Path:
    """Make or take up a run folder and point runs/latest to it. Raises ConfigError."""
    about = {'task': task, 'seed': seed, 'job': json.loads(json.dumps(asdict(job)))}
    try:
        run_dir = given.absolute().resolve() if given else new_run(task, seed)
        run_dir.mkdir(parents=True, exist_ok=True)
        file = run_dir / 'run.json'
        if not file.exists() and any((run_dir / name).exists() for name in ('episodes', 'checkpoints')):
            raise ConfigError(f'{run_dir} holds a run that "resfit train" did not begin: choose a new run folder')
        point_latest(run_dir)
        if file.exists():
            before = read_json(file)
            changed = [key for key in ('task', 'seed') if before.get(key) != about[key]]
            then, now = (_comparable(item.get('job', {})) for item in (before, about))
            changed += [key for key, value in now.items() if then.get(key) != value]
            growing = {'steps', 'evaluation_episodes'}
            if set(changed) - growing:
                raise ConfigError(
                    f'{run_dir} was begun with other settings ({", ".join(changed)}): '
                    'choose a new run folder, or the old settings'
                )
        write_atomically(file, json.dumps(about, indent=2).encode())
        write_atomically(run_dir / 'learner.yaml', yaml.safe_dump(_plain(job.learner_config())).encode())
    except OSError as error:
        raise ConfigError(
            f'cannot write to {given or "runs"}: {error.strerror}; choose another place with --run'
        ) from None
    return run_dir


def _comparable(job: dict[str, Any]) -> dict[str, Any]:
    """The settings that decide a run: not, on which machine it is learned."""
    return job | {'learner': {key: value for key, value in job.get('learner', {}).items() if key not in MACHINE}}


def _plain(config: Any) -> Any:
    return json.loads(json.dumps(asdict(config)))


def counters(run_dir: Path) -> dict[str, int] | None:
    """How far the learner was at its newest checkpoint; None without one."""
    checkpoint = latest_checkpoint(run_dir / 'checkpoints')
    return None if checkpoint is None else dict(read_json(checkpoint / 'learner.json')['counters'])


def learned(run_dir: Path, curve: Curve, job: Job) -> bool:
    """All online steps are made, and the learner has used them."""
    done = counters(run_dir)
    if done is None or not curve.steps or curve.steps[-1] < job.steps:
        return False
    due = job.learner_config().updates_due(curve.steps[-1])
    return done['env_steps'] >= curve.steps[-1] and done['updates'] >= due


def learner_figures(run_dir: Path, job: Job) -> dict[str, Any]:
    """Updates done, and the update-to-data ratio that was really held."""
    done = counters(run_dir)
    if done is None:
        return {}
    config = job.learner_config()
    utd = config.utd_held(done['env_steps'], done['updates'])
    return {'updates': done['updates'], 'utd': round(utd, 3), 'utd_configured': config.utd}


def make_video(path: Path, task: Task, job: Job, runtime: Any, base: Any, resfit: Any) -> None:
    """Film a start that only ResFiT solved; where nothing can be rendered, say so and go on."""
    from resfit_bringup.video import film, telling_seed
    from resfit_sim.rendering import RenderError

    seed = telling_seed(base, resfit)
    if seed is None:
        log.info('no video: there is no start that the base failed and ResFiT solved')
        return
    try:
        film(path, task, job.variant, runtime, seed)
    except RenderError as error:
        log.warning('no video: %s', error)
