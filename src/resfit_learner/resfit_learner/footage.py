"""Labelled episodes as images: what a success classifier is trained and tested on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from resfit_learner.bags import read_log
from resfit_policy.episode_log import Episode, Phase
from resfit_policy.judge import ONE_COLOUR
from resfit_policy.task import ConfigError, Task

RECORD = (
    'record with cameras: "resfit collect --vision", or the launch argument vision:=true; a base that sees images '
    'also needs the parameter pixels of policy_node, else its features are stored in their place'
)
ENOUGH = 10  # episodes of each kind


@dataclass(frozen=True)
class Footage:
    """What the cameras saw in one episode, and its newest label."""

    name: str
    success: bool
    timed_out: bool  # it ran to its horizon: no label ended it, and if it is a success, nobody knows since when
    images: NDArray[np.uint8]  # (T or T + 1, K, H, W, 3) RGB


def read_footage(paths: Iterable[Path], task: Task) -> list[Footage]:
    """Every episode with a result in replay logs or bags. Raises ConfigError where one cannot be used."""
    return [
        _footage(f'episode {episode.episode_id} of {path}', episode, task)
        for path in paths
        for episode in read_log(path)
        if episode.outcome != Phase.ABORTED
    ]


def _footage(name: str, episode: Episode, task: Task) -> Footage:
    if episode.task != task.name:
        raise ConfigError(f'{name} is of the task {episode.task}: give that with --task, or leave the episode out')
    images = episode.images
    if not images.size:
        raise ConfigError(f'{name} holds no images: {RECORD}')
    wanted = (len(task.cameras), task.image_size, task.image_size)
    if images.shape[1:4] != wanted:
        raise ConfigError(
            f'{name} has images (cameras, height, width) {images.shape[1:4]}, task {task.name} {wanted}: set its '
            'cameras and image_size to these, or record it again'
        )
    for index, camera in enumerate(task.cameras):
        shots = images[:, index]
        span = shots.max(axis=(1, 2, 3)).astype(int) - shots.min(axis=(1, 2, 3))
        still = len(shots) > 1 and not (shots != shots[0]).any()
        if still or (span <= ONE_COLOUR).any():
            seen = 'one and the same image throughout' if still else 'an image of one colour'
            raise ConfigError(f'{name}: {camera} shows {seen}: mend the camera, and leave the episode out')
    return Footage(name, episode.success, episode.final or episode.length >= task.horizon, images)


def check_footage(footage: Sequence[Footage]) -> None:
    """Raise ConfigError where there is too little of either kind."""
    successes = sum(item.success for item in footage)
    failures = len(footage) - successes
    if min(successes, failures) < ENOUGH:
        raise ConfigError(
            f'{successes} successes and {failures} failures: a classifier needs {ENOUGH} of each at least, and tells '
            'them apart the better the more there are; record or label more'
        )


def split(
    footage: Sequence[Footage], shares: tuple[float, float], seed: int
) -> tuple[list[Footage], list[Footage], list[Footage]]:
    """Whole episodes to train on, to set thresholds by (first share) and to test with (second), as many successes in
    each as there are of all."""
    random = np.random.default_rng(seed)
    parts: tuple[list[Footage], list[Footage], list[Footage]] = ([], [], [])
    for success in (True, False):
        kind = [item for item in footage if item.success == success]
        kind = [kind[place] for place in random.permutation(len(kind))]
        first, second = (max(2, round(share * len(kind))) for share in shares)
        for part, items in zip(
            parts, (kind[first + second :], kind[:first], kind[first : first + second]), strict=True
        ):
            part += items
    return parts


def labelled_images(item: Footage, shown: int, unclear: int) -> tuple[slice, slice]:
    """Rows of an episode that show a success, and rows that do not; the rest is left out.

    The last ``shown`` images of a success show it, and the ``unclear`` ones before those may already. Where a success
    was labelled after a time-out, any earlier image may show it.
    """
    end = len(item.images)
    if not item.success:
        return slice(0, 0), slice(0, end)
    first = max(end - shown, 0)
    return slice(first, end), slice(0, 0 if item.timed_out else max(first - unclear, 0))
