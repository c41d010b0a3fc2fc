"""``resfit bag to-lerobot``: episodes as a LeRobot dataset, format v3.0."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from resfit_bringup.commands.bag.replay import task_of
from resfit_bringup.progress import Progress
from resfit_learner.bags import episode_folders, is_correction, read_log
from resfit_learner.lerobot_writer import DatasetWriter
from resfit_policy.episode_log import Phase
from resfit_policy.files import new_folder
from resfit_policy.task import ConfigError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('path', type=Path, help="a bag, a run's folder, or its folder of episodes")
    parser.add_argument('--out', type=Path, required=True, help='folder of the dataset; must not exist')


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Write every episode but aborted ones, each under its newest label."""
    aborted = successes = 0
    entries = episode_folders(args.path) or episode_folders(args.path / 'episodes')
    total = sum(not is_correction(folder) for *_, folder in entries) or 1
    read = read_log(args.path)
    with new_folder(args.out) as folder, Progress('to LeRobot', total, 'episodes') as progress:
        writer: DatasetWriter | None = None
        for done, episode in enumerate(read, start=1):
            if episode.outcome == Phase.ABORTED:
                aborted += 1
                continue
            writer = writer or DatasetWriter(folder, task_of([episode], args.task), episode)
            writer.add(episode)
            successes += episode.success
            progress.update(done)
        if writer is None:
            raise ConfigError(f'{args.path} holds no episode that was not aborted')
        writer.close()
    print(  # noqa: T201
        f'{writer.episodes} episodes, {successes} successes, {writer.frames} frames in {args.out}'
        + (f'; {aborted} aborted ones left out' if aborted else '')
    )
    return {'episodes': writer.episodes, 'successes': successes, 'frames': writer.frames, 'aborted': aborted}
