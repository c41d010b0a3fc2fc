"""An in-process episode as the bag that the replay node would have written of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from resfit_learner.bags import EPISODE, REWARD, STEP, TYPES, EpisodeWriter, typestore
from resfit_policy.episode_log import Episode, Phase

SCRIPT = 3  # Reward.SCRIPT


def write_episode(folder: Path, episode: Episode) -> None:
    """Write ``episode`` as a rosbag2 (MCAP) folder. Raises OSError, or WriterError where ``folder`` exists."""
    writer = EpisodeWriter(folder)
    types = typestore().types
    last = int(episode.stamp[-1])

    def make(kind: str, stamp: int, **values: Any) -> Any:
        time = types['builtin_interfaces/msg/Time'](sec=stamp // 1_000_000_000, nanosec=stamp % 1_000_000_000)
        header = types['std_msgs/msg/Header'](stamp=time, frame_id='')
        return types[kind](header=header, **values)

    def put(topic: str, stamp: int, message: Any) -> None:
        writer.write(topic, stamp, bytes(typestore().serialize_cdr(message, TYPES[topic])))

    state = {
        'episode_id': episode.episode_id,
        'task': episode.task,
        'horizon': episode.length,
        'arm': int(episode.arm),
        'seed': episode.seed,
    }
    first = int(episode.stamp[0])
    put(EPISODE, first, make(TYPES[EPISODE], first, phase=int(Phase.RUNNING), step=0, **state))
    for row, stamp in enumerate(episode.stamp.tolist()):
        images = episode.images[row]
        put(
            STEP,
            stamp,
            make(
                TYPES[STEP],
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
            ),
        )
    put(EPISODE, last, make(TYPES[EPISODE], last, phase=int(episode.outcome), step=episode.length, **state))
    label = {'success': episode.success, 'source': SCRIPT, 'confidence': 1.0, 'revision': 0}
    put(REWARD, last, make(TYPES[REWARD], last, episode_id=episode.episode_id, step=episode.length - 1, **label))
    writer.close()
