"""What demonstrations must be, before anything is trained on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np

from resfit_learner.bags import read_log
from resfit_policy.episode_log import Episode
from resfit_policy.task import ConfigError, Task

AGAIN = 'record demonstrations of this task with "resfit collect"'
ASKED = 0.1  # rad, range of a joint's targets from which on its position cannot have stayed one number
AT_START = 0.5  # rad, how far a first target may lie from the joint positions: gravity and contacts bend a robot


def read_demonstrations(task: Task, directory: Path, count: int | None = None) -> list[Episode]:
    """The first ``count`` episodes of a replay log as ``task`` sees them.

    Raises ConfigError where they cannot be read or learned from.
    """
    episodes = [as_seen(task, episode) for episode in islice(read_log(directory), count)]
    check_demonstrations(task, episodes)
    return episodes


def as_seen(task: Task, episode: Episode) -> Episode:
    """Without the object poses that a demonstrator may have needed, where cameras take their place."""
    if not task.from_pixels:
        return episode
    return replace(episode, state=episode.state[:, : task.action_size])


def split(demonstrations: Sequence[Episode], held_out: float) -> tuple[list[Episode], list[Episode]]:
    """Successes to clone, and the last share of them, at least one, which only tells how far the base errs.

    A failure is nothing to go by. Raises ConfigError where there is no success.
    """
    used = [episode for episode in demonstrations if episode.success]
    if not used:
        raise ConfigError(f'none of the demonstrations is a success: {AGAIN}')
    first = max(1, min(round(len(used) * (1 - held_out)), len(used) - 1))
    return used[:first], used[first:] or used[-1:]


def check_demonstrations(task: Task, demonstrations: Sequence[Episode]) -> None:
    """Raise ConfigError where ``demonstrations`` cannot be learned from, or are of another task or robot.

    A constant joint or coordinate is as it should be: an arm at rest, a table's height. A joint that was told to move
    is not, nor an object that is in one place throughout, but for a container in one single demonstration.
    """
    if not any(episode.success for episode in demonstrations):
        raise ConfigError(f'none of the demonstrations is a success: {AGAIN}')
    for episode in demonstrations:
        check_demonstration(task, episode)
    actions = np.concatenate([episode.executed_action[: episode.length] for episode in demonstrations])
    state = np.concatenate([episode.state for episode in demonstrations])
    if not np.ptp(actions, 0).any():
        raise ConfigError(f'the demonstrations hold one and the same action throughout: {AGAIN}')
    sources = [('joint positions', task.action_size), *((item.name, item.size) for item in task.objects)]
    ends = np.cumsum([size for _, size in sources])
    still = [
        name
        for (name, size), end in zip(sources, ends, strict=True)
        if size and not np.ptp(state[:, end - size : end], 0).any()
    ]
    moved = np.ptp(actions, 0) > ASKED
    silent = moved & (np.ptp(state[:, : task.action_size], 0) == 0)
    if silent.any() and 'joint positions' not in still:
        still = [*np.array(task.robot.names)[silent], *still]
    objects = [item.name for item in task.objects]
    if len(demonstrations) == 1 and still != objects:
        still = [name for name in still if name not in objects]  # a container stands still for one episode
    if still:
        raise ConfigError(
            f'{", ".join(still)}: the same throughout the demonstrations, so the source was silent: {AGAIN}, or leave '
            'out of the task what never moves'
        )


def check_demonstration(task: Task, episode: Episode) -> None:
    """Raise ConfigError where one episode is of another task or robot."""
    name, actions = f'demonstration {episode.episode_id}', episode.executed_action[: episode.length]
    if episode.state.shape[1] != task.state_size or actions.shape[1] != task.action_size:
        raise ConfigError(
            f'{name} has a state of {episode.state.shape[1]} and {actions.shape[1]} joints, task {task.name} has '
            f'{task.state_size} and {task.action_size}: it was recorded for another task or robot'
        )
    if episode.task != task.name:
        raise ConfigError(
            f'{name} was recorded for task {episode.task}, not for {task.name}: give demonstrations of this task, or '
            'give the task that name in its YAML file'
        )
    for ours, theirs in zip(task.robot.names, episode.joints, strict=False):  # older bags tell no names
        if ours != theirs:
            raise ConfigError(
                f'{name} has {theirs} where robot {task.robot.name} has {ours}: its joints are in another order, or it '
                f'is of another robot: {AGAIN}'
            )
    for part in (episode.state, episode.features, episode.base_action, actions):
        if not np.isfinite(part).all():
            raise ConfigError(f'{name} holds values that are not finite: remove it, or record it again')
    images = episode.images.shape[1:]
    needed = task.from_pixels and not episode.features.size  # features of a base stand in for images
    if (images[0] or needed) and images[:3] != (len(task.cameras), task.image_size, task.image_size):
        raise ConfigError(
            f'{name} has images (cameras, height, width) {images[:3]}, task {task.name} {len(task.cameras)} cameras of '
            f'{task.image_size} x {task.image_size}: set its cameras and image_size to these, or record it again'
        )
    robot = task.robot
    wrong = (actions < robot.lower - 1e-3) | (actions > robot.upper + 1e-3)
    far = np.abs(actions[0] - np.clip(episode.state[0, : task.action_size], robot.lower, robot.upper))
    wrong[0] |= far > robot.velocity / task.control_hz + AT_START
    if wrong.any():
        row, joint = (int(index[0]) for index in wrong.nonzero())
        limits = robot.joints[joint]
        raise ConfigError(
            f'{name} asks {limits.name} for {actions[row, joint]:.2f} at step {row}, which starts at '
            f'{episode.state[0, joint]:.2f} and has limits of {limits.lower:.2f} to {limits.upper:.2f}: its joints are '
            f'in another order than those of robot {robot.name}, or not in rad, or it is of another robot'
        )
