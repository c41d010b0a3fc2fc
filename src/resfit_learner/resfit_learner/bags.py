"""Reading and writing episodes as ordinary rosbag2 (MCAP) folders, without ROS."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Container, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar

from rosbags.interfaces import Connection
from rosbags.rosbag2 import Reader, StoragePlugin, Writer
from rosbags.rosbag2.errors import ReaderError
from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore

from resfit_policy.convert import read_episode_messages
from resfit_policy.episode_log import Episode, Phase
from resfit_policy.task import ConfigError

STEP, REWARD, EPISODE = 'policy/step', 'reward', 'episode'
TYPES = {
    STEP: 'resfit_msgs/msg/PolicyStep',
    REWARD: 'resfit_msgs/msg/Reward',
    EPISODE: 'resfit_msgs/msg/EpisodeState',
}
METADATA = 'metadata.yaml'
# fields that older bags lack
ADDED: dict[str, dict[str, Any]] = {
    TYPES[STEP]: {'chunk_age': 0},
    TYPES[EPISODE]: {'joints': []},
    TYPES[REWARD]: {'operator_name': ''},
}
DAMAGED = 'is damaged or not a bag of this package; remove it, or restore it from a copy'
T = TypeVar('T')


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
        self._topics: dict[str, Connection] = {}
        try:
            self._writer.open()
            for topic, kind in TYPES.items():
                definition, digest = _definition(kind)
                self._topics[topic] = self._writer.add_connection(topic, kind, msgdef=definition, rihs01=digest)
        except OSError:
            self.remove()
            raise

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

    def remove(self) -> None:
        """Leave nothing of a bag that could not be written."""
        with suppress(OSError):
            self._writer.abort()
        shutil.rmtree(self.folder, ignore_errors=True)


@dataclass(frozen=True)
class Label:
    """A label that an episode was given."""

    revision: int
    success: bool
    source: int  # Reward.source
    confidence: float  # [0, 1]
    operator: str = ''  # who gave it, where a person did and said so


@dataclass(frozen=True)
class Record:
    """An episode of a log under its newest label, and all labels it was given, the oldest first."""

    episode: Episode
    labels: tuple[Label, ...]


def read_raw(folder: Path) -> list[tuple[str, int, bytes]]:
    """(topic, stamp ns, CDR bytes) of every message of this package's topics, in their order in the bag.

    Bags from before a field was added come as today's messages, with its default. Raises ConfigError where the bag is
    missing, truncated, or holds none of them.
    """
    if not (folder / METADATA).exists():
        cut_off = any(folder.glob('*.mcap'))
        why = f'{folder} {DAMAGED} (it has no {METADATA}: recording was cut off)'
        raise ConfigError(why if cut_off else f'no bag at {folder}')
    try:
        with Reader(folder) as reader:
            wanted = [item for item in reader.connections if topic_of(item)]
            update = {item.id: _updater(item) for item in wanted}
            return [
                (topic_of(item), stamp, update[item.id](bytes(data)))
                for item, stamp, data in reader.messages(connections=wanted)
                if wanted
            ]
    except (ReaderError, OSError, ValueError, KeyError, AssertionError, EOFError) as error:
        raise ConfigError(f'{folder} {DAMAGED} ({error})') from None


def topic_of(connection: Connection) -> str:
    """Which of this package's topics a bag's one is, under whatever namespace; '' if none.

    Not by its type alone: the verdicts of an oracle or a classifier are Rewards, too, and no labels.
    """
    path = f'/{connection.topic.lstrip("/")}'
    for topic, kind in TYPES.items():
        before, found, _ = path.rpartition(f'/{topic}')
        if connection.msgtype == kind and found and path.endswith(topic):
            return '' if before.rpartition('/')[2] in ('now', 'recorded') else topic
    return ''


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


def read_record(folder: Path) -> Record:
    """The episode in one bag, under the newest label in that bag. Raises ConfigError."""
    return read_session(folder)[-1]


def read_session(folder: Path, on_damaged: Callable[[str], None] | None = None) -> list[Record]:
    """All closed episodes in one bag, which may be of a whole session, each under its newest label there.

    A recording may begin in the middle of an episode: ``on_damaged`` hears of one that is not whole; without it, that
    is an error. Raises ConfigError, also where there is no whole one.
    """
    messages = read_messages(folder)
    closing = {int(item.episode_id): item for item in messages[EPISODE] if item.phase in (2, 3, 4, 5)}
    if not closing or not messages[STEP]:
        raise ConfigError(f'{folder} holds no closed episode')
    records, problems = [], []
    for episode_id, end in closing.items():
        rewards = [item for item in messages[REWARD] if int(item.episode_id) == episode_id]
        rewards.sort(key=lambda item: int(item.revision))
        if not rewards and end.phase != Phase.ABORTED:
            problems.append(f'{folder}: episode {episode_id} has no label')
            continue
        try:
            episode = read_episode_messages(end, rewards[-1] if rewards else None, messages[STEP])
        except ValueError as error:
            problems.append(f'{folder}: {error}')
            continue
        records.append(Record(episode, tuple(_label(item) for item in rewards)))
    if problems and (on_damaged is None or not records):
        raise ConfigError(problems[0])
    for problem in problems:
        assert on_damaged is not None
        on_damaged(problem)
    return records


def _label(reward: Any) -> Label:
    return Label(
        int(reward.revision), bool(reward.success), int(reward.source), float(reward.confidence), reward.operator_name
    )


def read_episode(folder: Path) -> Episode:
    """The episode in one bag, under the newest label in that bag. Raises ConfigError."""
    return read_record(folder).episode


def episode_folders(directory: Path) -> list[tuple[int, int, Path]]:
    """(sequence, episode id, folder) of every entry of a replay log, in order; unfinished ones are left out."""
    found = []
    for folder in directory.glob('*-*'):
        sequence, _, episode = folder.name.partition('-')
        if sequence.isdigit() and episode.isdigit():
            found.append((int(sequence), int(episode), folder))
    return sorted(found)


def read_log(directory: Path, on_damaged: Callable[[str], None] | None = None) -> Iterator[Episode]:
    """Episodes of a replay log (a run's ``episodes`` folder), each under its newest label; see ``read_records``."""
    return (record.episode for record in read_records(directory, on_damaged))


def read_records(
    directory: Path, on_damaged: Callable[[str], None] | None = None, wanted: Container[int] | None = None
) -> Iterator[Record]:
    """Episodes of a replay log with all their labels. A single bag is taken as a log of one episode.

    ``wanted``: ids of the episodes to read (default: all).

    Where a bag cannot be read, ``on_damaged`` is told which and why, and it is left out; without ``on_damaged``, for a
    learner must not quietly do with less, it is an error. Raises ConfigError, also where there is nothing to read.
    """
    if (directory / METADATA).exists():
        yield from read_session(directory, on_damaged)
        return
    entries = episode_folders(directory) or episode_folders(directory / 'episodes')
    if not entries:
        if next(directory.glob('*.mcap'), None):
            read_raw(directory)  # says that it was cut off
        raise ConfigError(f'no episodes in {directory}: give the folder that "resfit collect" or "resfit train" wrote')

    def readable(read: Callable[[Path], T], folder: Path) -> T | None:
        try:
            return read(folder)
        except ConfigError as error:
            if on_damaged is None:
                raise
            on_damaged(str(error))
            return None

    entries = [entry for entry in entries if wanted is None or entry[1] in wanted]
    corrections: dict[int, list[Label]] = {}
    for _, episode_id, folder in entries:
        if is_correction(folder) and (found := readable(read_messages, folder)):
            corrections.setdefault(episode_id, []).extend(_label(item) for item in found[REWARD])
    for _, episode_id, folder in entries:
        if not is_correction(folder) and (record := readable(read_record, folder)):
            labels = (*record.labels, *corrections.get(episode_id, ()))
            corrected = episode_id in corrections and record.episode.outcome != Phase.ABORTED
            yield Record(record.episode.relabelled(labels[-1].success) if corrected else record.episode, labels)


def is_correction(folder: Path) -> bool:
    """The entry only corrects an earlier episode's label."""
    return (folder / 'CORRECTION').exists()
