"""Reads a LeRobot dataset (format v3.0) episode by episode, and takes nothing in it on trust. Needs no lerobot.

Images come out of the Parquet files; videos need PyAV. Memory holds one episode at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from resfit_learner.lerobot_dataset import CAMERA, DATA, FINAL, INFO, Features
from resfit_policy.task import ConfigError, read_json

VIDEO = 'videos/{camera}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4'
AGAIN = 'copy or download it again, whole'
Image = NDArray[np.uint8]
Frames = dict[str, NDArray[Any]]  # by column: (T,), (T, D), or images (T, H, W, 3)


class DatasetReader:
    """A dataset in a local folder."""

    def __init__(self, folder: Path) -> None:
        """Raises ConfigError where ``folder`` holds none, or what it says of itself does not agree."""
        if not (folder / INFO).is_file():
            raise ConfigError(f'no LeRobot dataset in {folder}: give the folder that holds {INFO}')
        self.folder, info = folder, read_json(folder / INFO)
        version = info.get('codebase_version')
        if not str(version).startswith('v3.'):
            raise ConfigError(
                f"{folder} is of format {version}, not v3: convert it with lerobot's convert_dataset_v21_to_v30"
            )
        features = info.get('features')
        if not isinstance(features, dict) or not all(
            isinstance(item, dict) and isinstance(item.get('shape'), list) and 'dtype' in item
            for item in features.values()
        ):
            raise ConfigError(f'{folder}/{INFO} does not say dtype and shape of each feature: {AGAIN}')
        self.features: Features = features
        fps = info.get('fps')
        if not isinstance(fps, int | float) or not fps > 0:
            raise ConfigError(f'{folder}/{INFO} says fps {fps}, which is no rate: correct it')
        self.fps = float(fps)
        self._episodes = self._read_episodes(info)
        self.lengths = [int(row['length']) for row in self._episodes]

    def episodes(self, columns: list[str], cameras: list[str], fit: Callable[[Image], Image]) -> Iterator[Frames]:
        """``columns``, and the images of ``cameras`` each through ``fit``, of every episode. Raises ConfigError.

        ``fit`` gets and gives (H, W, 3) uint8 RGB.
        """
        for name in [*columns, *(CAMERA + camera for camera in cameras)]:
            if name not in self.features:
                raise ConfigError(f'{self.folder} has no column {name}; it has {", ".join(self.features)}')
        stored = [name for name in cameras if self.features[CAMERA + name]['dtype'] == 'image']
        films = {name: _Film(self.folder) for name in cameras if name not in stored}
        place, rows = None, None
        for number, (row, length) in enumerate(zip(self._episodes, self.lengths, strict=True)):
            if place != (at := (row['data/chunk_index'], row['data/file_index'])):
                place, path = at, self.folder / DATA.format(chunk_index=at[0], file_index=at[1])
                wanted = [*columns, *(CAMERA + name for name in stored), 'episode_index', 'frame_index']
                rows = _Rows(path, list(dict.fromkeys(wanted)))
            assert rows is not None
            frames = self._frames(rows.take(length), rows.path, fit)
            numbers, steps = frames.pop('episode_index'), frames.pop('frame_index')
            if (numbers != number).any() or (steps != np.arange(length)).any():
                raise ConfigError(
                    f'{rows.path} does not hold the {length} frames of episode {number} in order: {AGAIN}'
                )
            for name, film in films.items():
                frames[CAMERA + name] = film.take(name, row, self.fps, length, fit)
            yield frames

    def final(self, columns: list[str], cameras: list[str], fit: Callable[[Image], Image]) -> Callable[[int], Frames]:
        """A function that gives the one row, observed after the last step of an episode, or {} where it has none."""
        path = self.folder / FINAL
        if not path.exists():
            return lambda number: {}
        with refused(path):
            file = pq.ParquetFile(path)
            rows = {int(n): row for row, n in enumerate(file.read(['episode_index'])['episode_index'].to_pylist())}
        wanted = [*columns, *(CAMERA + camera for camera in cameras)]

        def read(number: int) -> Frames:
            if number not in rows:
                return {}
            with refused(path):
                table = file.read_row_group(rows[number], wanted)
            return self._frames(table, path, fit)

        return read

    def _read_episodes(self, info: dict[str, Any]) -> list[dict[str, Any]]:
        films = [name for name, feature in self.features.items() if feature['dtype'] == 'video']
        wanted = ['episode_index', 'length', 'dataset_from_index', 'data/chunk_index', 'data/file_index']
        wanted += [f'videos/{name}/{key}' for name in films for key in ('chunk_index', 'file_index', 'from_timestamp')]
        paths = sorted(self.folder.glob('meta/episodes/*/*.parquet'))
        rows: list[dict[str, Any]] = []
        for path in paths:
            with refused(path):
                table = pq.ParquetFile(path).read(wanted)
                if any(column.null_count for column in table.columns):
                    raise ValueError('it has gaps')
            if lacking := set(wanted) - set(table.column_names):
                raise ConfigError(f'{path} has no column {", ".join(sorted(lacking))}: {AGAIN}')
            rows += table.to_pylist()
        said = info.get('total_episodes'), info.get('total_frames')
        there = len(rows), sum(row['length'] for row in rows)
        starts = np.cumsum([0] + [row['length'] for row in rows])[:-1].tolist()
        if said != there or not rows:
            raise ConfigError(
                f'{self.folder}/{INFO} speaks of {said[0]} episodes and {said[1]} frames, meta/episodes of {there[0]} '
                f'and {there[1]}: {AGAIN}'
            )
        for number, (row, start) in enumerate(zip(rows, starts, strict=True)):
            if (row['episode_index'], row['dataset_from_index']) != (number, start) or row['length'] < 1:
                raise ConfigError(f'{self.folder}/meta/episodes is out of order at episode {number}: {AGAIN}')
        return rows

    def _frames(self, table: pa.Table, path: Path, fit: Callable[[Image], Image]) -> Frames:
        """Columns as arrays of the shapes that the features have. Raises ConfigError."""
        found: Frames = {}
        for name in table.column_names:
            feature, column = self.features[name], table[name].combine_chunks()
            if isinstance(column, pa.ChunkedArray):
                column = pa.concat_arrays(column.chunks)
            with refused(path):
                if feature['dtype'] == 'image':
                    images = [fit(_decode(item, path)) for item in column.field('bytes').to_pylist()]
                    found[name] = np.stack(images)
                    continue
                if pa.types.is_list(column.type) or pa.types.is_fixed_size_list(column.type):
                    column = column.flatten()
                if column.null_count:
                    raise ValueError(f'{name} has gaps')
                size = int(np.prod(feature['shape']))
                shape = (len(table),) if size == 1 else (len(table), size)
                found[name] = column.to_numpy(zero_copy_only=False).reshape(shape)
        return found


class _Rows:
    """The rows of one file, in order, as many at a time as are asked for."""

    def __init__(self, path: Path, columns: list[str]) -> None:
        if not path.is_file():
            raise ConfigError(f'{path} is missing: {AGAIN}')
        self.path = path
        with refused(path):
            file = pq.ParquetFile(path, buffer_size=1 << 20)
            if lacking := set(columns) - set(file.schema_arrow.names):
                raise ValueError(f'it has no column {", ".join(sorted(lacking))}')
            groups = range(file.num_row_groups)  # one by one: together they would all stay in memory
            self._batches = (batch for group in groups for batch in file.iter_batches(64, [group], columns))
        self._left = pa.table({})

    def take(self, count: int) -> pa.Table:
        """The next ``count`` rows. Raises ConfigError where there are fewer."""
        parts, lacking = [], count
        while lacking:
            if not len(self._left):
                with refused(self.path):
                    batch = next(self._batches, None)
                if batch is None:
                    raise ConfigError(f'{self.path} ends {lacking} frames too early: {AGAIN}')
                self._left = pa.Table.from_batches([batch])
            parts.append(self._left.slice(0, lacking))
            self._left = self._left.slice(lacking)
            lacking -= len(parts[-1])
        return pa.concat_tables(parts)


class _Film:
    """The frames of one camera's video files, in order."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._path = folder, Path()
        self._images: Iterator[Any] = iter(())
        self._next = 0  # frame of the present file that comes next

    def take(self, camera: str, row: dict[str, Any], fps: float, count: int, fit: Callable[[Image], Image]) -> Image:
        """The ``count`` frames of the episode of ``row``. Raises ConfigError."""
        try:
            import av
        except ImportError:
            raise ConfigError(f'camera {camera} is a video, which PyAV decodes: pip install av') from None
        key = f'videos/{CAMERA}{camera}/'
        place = {name: row[key + name] for name in ('chunk_index', 'file_index')}
        path, start = self._folder / VIDEO.format(camera=CAMERA + camera, **place), round(
            row[key + 'from_timestamp'] * fps
        )  # fmt: skip
        found: list[Image] = []
        with refused(path):
            if path != self._path or start < self._next:
                self._path, self._next, self._images = path, 0, av.open(str(path)).decode(video=0)
            while len(found) < count:
                frame = next(self._images, None)
                if frame is None:
                    raise ValueError(f'it ends {count - len(found)} frames too early')
                if self._next >= start:
                    found.append(fit(frame.to_ndarray(format='rgb24')))
                self._next += 1
        return np.stack(found)


@contextmanager
def refused(path: Path) -> Iterator[None]:
    """What goes wrong in reading ``path`` is a ConfigError that names it."""
    try:
        yield
    except ConfigError:
        raise
    except (pa.ArrowException, OSError, ValueError, KeyError) as error:
        raise ConfigError(f'{path} cannot be read ({str(error).splitlines()[0]}): {AGAIN}') from None


def _decode(data: bytes | None, path: Path) -> Image:
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) if data else None
    if image is None:
        raise ConfigError(f'{path} holds an image that cannot be decoded: {AGAIN}')
    return np.ascontiguousarray(image[..., ::-1], np.uint8)
