"""Episodes as the bags and the log that the replay node would have written of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from resfit_learner.bags import EPISODE, REWARD, STEP, TYPES, EpisodeWriter, typestore
from resfit_policy.episode_log import Episode, Phase

SCRIPT = 3  # Reward.SCRIPT


def write_episode(folder: Path, episode: Episode) -> None:
    """Write ``episode`` as a rosbag2 (MCAP) folder. Raises OSError, or WriterError where ``folder`` exists."""
    writer = EpisodeWriter(folder)
    for topic, stamp, data in messages(episode):
        writer.write(topic, stamp, data)
    writer.close()


def append_episode(directory: Path, sequence: int, episode: Episode) -> int:
    """Write ``episode`` as entry ``sequence`` of a log, to be read back as it is. Returns the next sequence number.

    A time-out that somebody called a success and then a failure takes two entries, one with the corrected label.
    """
    twice = episode.final and episode.outcome == Phase.FAILURE
    write_episode(
        directory / f'{sequence:06d}-{episode.episode_id:06d}', episode.relabelled(True) if twice else episode
    )
    if not twice:
        return sequence + 1
    folder = directory / f'{sequence + 1:06d}-{episode.episode_id:06d}'
    writer = EpisodeWriter(folder)
    for topic, stamp, data in messages(episode, revision=1):
        if topic != STEP:
            writer.write(topic, stamp, data)
    (folder / 'CORRECTION').touch()
    writer.close()
    return sequence + 2


def messages(episode: Episode, revision: int = 0) -> Iterator[tuple[str, int, bytes]]:
    """(topic, stamp ns, CDR bytes) of an episode; its label is the ``revision``-th."""
    types = typestore().types
    last = int(episode.stamp[-1])
    end = Phase.TIMEOUT if episode.final else episode.outcome  # a later label does not change how it ended

    def made(topic: str, stamp: int, **values: Any) -> tuple[str, int, bytes]:
        time = types['builtin_interfaces/msg/Time'](sec=stamp // 1_000_000_000, nanosec=stamp % 1_000_000_000)
        header = types['std_msgs/msg/Header'](stamp=time, frame_id='')
        message = types[TYPES[topic]](header=header, **values)
        return topic, stamp, bytes(typestore().serialize_cdr(message, TYPES[topic]))

    state = {
        'episode_id': episode.episode_id,
        'task': episode.task,
        'horizon': episode.length,
        'arm': int(episode.arm),
        'seed': episode.seed,
        'joints': list(episode.joints),
    }
    first = int(episode.stamp[0])
    yield made(EPISODE, first, phase=int(Phase.RUNNING), step=0, **state)
    for row, stamp in enumerate(episode.stamp.tolist()):
        images = episode.images[row]
        yield made(
            STEP,
            stamp,
            episode_id=episode.episode_id,
            step=row,
            state=episode.state[row],
            images=np.ascontiguousarray(images).ravel(),
            image_height=images.shape[1] if len(images) else 0,
            image_width=images.shape[2] if len(images) else 0,
            features=episode.features[row] if episode.features.size else np.zeros(0, np.float32),
            base_action=episode.base_action[row],
            residual=episode.residual[row],
            executed_action=episode.executed_action[row],
            authority=float(episode.authority[row]),
            weights_version=int(episode.weights_version[row]),
            flags=int(episode.flags[row]),
            ages=np.zeros(0, np.float32),
            compute_ms=0.0,
            chunk_age=0,
        )
    yield made(EPISODE, last, phase=int(end), step=episode.length, **state)
    label = {'success': episode.success, 'source': SCRIPT, 'confidence': 1.0, 'revision': revision, 'operator_name': ''}
    yield made(REWARD, last, episode_id=episode.episode_id, step=episode.length - 1, **label)
