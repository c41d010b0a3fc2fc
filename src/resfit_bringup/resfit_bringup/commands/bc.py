"""``resfit bc``: train a base policy on demonstrations and freeze it."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from resfit_bringup.job import load_job
from resfit_bringup.pipeline import train_and_save_base
from resfit_learner.demonstrations import read_demonstrations
from resfit_policy.task import ConfigError, load_task


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--demos', type=Path, required=True, help='folder of bags, as "resfit collect" writes it')
    parser.add_argument('--out', type=Path, required=True, help='folder to freeze the base into; must not hold one')
    parser.add_argument('--job', type=Path, metavar='YAML', help="settings of the task's job (its section bc is used)")
    parser.add_argument(
        '--observation', choices=('state', 'vision'), help='vision: a base that sees images (default: state)'
    )
    parser.add_argument('--demonstrations', type=int, help='use only the first so many')


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Train, freeze, and say how well the held-out demonstrations are predicted."""
    if (args.out / 'policy.json').exists():
        raise ConfigError(f'{args.out} already holds a base policy: choose another folder')
    task, job = load_task(args.task), load_job(args.task, args.job, observation=args.observation)
    if job.observation == 'vision':
        task = task.without_poses()
    demonstrations = read_demonstrations(task, args.demos, args.demonstrations)
    about = train_and_save_base(args.out, task, demonstrations, job, args.seed)
    print(f'base policy frozen in {args.out}: {about}')  # noqa: T201
    return {'task': task.name, 'seed': args.seed, 'base': str(args.out), **about}
