"""From the frames of a LeRobot dataset to episodes of a task: numbers by their names, labels as the dataset has them.

A dataset that this package wrote gives back its episodes to the bit. Of any other the actions are taken for
demonstrations: a base policy's, uncorrected.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import cv2
import numpy as np

from resfit_learner.demonstrations import check_demonstration
from resfit_learner.lerobot_dataset import ACTION, CAMERA, JOINTS, OWN, PER_EPISODE, PER_STEP, REST, STATE, rest_names
from resfit_learner.lerobot_reader import DatasetReader, Frames, Image, refused
from resfit_policy.episode_log import Arm, Episode, Flag, Phase
from resfit_policy.observation import NO_FEATURES, Float
from resfit_policy.task import ConfigError, Task

OF_ANOTHER = 'these are episodes of the task {}: give its YAML file with --task'
LABELS = ('next.success', 'next.reward')  # the first that is there
Place = tuple[str, int]  # column and index in it


def recorded_task(dataset: DatasetReader) -> str:
    """Name of the task that a dataset of this package's was recorded in, '' of any other. Raises ConfigError."""
    if OWN + JOINTS[0] not in dataset.features:
        return ''
    column = OWN + 'task'
    return str(next(dataset.episodes([column], [], _same))[column][0])


class Importer:
    """The episodes of ``dataset`` as ``task`` has them."""

    def __init__(self, dataset: DatasetReader, task: Task, all_succeed: bool = False, resize: bool = False) -> None:
        """``all_succeed``: every episode is a success; ``resize``: images, as the policy node does with a camera's.

        Raises ConfigError where the dataset is of another robot, rate or camera, or has no labels.
        """
        name = recorded_task(dataset)
        self.dataset, self.own = dataset, bool(name)
        if self.own and name != task.name:
            raise ConfigError(OF_ANOTHER.format(name))
        if dataset.fps != task.control_hz:
            raise ConfigError(
                f'the dataset has {dataset.fps:g} frames per second, task {task.name} {task.control_hz:g} steps: '
                "set the task's control_hz and command_hz, or record at its rate"
            )
        states = {name: (column, i) for column in (REST, STATE) for i, name in enumerate(self._names(column))}
        actions = {name: (ACTION, i) for i, name in enumerate(self._names(ACTION))}
        if extra := actions.keys() - set(task.robot.names):
            raise ConfigError(f'the dataset moves {_few(extra)}, which robot {task.robot.name} does not have')
        rest = rest_names(task)
        if rest and not states.keys() & set(rest):
            task, rest = task.without_poses(), []  # nothing says where the objects are: cameras must do
        self.task = task
        self._state = self._places(states, [*task.robot.names, *rest], STATE)
        self._action = self._places(actions, list(task.robot.names), ACTION)
        self._cameras = self._pick_cameras()
        self._resize = resize
        self._label = next((name for name in LABELS if name in dataset.features), '')
        if self.own and all_succeed:
            raise ConfigError('the dataset has labels of its own: leave out --success')
        if all_succeed:
            self._label = ''
        elif not self._label:
            raise ConfigError(
                f'the dataset has no {" and no ".join(LABELS)}, so nothing says which episodes succeeded: '
                '--success all takes all of them for successes'
            )

    def episodes(self) -> Iterator[Episode]:
        """One after the other. Raises ConfigError where one cannot be read, or is not one of ``task``."""
        columns = list(dict.fromkeys([column for column, _ in (*self._state, *self._action)]))
        columns += [self._label] if self._label else []
        if not self.own:
            start = 0
            for number, frames in enumerate(self.dataset.episodes(columns, self._cameras, self._fit)):
                episode = self._demonstration(number, start, frames)
                check_demonstration(self.task, episode)
                start += len(episode.state)
                yield episode
            return
        columns += [OWN + name for name in (*JOINTS, 'authority', *PER_STEP, *PER_EPISODE, 'task')]
        columns += [OWN + 'features'] if OWN + 'features' in self.dataset.features else []
        final = self.dataset.final(columns, self._cameras, self._fit)
        taken: set[int] = set()
        for number, frames in enumerate(self.dataset.episodes(columns, self._cameras, self._fit)):
            with refused(self.dataset.folder):
                episode = self._recorded(number, frames, final(number))
            if episode.episode_id in taken:  # datasets of two runs, merged
                episode = replace(episode, episode_id=max(taken) + 1)
            taken.add(episode.episode_id)
            yield episode

    def _recorded(self, number: int, frames: Frames, final: Frames) -> Episode:
        """An episode that this package exported."""
        name = str(frames[OWN + 'task'][0])
        if name != self.task.name:
            raise ConfigError(OF_ANOTHER.format(name))
        about = {key: int(frames[OWN + key][0]) for key in PER_EPISODE}
        if final and int(final[OWN + 'episode_id'][0]) != about['episode_id']:
            raise ValueError(f'the last observation of episode {number} is of another episode')
        success = bool(frames[self._label].any())
        rows = {key: np.concatenate([frames[key], final[key]]) for key in frames} if final else frames
        features = rows.get(OWN + 'features')
        columns = [index for _, index in self._action]
        return Episode(
            episode_id=about['episode_id'],
            task=name,
            seed=about['seed'],
            arm=Arm(about['arm']),
            outcome=Phase(about['outcome']),
            success=success,
            final=bool(final),
            state=self._numbers(number, rows, self._state),
            images=self._images(rows),
            executed_action=self._numbers(number, rows, self._action),
            base_action=self._numbers(number, rows, [(OWN + 'base_action', index) for index in columns]),
            residual=self._numbers(number, rows, [(OWN + 'residual', index) for index in columns]),
            authority=rows[OWN + 'authority'].astype(np.float32),
            weights_version=rows[OWN + 'weights_version'].astype(np.int64),
            flags=rows[OWN + 'flags'].astype(np.uint8),
            stamp=rows[OWN + 'stamp'].astype(np.int64),
            features=NO_FEATURES[None] if features is None else features.reshape(len(features), -1).astype(np.float32),
            joints=self.task.robot.names,
        )

    def _demonstration(self, number: int, start: int, frames: Frames) -> Episode:
        """An episode of somebody else's: it ends with its first success; without one, its last frame is what came
        of the last but one, as after a time-out."""
        action = self._numbers(number, frames, self._action)
        steps = self._success(number, frames, len(action))
        rows = steps or len(action)
        if rows < 2:
            raise ConfigError(f'episode {number} has {rows} frame: remove it from the dataset')
        flags = np.zeros(rows, np.uint8)
        flags[-1] = Flag.NONE if steps else Flag.FINAL
        return Episode(
            episode_id=number + 1,
            task=self.task.name,
            seed=0,
            arm=Arm.BASE,
            outcome=Phase.SUCCESS if steps else Phase.TIMEOUT,
            success=bool(steps),
            final=not steps,
            state=self._numbers(number, frames, self._state)[:rows],
            images=self._images(frames)[:rows],
            base_action=action[:rows],
            residual=np.zeros_like(action[:rows]),
            executed_action=action[:rows],
            authority=np.zeros(rows, np.float32),
            weights_version=np.zeros(rows, np.int64),
            flags=flags,
            stamp=(start + np.arange(rows)) * self.task.period_ns,
            joints=self.task.robot.names,
        )

    def _success(self, number: int, frames: Frames, length: int) -> int:
        """Steps until the first success, 0 where there is none."""
        if not self._label:
            return length
        values = frames[self._label].astype(np.float32)
        if not np.isin(values, (0, 1)).all():
            raise ConfigError(
                f'{self._label} of episode {number} is {values[~np.isin(values, (0, 1))][0]:g} in places, which is no '
                'yes or no: --success all takes every episode for a success'
            )
        return int(values.argmax()) + 1 if values.any() else 0

    def _numbers(self, number: int, frames: Frames, places: list[Place]) -> Float:
        """(T, len(places)) float32, finite."""
        found = np.stack([frames[column].reshape(len(frames[column]), -1)[:, i] for column, i in places], 1)
        if not np.isfinite(found).all():
            row, index = (int(item[0]) for item in (~np.isfinite(found)).nonzero())
            raise ConfigError(
                f'{places[index][0]} of episode {number} is {found[row, index]} at frame {row}: remove the episode '
                'from the dataset'
            )
        return found.astype(np.float32)

    def _images(self, frames: Frames) -> Image:
        if not self._cameras:
            return np.zeros((len(frames[ACTION]), 0, 0, 0, 3), np.uint8)
        return np.stack([frames[CAMERA + name] for name in self._cameras], 1)

    def _fit(self, image: Image) -> Image:
        size = self.task.image_size
        if image.shape[:2] == (size, size):
            return image
        if not self._resize:
            raise ConfigError(
                f'the dataset has images of {image.shape[1]} x {image.shape[0]}, task {self.task.name} of {size} x '
                f"{size}: --resize scales them, as the policy node does with a camera's, or set the task's image_size"
            )
        return np.asarray(cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA), np.uint8)

    def _names(self, column: str) -> list[str]:
        """Names of the numbers in a column; LeRobot's robots say ``<joint>.pos``."""
        feature = self.dataset.features.get(column, {})
        names: Any = feature.get('names')
        if isinstance(names, dict):  # older datasets group them, as in {"motors": [...]}
            names = [name for group in names.values() for name in (group if isinstance(group, list) else [group])]
        if not isinstance(names, list) or len(names) != int(np.prod(feature['shape'])):
            return []
        return [str(name).removesuffix('.pos') for name in names]

    def _places(self, known: dict[str, Place], wanted: list[str], column: str) -> list[Place]:
        if column not in self.dataset.features:
            raise ConfigError(f'the dataset has no column {column}; it has {", ".join(self.dataset.features)}')
        if not self._names(column):
            raise ConfigError(
                f'the dataset does not name the numbers of {column}: write the joints, in their order, into '
                f'features.{column}.names of its meta/info.json'
            )
        if lacking := [name for name in wanted if name not in known]:
            raise ConfigError(
                f'{column} of the dataset lacks {_few(lacking)} of robot {self.task.robot.name}; it has '
                f'{_few(known)}: is it of another robot? If not, correct the names in its meta/info.json'
            )
        return [known[name] for name in wanted]

    def _pick_cameras(self) -> list[str]:
        held = [name.removeprefix(CAMERA) for name in self.dataset.features if name.startswith(CAMERA)]
        there = [name for name in self.task.cameras if name in held]
        needed = self.task.from_pixels and OWN + 'features' not in self.dataset.features
        if len(there) < len(self.task.cameras) and (there or needed):
            raise ConfigError(
                f'the dataset has the cameras {", ".join(held) or "none"}, task {self.task.name} '
                f'{", ".join(self.task.cameras)}: set the cameras of the task, or rename the features'
            )
        return there


def _same(image: Image) -> Image:
    return image


def _few(names: Any) -> str:
    shown = sorted(names)
    return ', '.join(shown[:4]) + (f' and {len(shown) - 4} more' if len(shown) > 4 else '')
