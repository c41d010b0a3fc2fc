"""``resfit train``: the main job, from nothing to a better policy and a report."""

from __future__ import annotations

import argparse
import json
import logging
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml

from resfit_bringup import report
from resfit_bringup.commands.evaluate import load_policy
from resfit_bringup.job import Job, load_job
from resfit_bringup.pipeline import evaluate, train_and_save_base
from resfit_bringup.runs import new_run, newest_actor
from resfit_bringup.stages import collect_demonstrations, read_curve, train_on_graph
from resfit_learner.bags import read_log
from resfit_learner.checkpoint import latest_checkpoint
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
    parser.add_argument('--steps', type=int, help="online control steps (default: the job's)")
    parser.add_argument('--demonstrations', type=int, help="expert episodes to record (default: the job's)")
    parser.add_argument('--episodes', type=int, help="evaluation episodes per arm (default: the job's)")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Demonstrations, base, residual RL on the graph, evaluation, report; each stage once."""
    started = time.monotonic()
    job = load_job(
        args.task, args.job, steps=args.steps, demonstrations=args.demonstrations, evaluation_episodes=args.episodes
    )
    env = VegaEnv(args.task, variant=job.variant)
    task = env.task
    run_dir = open_run(args.run_dir, args.task, args.seed, job)
    log.info('run folder: %s', run_dir)

    demonstrations, base = run_dir / 'demonstrations', run_dir / 'base'
    if not (base / 'policy.json').exists():
        if len(read_curve(demonstrations).success) < job.demonstrations:
            collect_demonstrations(demonstrations, args.task, job, args.seed)
        train_and_save_base(base, task, list(read_log(demonstrations)), job, args.seed)
    curve = read_curve(run_dir)
    if not curve.steps or curve.steps[-1] < job.steps:
        curve = train_on_graph(run_dir, args.task, job, args.seed, demonstrations, base)

    runtime = load_policy(env, base, newest_actor(run_dir))
    comparison, base_episodes, resfit_episodes = evaluate(env, runtime, job.evaluation_episodes, args.seed)
    print(report.table(comparison))  # noqa: T201
    summary = report.summarise(
        task, args.seed, curve, comparison, elapsed(run_dir, time.monotonic() - started),
        recipe=job.recipe, **learner_figures(run_dir, job),
    )  # fmt: skip
    write_atomically(run_dir / 'summary.json', (json.dumps(summary, indent=2) + '\n').encode())
    report.learning_curve(run_dir / 'learning_curve.png', task, curve, comparison)
    make_video(run_dir / 'before_after.gif', task, job, runtime, base_episodes, resfit_episodes)
    log.info('report: %s', run_dir)
    return summary


def open_run(given: Path | None, task: str, seed: int, job: Job) -> Path:
    """Make or take up a run folder and point runs/latest to it. Raises ConfigError."""
    about = {'task': task, 'seed': seed, 'job': json.loads(json.dumps(asdict(job)))}
    try:
        run_dir = given.absolute() if given else new_run(task, seed)
        run_dir.mkdir(parents=True, exist_ok=True)
        file = run_dir / 'run.json'
        if file.exists():
            before = read_json(file)
            changed = [key for key in ('task', 'seed') if before.get(key) != about[key]]
            changed += [key for key, value in about['job'].items() if before.get('job', {}).get(key) != value]
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


def _plain(config: Any) -> Any:
    return json.loads(json.dumps(asdict(config)))


def elapsed(run_dir: Path, seconds: float) -> float:
    """Wall time of all tries together, so that a resumed run does not look faster than it was."""
    file = run_dir / 'wall_s.json'
    before = json.loads(file.read_text()) if file.exists() else 0.0
    write_atomically(file, json.dumps(before + seconds).encode())
    return float(before + seconds)


def learner_figures(run_dir: Path, job: Job) -> dict[str, Any]:
    """Updates done, and the update-to-data ratio that was really held."""
    checkpoint = latest_checkpoint(run_dir / 'checkpoints')
    if checkpoint is None:
        return {}
    counters = read_json(checkpoint / 'learner.json')['counters']
    learned_from = counters['env_steps'] - job.learner_config().min_steps
    utd = counters['updates'] / learned_from if learned_from > 0 else 0.0
    return {'updates': counters['updates'], 'utd': round(utd, 3), 'utd_configured': job.learner_config().utd}


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
