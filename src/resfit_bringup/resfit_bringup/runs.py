"""Run folders, and what a graph is given when the user names nothing."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any, Literal

import yaml

from resfit_bringup.job import digest, load_job
from resfit_bringup.pipeline import cache_folder, cached_base, expert_demonstrations
from resfit_learner.checkpoint import latest_checkpoint
from resfit_learner.demonstrations import read_demonstrations
from resfit_policy.base_policy import REMOTE
from resfit_policy.files import write_atomically
from resfit_policy.task import ConfigError, load_task, read_json, read_yaml

LATEST = Path('runs/latest')


def new_run(task: str, seed: int) -> Path:
    """A new folder in ``runs``. Raises OSError."""
    name = f'{time.strftime("%Y%m%d-%H%M%S")}-{Path(task).stem}-{seed}'
    run_dir = LATEST.parent.absolute() / name
    run_dir.mkdir(parents=True)
    return run_dir


def point_latest(run_dir: Path) -> None:
    """Point ``runs/latest`` to a run folder, if it is one of those in ``runs``. Raises OSError."""
    if run_dir.parent != LATEST.parent.absolute():
        return
    temporary = LATEST.parent / '.latest'
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(run_dir.name)
    os.replace(temporary, LATEST)


def newest_actor(run_dir: Path) -> Path:
    """The actor in a run's newest checkpoint. Raises ConfigError where there is none."""
    checkpoint = latest_checkpoint(run_dir / 'checkpoints')
    if checkpoint is None:
        raise ConfigError(f'no checkpoint in {run_dir}: run "resfit train" first, or name a run or weights')
    return checkpoint / 'actor.safetensors'


def optional(file: Path) -> dict[str, Any]:
    """A JSON file of a run folder; {} where there is none."""
    return read_json(file) if file.exists() else {}


def how_it_ran(run_dir: Path, node: str = 'policy_node') -> dict[str, Any]:
    """Parameters of a node of a run, {} where its folder has no log of them."""
    file = run_dir / 'log' / f'{node}.yaml'
    return dict(read_yaml(file)['/**']['ros__parameters']) if file.exists() else {}


def scene_of(run_dir: Path) -> tuple[str, Literal['state', 'vision'], str]:
    """Task, observation and variant of objects of a run; what a job has by default where its folder does not tell."""
    told, policy, sim = optional(run_dir / 'run.json'), how_it_ran(run_dir), how_it_ran(run_dir, 'sim_node')
    job = told.get('job', {})
    return (
        str(told.get('task') or policy.get('task', 'woolly_ball')),
        'vision' if (job.get('observation') == 'vision' if job else policy.get('vision')) else 'state',
        str(sim.get('variant') or job.get('variant', 'unseen')),
    )


def base_of(run_dir: Path) -> str:
    """The base of a run; '' where none is known, or where its chunks came from elsewhere, at their own time."""
    ran = how_it_ran(run_dir)
    where = str(ran.get('base', ''))
    if where.startswith(REMOTE) or ran.get('base_ahead'):
        return ''
    return str(run_dir / 'base') if (run_dir / 'base').is_dir() else where


def prepare_simulated(task_name: str, seed: int, vision: bool = False, recipe: str | None = None) -> dict[str, Path]:
    """What the task's job needs, made once: ``demonstrations`` of the expert, ``base``, ``learner_config``."""
    job = load_job(task_name, observation='vision' if vision else 'state', recipe=recipe)
    task = load_task(task_name).without_poses() if vision else load_task(task_name)
    demonstrations = expert_demonstrations(task, job, seed)
    base = cached_base(task, read_demonstrations(task, demonstrations), job, seed)
    settings = cache_folder() / 'learners' / f'{digest(job.learner)}.yaml'
    settings.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(settings, yaml.safe_dump(job.learner).encode())
    return {'demonstrations': demonstrations, 'base': base, 'learner_config': settings}
