"""``resfit bag from-lerobot``: a LeRobot dataset, of format v3, as bags to learn from."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from resfit_bringup.progress import Progress
from resfit_learner.export import append_episode
from resfit_learner.lerobot_import import Importer, recorded_task
from resfit_learner.lerobot_reader import DatasetReader
from resfit_policy.files import new_folder
from resfit_policy.task import load_task, task_names


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('path', type=Path, help='folder of the dataset (it holds meta/info.json)')
    parser.add_argument('--out', type=Path, required=True, help='folder for the bags; must not exist')
    parser.add_argument('--success', choices=('all',), help='take every episode for a success, whatever its labels')
    parser.add_argument('--resize', action='store_true', help="scale images to the task's image_size")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Write every episode as a bag that a base can be cloned from, and a residual learn from."""
    dataset = DatasetReader(args.path)
    name = recorded_task(dataset)
    task = load_task(name if name in task_names() else args.task)
    importer = Importer(dataset, task, args.success == 'all', args.resize)
    successes = steps = done = 0
    sequence = 1
    total = len(dataset.lengths)
    with new_folder(args.out) as folder, Progress('from LeRobot', total, 'episodes') as progress:
        for done, episode in enumerate(importer.episodes(), start=1):
            sequence = append_episode(folder, sequence, episode)
            successes, steps = successes + episode.success, steps + episode.length
            progress.update(done)
    origin = 'as they were recorded' if importer.own else 'as demonstrations'
    sees = 'joints and cameras' if importer.task.from_pixels else 'the whole state'
    print(f'{done} episodes, {successes} successes, {steps} steps in {args.out}, {origin}, of {sees}')  # noqa: T201
    return {'episodes': done, 'successes': successes, 'steps': steps, 'own': importer.own}
