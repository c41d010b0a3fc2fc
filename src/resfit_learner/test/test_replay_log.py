"""The replay log: append-only, whole or not at all, and never lost."""

from __future__ import annotations

import json
import resource
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bag_writing import messages, reward_message, state_message, step_message, write
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from resfit_learner.bags import (
    EPISODE,
    REWARD,
    STEP,
    TYPES,
    definitions_folder,
    read_episode,
    read_log,
    read_raw,
    typestore,
)
from resfit_learner.replay_log import ReplayLog
from resfit_learner.transitions import build_transitions
from resfit_learner.unwritten import Unwritten
from resfit_policy.convert import read_episode_messages
from resfit_policy.task import ConfigError


def add(log: ReplayLog, episode_id: int, length: int = 6, success: bool = False) -> None:
    writer = log.begin(episode_id)
    write(writer, messages(episode_id, length, success))
    log.commit(writer, episode_id=episode_id, phase=2 if success else 4, steps=length, success=success)


def correct(log: ReplayLog, episode_id: int, success: bool) -> None:
    items = [
        (REWARD, 1, reward_message(episode_id, 6, success, revision=1)),
        (EPISODE, 1, state_message(episode_id, 4, 6)),
    ]
    raw = [(topic, stamp, bytes(typestore().serialize_cdr(item, TYPES[topic]))) for topic, stamp, item in items]
    log.correct(episode_id, 1, success, raw)


def test_an_opened_again_log_goes_on_where_it_was(tmp_path: Path) -> None:
    log = ReplayLog(tmp_path)
    add(log, 1)
    add(log, 2, success=True)
    log.close()
    again = ReplayLog(tmp_path)
    assert (again.sequence, again.last_episode_id, again.transitions) == (2, 2, 12)
    assert again.entries == log.entries
    add(again, 3)
    assert [entry.sequence for entry in again.after(1, 10)] == [2, 3]
    assert [entry.sequence for entry in again.after(0, 1)] == [1]


def test_a_log_is_told_from_a_later_one_in_the_same_folder(tmp_path: Path) -> None:
    log = ReplayLog(tmp_path / 'episodes')
    log.close()
    again = ReplayLog(tmp_path / 'episodes')
    again.close()
    assert again.identity == log.identity
    shutil.rmtree(tmp_path / 'episodes')
    assert ReplayLog(tmp_path / 'episodes').identity != log.identity


def test_the_index_is_rebuilt_from_the_folders(tmp_path: Path) -> None:
    log = ReplayLog(tmp_path)
    add(log, 1)
    add(log, 2, success=True)
    correct(log, 1, True)
    log.close()
    (tmp_path / 'index.json').unlink()
    assert ReplayLog(tmp_path).entries == log.entries


def test_an_episode_cut_off_by_a_kill_stays_apart_and_its_id_is_not_used_again(tmp_path: Path) -> None:
    log = ReplayLog(tmp_path)
    add(log, 1)
    write(log.begin(2), messages(2, 6, True)[:4])  # killed here: never committed
    log.close()
    said: list[str] = []
    again = ReplayLog(tmp_path, said.append)
    assert again.sequence == 1 and again.last_episode_id == 2
    assert 'unfinished' in said[0]
    add(again, 3)
    assert [episode.episode_id for episode in read_log(tmp_path)] == [1, 3]


def test_a_truncated_bag_is_one_clear_error_and_is_moved_aside(tmp_path: Path) -> None:
    log = ReplayLog(tmp_path)
    add(log, 1)
    add(log, 2)
    log.close()
    bag = next((tmp_path / '000001-000001').glob('*.mcap'))
    bag.write_bytes(bag.read_bytes()[:200])
    with pytest.raises(ConfigError, match='000001-000001'):
        read_episode(tmp_path / '000001-000001')
    (tmp_path / 'index.json').unlink()
    again = ReplayLog(tmp_path)
    assert [entry.episode_id for entry in again.entries] == [2]
    assert (tmp_path / '000001-000001.damaged').exists()


@pytest.mark.parametrize('indexed', [False, True])
def test_a_correction_without_its_episode_is_moved_aside(tmp_path: Path, indexed: bool) -> None:
    log = ReplayLog(tmp_path)
    for number in (1, 2):
        add(log, number)
    correct(log, 1, True)
    log.close()
    shutil.rmtree(tmp_path / '000001-000001')
    index = tmp_path / 'index.json'
    lines = index.read_text().splitlines(keepends=True)
    index.write_text(''.join(lines[1:] if indexed else lines))  # an index of an older version agrees with the folders
    said: list[str] = []
    again = ReplayLog(tmp_path, said.append)
    assert [entry.episode_id for entry in again.entries] == [2] and again.newest(1) is None
    assert 'corrects an episode that is not there; moved aside' in said[0]
    assert (tmp_path / '000003-000001.damaged').exists()
    assert [json.loads(line)['episode_id'] for line in index.read_text().splitlines()] == [2]
    add(again, 3)
    assert [episode.episode_id for episode in read_log(tmp_path)] == [2, 3]


def test_what_is_no_log_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / 'nowhere'):
        with pytest.raises(ConfigError, match='no episodes|no bag'):
            list(read_log(path))


def test_a_bag_without_its_metadata_is_refused(tmp_path: Path) -> None:
    log = ReplayLog(tmp_path)
    add(log, 1)
    log.close()
    (tmp_path / '000001-000001' / 'metadata.yaml').unlink()
    with pytest.raises(ConfigError, match='damaged'):
        list(read_log(tmp_path))


def test_one_log_has_one_writer(tmp_path: Path) -> None:
    log = ReplayLog(tmp_path)
    with pytest.raises(ConfigError, match='in use'):
        ReplayLog(tmp_path)
    log.close()
    ReplayLog(tmp_path).close()


def test_a_folder_that_cannot_be_written_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / 'file').touch()
    with pytest.raises(ConfigError, match='choose another run folder'):
        ReplayLog(tmp_path / 'file' / 'episodes')


def test_a_correction_has_its_own_sequence_number_and_changes_the_label(tmp_path: Path) -> None:
    log = ReplayLog(tmp_path)
    add(log, 1)
    add(log, 2)
    correct(log, 1, True)
    assert log.sequence == 3 and len(log.closed) == 2 and log.transitions == 12
    newest = log.newest(1)
    assert newest is not None and newest.success and newest.revision == 1
    assert [episode.success for episode in read_log(tmp_path)] == [True, False]
    with pytest.raises(KeyError):
        correct(log, 9, True)


def test_a_log_can_be_moved(tmp_path: Path) -> None:
    log = ReplayLog(tmp_path / 'a')
    add(log, 1)
    log.close()
    shutil.move(tmp_path / 'a', tmp_path / 'b')
    assert len(list(read_log(tmp_path / 'b'))) == 1


@pytest.mark.parametrize('success', [True, False])
def test_transitions_from_the_bag_equal_those_from_the_messages_byte_for_byte(tmp_path: Path, success: bool) -> None:
    log = ReplayLog(tmp_path)
    add(log, 1, length=9, success=success)
    items = messages(1, 9, success)
    live = read_episode_messages(
        items[-1][2], items[-2][2], [item for topic, _, item in items if topic == 'policy/step'][::-1]
    )
    a, b = (build_transitions(item, 0.99, 5) for item in (live, read_episode(tmp_path / '000001-000001')))
    for name, value in vars(a).items():
        other = vars(b)[name]
        if isinstance(value, np.ndarray):
            assert value.dtype == other.dtype and value.tobytes() == other.tobytes(), name
        else:
            assert value == other


@pytest.mark.parametrize(
    ('topic', 'message', 'added', 'default'),
    [(STEP, step_message(1, 4), 'chunk_age', 0), (EPISODE, state_message(1, 2, 7), 'joints', [])],
)
def test_a_bag_from_before_a_field_was_added_reads_as_todays(
    tmp_path: Path, topic: str, message: Any, added: str, default: Any
) -> None:
    kind = TYPES[topic]
    definition = (definitions_folder() / f'{kind.rpartition("/")[2]}.msg').read_text()
    old = get_typestore(Stores.ROS2_JAZZY)
    old.register(get_types_from_msg('\n'.join(x for x in definition.splitlines() if added not in x), kind))
    with Writer(tmp_path / 'bag', version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        text, digest = old.generate_msgdef(kind, ros_version=2)[0], old.hash_rihs01(kind)
        connection = writer.add_connection(topic, kind, msgdef=text, rihs01=digest)
        writer.write(connection, 5, old.serialize_cdr(message, kind))
    ((_, _, data),) = read_raw(tmp_path / 'bag')
    read = vars(typestore().deserialize_cdr(data, kind))
    for name, value in vars(message).items():
        np.testing.assert_array_equal(read[name], default if name == added else value)


@contextmanager
def full_disk(size: int) -> Iterator[None]:
    """No file grows beyond ``size`` bytes: a write that is too much fails, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_on_a_full_disk_the_log_stays_as_it_was_and_goes_on_later(tmp_path: Path) -> None:
    log = ReplayLog(tmp_path)
    add(log, 1)
    before = sorted(path.name for path in tmp_path.iterdir())
    with full_disk(500), pytest.raises(OSError, match='too large'):
        add(log, 2)
    with full_disk(500), pytest.raises(OSError, match='too large'):
        correct(log, 1, True)
    assert log.sequence == 1 and sorted(path.name for path in tmp_path.iterdir()) == before
    add(log, 2)
    correct(log, 1, True)
    log.close()
    assert len((tmp_path / 'index.json').read_text().splitlines()) == 3
    assert [episode.success for episode in read_log(tmp_path)] == [True, False]


def test_an_index_that_could_not_be_written_is_made_whole_with_the_next_entry(tmp_path: Path) -> None:
    log = ReplayLog(tmp_path)
    add(log, 1)
    index = tmp_path / 'index.json'
    size = index.stat().st_size
    index.rename(tmp_path / 'kept')
    index.mkdir()  # nothing can be appended here
    add(log, 2)
    index.rmdir()
    (tmp_path / 'kept').rename(index)
    assert index.stat().st_size == size and log.sequence == 2
    add(log, 3)
    log.close()
    assert [json.loads(line)['sequence'] for line in index.read_text().splitlines()] == [1, 2, 3]


def test_a_correction_that_was_cut_off_by_a_kill_can_be_made_again(tmp_path: Path) -> None:
    log = ReplayLog(tmp_path)
    add(log, 1)
    write(log.begin(1), messages(1, 6, True)[-2:])  # killed here: never committed
    log.close()
    again = ReplayLog(tmp_path)
    correct(again, 1, True)
    assert [episode.success for episode in read_log(tmp_path)] == [True] and not list(tmp_path.glob('*.partial'))


def test_where_the_folder_cannot_be_synced_the_log_stays_as_it_was_and_goes_on_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(folder: Path) -> None:
        raise OSError(5, 'Input/output error')

    log = ReplayLog(tmp_path)
    add(log, 1)
    before = sorted(path.name for path in tmp_path.iterdir())
    for append in (partial(add, log, 2), partial(correct, log, 1, True)):
        with monkeypatch.context() as broken:
            broken.setattr('resfit_learner.replay_log.sync_folder', fail)
            with pytest.raises(OSError, match='Input/output'):
                append()
        assert log.sequence == 1 and sorted(path.name for path in tmp_path.iterdir()) == before
    add(log, 2)
    correct(log, 1, True)
    assert [entry.sequence for entry in log.entries] == [1, 2, 3]
    assert [episode.success for episode in read_log(tmp_path)] == [True, False]


def test_writes_wait_for_room_in_their_order() -> None:
    said: list[str] = []
    done: list[int] = []
    full = True

    def write(number: int) -> None:
        if full:
            raise OSError(28, 'No space left on device')
        done.append(number)

    unwritten = Unwritten('/log', said.append, said.append)
    for number in (3, 4):
        unwritten.add(number, partial(write, number))
    assert unwritten.episodes == [3, 4] and not done
    assert len(said) == 1 and 'episode 3 cannot be written to /log: No space left' in said[0]
    full = False
    unwritten.catch_up()
    assert done == [3, 4] and not unwritten.problem and 'room again' in said[1]
    full = True
    unwritten.add(5, partial(write, 5))
    unwritten.give_up()
    assert said[-1].startswith('lost: episode 5')
