"""LeRobot's dataset format, v3.0: what of an episode stands where.

A frame is an executed step: observation, the action executed in it, and what came of it (``next.*``). What only this
package knows goes into columns of its own, ``resfit.*``, which other readers pass over. The last observation of a
time-out, in which nothing was executed, is no frame: it has a file of its own, ``meta/resfit_final.parquet``.
Images are PNG, inside the Parquet files.
"""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa

from resfit_policy.episode_log import Episode
from resfit_policy.task import ConfigError, Task

VERSION = 'v3.0'
INFO, STATS, TASKS, FINAL = 'meta/info.json', 'meta/stats.json', 'meta/tasks.parquet', 'meta/resfit_final.parquet'
DATA = 'data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet'
EPISODES = 'meta/episodes/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet'
FILES_PER_CHUNK = 1000
STATE, REST, ACTION, CAMERA = 'observation.state', 'observation.environment_state', 'action', 'observation.images.'
OWN = 'resfit.'
JOINTS = ('base_action', 'residual')  # columns of our own, (A,) each
PER_STEP = ('weights_version', 'flags', 'stamp')  # and int64 in each step, beside authority
PER_EPISODE = ('episode_id', 'seed', 'arm', 'outcome')  # int64, the same throughout an episode
AXES = {'position': ('x', 'y', 'z'), 'full': ('x', 'y', 'z', *(f'r{row}{column}' for column in '01' for row in '012'))}
SCALARS = {'float32': pa.float32(), 'int64': pa.int64(), 'bool': pa.bool_(), 'string': pa.string()}
IMAGE = pa.struct([('bytes', pa.binary()), ('path', pa.string())])
Features = dict[str, dict[str, Any]]


def rest_names(task: Task) -> list[str]:
    """A name for each number that follows the joints in the task's state, as in ``ball.x``."""
    return [f'{item.name}.{axis}' for item in task.objects for axis in AXES.get(item.pose, map(str, range(item.size)))]


def make_features(task: Task, episode: Episode) -> Features:
    """What the dataset of such episodes holds: dtype, shape and names by column.

    Raises ConfigError where ``episode`` is not one of ``task``.
    """

    def numbers(dtype: str, names: list[str] | None = None, size: int = 1) -> dict[str, Any]:
        return {'dtype': dtype, 'shape': [len(names) if names else size], 'names': names}

    joints, rest, cameras = list(task.robot.names), rest_names(task), list(task.cameras)
    count, height, width = episode.images.shape[1:4]
    if episode.state.shape[1] != task.state_size or count not in (0, len(cameras)):
        raise ConfigError(
            f'episode {episode.episode_id} has a state of {episode.state.shape[1]} and {count} cameras, task '
            f'{task.name} {task.state_size} and {len(cameras)}: give the task that it was recorded with (--task)'
        )
    found = {STATE: numbers('float32', joints)}
    if rest:
        found[REST] = numbers('float32', rest)
    for camera in cameras[:count]:
        names = ['height', 'width', 'channels']
        found[CAMERA + camera] = {'dtype': 'image', 'shape': [height, width, 3], 'names': names}
    found[ACTION] = numbers('float32', joints)
    found['next.reward'] = numbers('float32')
    found.update({f'next.{name}': numbers('bool') for name in ('success', 'done', 'truncated')})
    found.update({OWN + name: numbers('float32', joints) for name in JOINTS})
    found[OWN + 'authority'] = numbers('float32')
    found.update({OWN + name: numbers('int64') for name in (*PER_STEP, *PER_EPISODE)})
    found[OWN + 'task'] = numbers('string')
    if episode.features.size:
        found[OWN + 'features'] = numbers('float32', size=episode.features.shape[1])
    found['timestamp'] = numbers('float32')
    found.update({name: numbers('int64') for name in ('frame_index', 'episode_index', 'index', 'task_index')})
    return found


def make_schema(features: Features) -> pa.Schema:
    """How ``features`` are stored."""
    types, images = {}, {}
    for name, feature in features.items():
        if feature['dtype'] == 'image':
            types[name], images[name] = IMAGE, {'_type': 'Image'}
        else:
            kind, size = SCALARS[feature['dtype']], feature['shape'][0]
            types[name] = kind if size == 1 else pa.list_(kind, size)
    # without this, the datasets library takes an image for its bytes
    about = {'huggingface': json.dumps({'info': {'features': images}})} if images else None
    return pa.schema(types, about)
