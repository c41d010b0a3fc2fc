"""Writes that matter: to a temporary name, synced, then renamed (design section 5)."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from resfit_policy.task import ConfigError


def write_atomically(path: Path, data: bytes) -> None:
    """Write ``path`` so that a reader sees the old content or the new, never half. Raises OSError."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f'.{path.name}.')
    try:
        with os.fdopen(handle, 'wb') as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make renames within ``folder``, or the content of a file, durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """A temporary folder that becomes ``folder`` once the block is through, and is removed when it fails.

    Raises ConfigError where ``folder`` already holds something, OSError.
    """
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise ConfigError(f'{folder} already exists: choose another folder')
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f'.{folder.name}.'))
    try:
        yield partial
        for path in (partial, *partial.rglob('*')):
            sync_folder(path)
        os.chmod(partial, 0o755)
        os.rename(partial, folder)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    sync_folder(folder.parent)


def lock_folder(folder: Path, name: str, taken: str) -> IO[str]:
    """Hold ``folder``, made where it is missing, for one process as long as the returned file is open.

    Raises ConfigError where it cannot be written, or, saying ``taken``, where another process holds it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = open(folder / name, 'w')  # noqa: SIM115 (held for life)
    except OSError as error:
        raise ConfigError(f'cannot write to {folder}: {error.strerror}; choose another run folder') from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.close()
        raise ConfigError(taken) from None
    return lock
