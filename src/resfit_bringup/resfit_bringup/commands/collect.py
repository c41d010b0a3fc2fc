"""``resfit collect``: expert episodes as bags, through the ROS graph."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from resfit_bringup.job import load_job
from resfit_bringup.stages import add_graph_arguments, collect_demonstrations, graph_options
from resfit_policy.task import ConfigError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        '--out', type=Path, required=True, help='folder for the bags; an unfinished one is gone on with'
    )
    parser.add_argument('--episodes', type=int, help="episodes to record (default: the job's demonstrations)")
    parser.add_argument('--vision', action='store_true', help='record the cameras, too')
    parser.add_argument('--job', type=Path, metavar='YAML', help="settings in place of the task's own")
    add_graph_arguments(parser)


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Start simulation, policy (the expert), reward and replay nodes until the log holds enough episodes."""
    job = load_job(args.task, args.job, demonstrations=args.episodes, observation='vision' if args.vision else None)
    if args.out.is_file():
        raise ConfigError(f'{args.out} is a file: give a folder')
    given = graph_options(args) | {'vision': args.vision or job.observation == 'vision'}
    args.resume = []
    curve = collect_demonstrations(args.out, args.task, job, args.seed, **given)
    successes = sum(curve.success)
    print(f'{len(curve.success)} episodes in {args.out}/episodes, {successes} of them successes')  # noqa: T201
    return {'task': args.task, 'seed': args.seed, 'episodes': len(curve.success), 'successes': successes}
