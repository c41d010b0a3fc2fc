"""Writes episodes as a LeRobot dataset (format v3.0), one at a time in memory. Needs no lerobot."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from resfit_learner.lerobot_dataset import (
    ACTION,
    CAMERA,
    DATA,
    EPISODES,
    FILES_PER_CHUNK,
    FINAL,
    IMAGE,
    INFO,
    JOINTS,
    OWN,
    PER_EPISODE,
    PER_STEP,
    REST,
    STATE,
    STATS,
    TASKS,
    VERSION,
    make_features,
    make_schema,
)  # fmt: skip
from resfit_learner.lerobot_stats import Stats, merged, of_images, of_values
from resfit_policy.episode_log import Episode, Phase
from resfit_policy.task import ConfigError, Task

ROWS = 50  # of meta/episodes at a time: a row group of one is mostly footer
BY_NAME = {  # what pandas, with which LeRobot reads the tasks, makes an index of
    'index_columns': ['task'],
    'column_indexes': [],
    'columns': [
        {'name': name, 'field_name': name, 'pandas_type': kind, 'numpy_type': kind, 'metadata': None}
        for name, kind in (('task_index', 'int64'), ('task', 'unicode'))
    ],
}


class DatasetWriter:
    """Writes episodes into a new folder, one row group each; ``close`` makes it whole."""

    def __init__(self, folder: Path, task: Task, example: Episode, file_mb: float = 100) -> None:
        """``example``: any of the episodes. Raises ConfigError where it is not one of ``task``."""
        self.folder, self.task, self._file_mb = folder, task, file_mb
        self.features = make_features(task, example)
        self._schema = make_schema(self.features)
        self._data = _Files(folder, DATA, file_mb)
        self._episodes = _Files(folder, EPISODES, file_mb)
        self._final = _Files(folder, FINAL)
        self._rows: list[dict[str, Any]] = []  # of meta/episodes
        self._stats: dict[str, Stats] = {}
        self.episodes = self.frames = 0

    def add(self, episode: Episode) -> None:
        """Append an episode. Raises ConfigError where it is of another shape, OSError (disk full)."""
        if (episode.task, make_features(self.task, episode)) != (self.task.name, self.features):
            raise ConfigError(
                f'episode {episode.episode_id} is of another task, or has other images or features than the first: '
                'make a dataset of each'
            )
        columns = self._columns(episode)
        table = pa.table([_array(columns[field.name], field.type) for field in self._schema], schema=self._schema)
        length, place = episode.length, self._data.place
        self._data.write(table.slice(0, length))
        if episode.final:
            self._final.write(table.slice(length))
        row: dict[str, Any] = {
            'episode_index': self.episodes,
            'tasks': [self._prompt],
            'length': length,
            **{f'data/{key}': value for key, value in place.items()},
            'dataset_from_index': self.frames,
            'dataset_to_index': self.frames + length,
            **{f'meta/episodes/{key}': value for key, value in self._episodes.place.items()},
        }
        for name, stats in self._describe(columns, episode).items():
            self._stats[name] = merged(self._stats[name], stats) if self.episodes else stats
            row |= {f'stats/{name}/{key}': value.tolist() for key, value in stats.items()}
        self._rows.append(row)
        if len(self._rows) == ROWS:
            self._write_rows()
        self.episodes, self.frames = self.episodes + 1, self.frames + length

    def close(self) -> None:
        """Write what says what the data are. Raises OSError."""
        self._write_rows()
        for files in (self._data, self._episodes, self._final):
            files.close()
        tasks = pa.table({'task_index': [0], 'task': [self._prompt]}, metadata={'pandas': json.dumps(BY_NAME)})
        pq.write_table(tasks, self.folder / TASKS)
        rate = self.task.control_hz
        info = {
            'codebase_version': VERSION,
            'robot_type': self.task.robot.name,
            'total_episodes': self.episodes,
            'total_frames': self.frames,
            'total_tasks': 1,
            'chunks_size': FILES_PER_CHUNK,
            'data_files_size_in_mb': self._file_mb,
            'video_files_size_in_mb': 200,
            'fps': int(rate) if rate == int(rate) else rate,
            'splits': {'train': f'0:{self.episodes}'},
            'data_path': DATA,
            'video_path': None,
            'features': self.features,
        }
        stats = {name: {key: value.tolist() for key, value in item.items()} for name, item in self._stats.items()}
        (self.folder / STATS).write_text(json.dumps(stats))
        (self.folder / INFO).write_text(json.dumps(info, indent=2))

    def _write_rows(self) -> None:
        if self._rows:
            self._episodes.write(pa.Table.from_pylist(self._rows))
        self._rows = []

    @property
    def _prompt(self) -> str:
        return self.task.instruction or self.task.name

    def _columns(self, episode: Episode) -> dict[str, Any]:
        """Every row of an episode, the last observation of a time-out among them, by column."""
        rows, size = len(episode.state), self.task.action_size
        row = np.arange(rows)
        last = row == episode.length - 1
        terminated = episode.success or episode.outcome in (Phase.SUCCESS, Phase.FAILURE)
        columns: dict[str, Any] = {
            STATE: episode.state[:, :size],
            REST: episode.state[:, size:],
            ACTION: episode.executed_action,
            'next.reward': (last & episode.success).astype(np.float32),
            'next.success': last & episode.success,
            'next.done': last,
            'next.truncated': last & (not terminated),
            OWN + 'task': [episode.task] * rows,
            OWN + 'features': episode.features,
            'timestamp': (row / self.task.control_hz).astype(np.float32),
            'frame_index': row,
            'index': self.frames + row,
            **{name: np.full(rows, value) for name, value in (('episode_index', self.episodes), ('task_index', 0))},
        }
        for index in range(episode.images.shape[1]):
            columns[CAMERA + self.task.cameras[index]] = [_png(image[index]) for image in episode.images]
        columns |= {OWN + name: getattr(episode, name) for name in (*JOINTS, 'authority', *PER_STEP)}
        return columns | {OWN + name: np.full(rows, int(getattr(episode, name)), np.int64) for name in PER_EPISODE}

    def _describe(self, columns: dict[str, Any], episode: Episode) -> dict[str, Stats]:
        found = {}
        for name, feature in self.features.items():
            if feature['dtype'] == 'image':
                camera = self.task.cameras.index(name.removeprefix(CAMERA))
                found[name] = of_images(episode.images[: episode.length, camera])
            elif not name.startswith(OWN):
                found[name] = of_values(columns[name][: episode.length].reshape(episode.length, -1))
        return found


class _Files:
    """Parquet files by number, each closed and the next begun when it is large enough."""

    def __init__(self, folder: Path, pattern: str, most_mb: float = np.inf) -> None:
        self._folder, self._pattern, self._most = folder, pattern, most_mb * 2**20
        self._number = 0
        self._writer: pq.ParquetWriter | None = None

    @property
    def place(self) -> dict[str, int]:
        """Where the next row group goes."""
        chunk, file = divmod(self._number, FILES_PER_CHUNK)
        return {'chunk_index': chunk, 'file_index': file}

    def write(self, table: pa.Table) -> None:
        path = self._folder / self._pattern.format(**self.place)
        if self._writer is None:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._writer = pq.ParquetWriter(path, table.schema)
        self._writer.write_table(table)
        if path.stat().st_size >= self._most:
            self.close()
            self._number += 1

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None


def _array(values: Any, kind: pa.DataType) -> pa.Array:
    if kind == IMAGE:
        return pa.array([{'bytes': item, 'path': None} for item in values], IMAGE)
    if pa.types.is_fixed_size_list(kind):
        return pa.FixedSizeListArray.from_arrays(pa.array(values.ravel(), kind.value_type), type=kind)
    return pa.array(values if isinstance(values, list) else values.ravel(), kind)


def _png(image: NDArray[np.uint8]) -> bytes:
    return cv2.imencode('.png', np.ascontiguousarray(image[..., ::-1]))[1].tobytes()
