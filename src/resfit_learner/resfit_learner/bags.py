"""Reading and writing episodes as ordinary rosbag2 (MCAP) folders, without ROS."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from rosbags.interfaces import Connection
from rosbags.rosbag2 import Reader, StoragePlugin, Writer
from rosbags.rosbag2.errors import ReaderError
from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore

from resfit_policy.convert import read_episode_messages
from resfit_policy.episode_log import Episode
from resfit_policy.task import ConfigError

STEP, REWARD, EPISODE = 'policy/step', 'reward', 'episode'
TYPES = {
    STEP: 'resfit_msgs/msg/PolicyStep',
    REWARD: 'resfit_msgs/msg/Reward',
    EPISODE: 'resfit_msgs/msg/EpisodeState',
}
ADDED = {
    'resfit_msgs/msg/PolicyStep': {'chunk_age': 0},
    'resfit_msgs/msg/Reward': {'operator_name': ''},
}  # fields that older bags lack
DAMAGED = 'is damaged or not a bag of this package; remove it, or restore it from a copy'


def definitions_folder() -> Path:
    """Folder of this package set's .msg files: installed, or next to the sources. Raises ConfigError."""
    prefixes = os.environ.get('AMENT_PREFIX_PATH', '').split(os.pathsep)
    places = [Path(prefix) / 'share/resfit_msgs/msg' for prefix in prefixes if prefix]
    places += [parent / 'resfit_msgs/msg' for parent in Path(__file__).resolve().parents[:4]]
    for place in places:
        if (place / 'PolicyStep.msg').exists():
            return place
    raise ConfigError('the definitions of resfit_msgs are not found: build the workspace and source setup.bash')


@lru_cache(maxsize=1)
def typestore() -> Typestore:
    """ROS 2 Jazzy's types and ours."""
    store = get_typestore(Stores.ROS2_JAZZY)
    types: dict[str, Any] = {}
    for path in sorted(definitions_folder().glob('*.msg')):
        types.update(get_types_from_msg(path.read_text(), f'resfit_msgs/msg/{path.stem}'))
    store.register(types)
    return store


@lru_cache(maxsize=8)
def _definition(kind: str) -> tuple[str, str]:
    return typestore().generate_msgdef(kind, ros_version=2)[0], typestore().hash_rihs01(kind)


class EpisodeWriter:
    """A bag being written. ``close`` makes it whole and durable."""

    def __init__(self, folder: Path) -> None:
        """Raises OSError, or rosbags' WriterError where ``folder`` exists."""
        self.folder = folder
        self._writer = Writer(folder, version=9, storage_plugin=StoragePlugin.MCAP)
        self._writer.open()
        self._topics: dict[str, Connection] = {}
        for topic, kind in TYPES.items():
            definition, digest = _definition(kind)
            self._topics[topic] = self._writer.add_connection(topic, kind, msgdef=definition, rihs01=digest)

    def write(self, topic: str, stamp: int, data: bytes) -> None:
        """Append one serialised (CDR) message; ``stamp`` in ns of ROS time."""
        self._writer.write(self._topics[topic], stamp, data)

    def close(self) -> None:
        """Finish the files and sync them to the disk. Raises OSError."""
        self._writer.close()
        for path in [*self.folder.iterdir(), self.folder]:
            handle = os.open(path, os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)


def read_raw(folder: Path) -> list[tuple[str, int, bytes]]:
    """(topic, stamp ns, CDR bytes) of every message of this package's topics, in their order in the bag.

    Bags from before a field was added come as today's messages, with its default. Raises ConfigError where the bag is
    missing, truncated, or holds none of them.
    """
    if not folder.is_dir():
        raise ConfigError(f'no bag at {folder}')
    by_kind = {kind: topic for topic, kind in TYPES.items()}
    try:
        with Reader(folder) as reader:
            wanted = [item for item in reader.connections if item.msgtype in by_kind]
            update = {item.id: _updater(item) for item in wanted}
            return [
                (by_kind[item.msgtype], stamp, update[item.id](bytes(data)))
                for item, stamp, data in reader.messages(connections=wanted)
                if wanted
            ]
    except (ReaderError, OSError, ValueError, KeyError, AssertionError, EOFError) as error:
        raise ConfigError(f'{folder} {DAMAGED} ({error})') from None


def _updater(connection: Connection) -> Callable[[bytes], bytes]:
    """From the messages of a bag to today's, CDR to CDR: the bag says how its own were made."""
    kind, definition = connection.msgtype, connection.msgdef.data
    if connection.digest == _definition(kind)[1] or not definition:
        return lambda data: data
    old = get_typestore(Stores.ROS2_JAZZY)
    old.register(get_types_from_msg(definition, kind))

    def update(data: bytes) -> bytes:
        message = {**ADDED.get(kind, {}), **vars(old.deserialize_cdr(data, kind))}
        return bytes(typestore().serialize_cdr(SimpleNamespace(**message), kind))

    return update


def read_messages(folder: Path) -> dict[str, list[Any]]:
    """Decoded messages by topic. Raises ConfigError."""
    messages: dict[str, list[Any]] = {topic: [] for topic in TYPES}
    store = typestore()
    for topic, _, data in read_raw(folder):
        messages[topic].append(store.deserialize_cdr(data, TYPES[topic]))
    return messages


def read_episode(folder: Path) -> Episode:
    """The episode in one bag, under the newest label in that bag. Raises ConfigError."""
    messages = read_messages(folder)
    closing = [item for item in messages[EPISODE] if item.phase in (2, 3, 4, 5)]
    rewards = sorted(messages[REWARD], key=lambda item: int(item.revision))
    if not closing or not messages[STEP]:
        raise ConfigError(f'{folder} holds no closed episode')
    try:
        return read_episode_messages(closing[-1], rewards[-1] if rewards else None, messages[STEP])
    except ValueError as error:
        raise ConfigError(f'{folder}: {error}') from None


def episode_folders(directory: Path) -> list[tuple[int, int, Path]]:
    """(sequence, episode id, folder) of every entry of a replay log, in order; unfinished ones are left out."""
    found = []
    for folder in directory.glob('*-*'):
        sequence, _, episode = folder.name.partition('-')
        if sequence.isdigit() and episode.isdigit():
            found.append((int(sequence), int(episode), folder))
    return sorted(found)


def read_log(directory: Path) -> Iterator[Episode]:
    """Episodes of a replay log (a run's ``episodes`` folder), each under its newest label. Raises ConfigError.

    A single bag is taken as a log of one episode.
    """
    if (directory / 'metadata.yaml').exists():
        yield read_episode(directory)
        return
    entries = episode_folders(directory) or episode_folders(directory / 'episodes')
    if not entries:
        raise ConfigError(f'no episodes in {directory}: give the folder that "resfit collect" or "resfit train" wrote')
    corrections: dict[int, bool] = {}
    whole = []
    for _, episode_id, folder in entries:
        if is_correction(folder):
            corrections[episode_id] = bool(read_messages(folder)[REWARD][-1].success)
        else:
            whole.append((episode_id, folder))
    for episode_id, folder in whole:
        episode = read_episode(folder)
        yield episode.relabelled(corrections.get(episode_id, episode.success))


def is_correction(folder: Path) -> bool:
    """The entry only corrects an earlier episode's label."""
    return (folder / 'CORRECTION').exists()
