"""The append-only log of episodes: the source of truth of a run (design section 3). No ROS here.

``directory/<sequence>-<episode id>`` is one rosbag2 folder per closed episode, written as ``*.partial`` and
renamed when it is whole and on the disk. A corrected label is an entry of its own.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from resfit_learner.bags import EPISODE, REWARD, EpisodeWriter, episode_folders, is_correction, read_messages
from resfit_policy.episode_log import Phase
from resfit_policy.files import lock_folder, sync_folder, write_atomically
from resfit_policy.task import ConfigError

INDEX, IDENTITY = 'index.json', 'id'


@dataclass(frozen=True)
class Entry:
    """One line of the index."""

    sequence: int
    episode_id: int
    folder: str
    phase: int  # EpisodeState.phase at the end
    steps: int  # executed; 0 in a correction
    success: bool
    revision: int
    correction: bool = False


class ReplayLog:
    """Appends episodes, knows what there is, and survives being killed at any time."""

    def __init__(self, directory: Path, report: Callable[[str], None] = lambda line: None) -> None:
        """Open or create a log; ``report`` hears of what an earlier run left unfinished.

        Raises ConfigError where the folder cannot be written or another process has it open.
        """
        self.directory = directory
        taken = f'{directory} is in use by another run: stop it, or choose another folder'
        self._lock = lock_folder(directory, '.lock', taken)
        self.identity = self._load_identity()
        self.partial = sorted(path.name for path in directory.glob('*.partial'))
        for name in self.partial:
            report(f'{name} was left unfinished by an earlier run; it is kept but not used')
        self._indexed: int | None = None  # entries in the index on disk; None where it has to be made anew
        self.entries = self._load_index(report)
        if self._indexed is None:
            self._write_index()

    @property
    def sequence(self) -> int:
        """Newest sequence number; 0 in an empty log."""
        return self.entries[-1].sequence if self.entries else 0

    @property
    def last_episode_id(self) -> int:
        """Highest episode id, also of unfinished episodes."""
        unfinished = [int(name.split('-')[1].split('.')[0]) for name in self.partial]
        return max([entry.episode_id for entry in self.entries] + unfinished, default=0)

    @property
    def closed(self) -> list[Entry]:
        """Entries of episodes that can be learned from."""
        return [entry for entry in self.entries if not entry.correction and entry.phase != Phase.ABORTED]

    @property
    def transitions(self) -> int:
        """Executed steps in ``closed``."""
        return sum(entry.steps for entry in self.closed)

    def find(self, episode_id: int) -> Entry | None:
        """The entry that holds an episode's steps."""
        entries = (entry for entry in self.entries if entry.episode_id == episode_id)
        return next((entry for entry in entries if not entry.correction), None)

    def newest(self, episode_id: int) -> Entry | None:
        """The entry with an episode's newest label."""
        return next((entry for entry in reversed(self.entries) if entry.episode_id == episode_id), None)

    def after(self, sequence: int, count: int) -> list[Entry]:
        """At most ``count`` entries with a higher sequence number, in order."""
        return [entry for entry in self.entries if entry.sequence > sequence][:count]

    def begin(self, episode_id: int) -> EpisodeWriter:
        """Open the bag of a new episode. Raises OSError."""
        return EpisodeWriter(self._partial(episode_id))

    def commit(self, writer: EpisodeWriter, *, episode_id: int, phase: int, steps: int, success: bool) -> Entry:
        """Make an episode part of the log. Raises OSError (disk full); the log is then as before."""
        return self._append(writer, episode_id, phase=phase, steps=steps, success=success, revision=0)

    def give_up(self, writer: EpisodeWriter) -> None:
        """Keep what there is of an incomplete episode as ``*.partial``, outside the log."""
        writer.close()
        self.partial.append(writer.folder.name)

    def correct(self, episode_id: int, revision: int, success: bool, messages: list[tuple[str, int, bytes]]) -> Entry:
        """Append a corrected label; ``messages`` are its Reward and the EpisodeState (topic, stamp, CDR).

        Raises KeyError for an episode that is not in the log, OSError (disk full); the log is then as before.
        """
        old = self.newest(episode_id)
        if old is None:
            raise KeyError(episode_id)
        shutil.rmtree(self._partial(episode_id), ignore_errors=True)  # of an earlier run, killed right here
        writer = self.begin(episode_id)
        try:
            for topic, stamp, data in messages:
                writer.write(topic, stamp, data)
            (writer.folder / 'CORRECTION').touch()
        except OSError:
            writer.remove()
            raise
        return self._append(
            writer, episode_id, phase=old.phase, steps=0, success=success, revision=revision, correction=True
        )

    def path(self, entry: Entry) -> Path:
        """Folder of an entry."""
        return self.directory / entry.folder

    def close(self) -> None:
        """Let go of the folder."""
        self._lock.close()

    def _load_identity(self) -> str:
        """What tells this log from any other, a later one in the same folder, too. Raises ConfigError."""
        file = self.directory / IDENTITY
        try:
            if not file.exists():  # a new log, or one from before there were identities
                write_atomically(file, uuid4().hex.encode())
            return file.read_text()
        except OSError as error:
            raise ConfigError(f'cannot write {file}: {error.strerror}; choose another run folder') from None

    def _partial(self, episode_id: int) -> Path:
        return self.directory / f'{self.sequence + 1:06d}-{episode_id:06d}.partial'

    def _append(self, writer: EpisodeWriter, episode_id: int, **values: Any) -> Entry:
        sequence = self.sequence + 1
        folder = self.directory / f'{sequence:06d}-{episode_id:06d}'
        try:
            writer.close()
            os.rename(writer.folder, folder)
        except OSError:
            writer.remove()
            raise
        try:
            sync_folder(self.directory)
        except OSError:
            shutil.rmtree(folder, ignore_errors=True)  # it would stand in the way of the next try
            raise
        entry = Entry(sequence=sequence, episode_id=episode_id, folder=folder.name, **values)
        self.entries.append(entry)
        self._write_index()
        return entry

    def _write_index(self) -> None:
        """Bring the index up to date. Where the disk is full, the next entry does: the folders are the truth."""
        file = self.directory / INDEX
        try:
            if self._indexed != len(self.entries) - 1:
                write_atomically(file, _lines(self.entries))
            else:
                _append_line(file, _lines(self.entries[-1:]))
            self._indexed = len(self.entries)
        except OSError:
            pass

    def _load_index(self, report: Callable[[str], None]) -> list[Entry]:
        """The index, made anew from the folders wherever the two disagree."""
        folders = episode_folders(self.directory)
        try:
            lines = (self.directory / INDEX).read_text().splitlines()
            entries = [Entry(**json.loads(line)) for line in lines]
        except (OSError, ValueError, TypeError):
            entries = []
        known = {entry.episode_id for entry in entries if not entry.correction}
        whole = all(entry.episode_id in known for entry in entries)
        if whole and [entry.folder for entry in entries] == [folder.name for _, _, folder in folders]:
            self._indexed = len(entries)
            return entries
        entries, known = [], set()
        for sequence, episode_id, folder in folders:
            try:
                entry = describe(sequence, episode_id, folder)
                if entry.correction and episode_id not in known:
                    raise ConfigError(f'{folder} corrects an episode that is not there')
                known.add(episode_id)
                entries.append(entry)
            except ConfigError as error:
                report(f'{error}; moved aside')
                shutil.move(folder, folder.with_name(folder.name + '.damaged'))
        return entries


def _lines(entries: list[Entry]) -> bytes:
    return ''.join(json.dumps(asdict(entry)) + '\n' for entry in entries).encode()


def _append_line(path: Path, line: bytes) -> None:
    """Append the whole line or nothing. Raises OSError."""
    with open(path, 'ab', buffering=0) as file:
        start = file.tell()
        if file.write(line) < len(line):
            file.truncate(start)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def describe(sequence: int, episode_id: int, folder: Path) -> Entry:
    """Index entry of a folder, from the bag itself. Raises ConfigError."""
    messages = read_messages(folder)
    closing, rewards = [item for item in messages[EPISODE] if item.phase in (2, 3, 4, 5)], messages[REWARD]
    if not closing:
        raise ConfigError(f'{folder} holds no closed episode')
    correction = is_correction(folder)
    return Entry(
        sequence=sequence,
        episode_id=episode_id,
        folder=folder.name,
        phase=int(closing[-1].phase),
        steps=0 if correction else int(closing[-1].step),
        success=bool(rewards[-1].success) if rewards else False,
        revision=int(rewards[-1].revision) if rewards else 0,
        correction=correction,
    )
