"""Directions, bounds and normalisers of the residual, from the demonstrations alone.

The paper corrects every joint within a share of its range in the data. With 29 joints most directions mean
nothing for the task. Where the base is known to err, a correction is worth trying: the principal directions of
its error on demonstrations that it was not trained on are few, and their spread tells how far to correct.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from resfit_learner.config import LearnerConfig
from resfit_policy.actor import ActorConfig, ResidualActor
from resfit_policy.episode_log import Episode
from resfit_policy.observation import Float
from resfit_policy.task import ConfigError, Task


def make_actor(config: LearnerConfig, task: Task, demonstrations: Sequence[Episode]) -> ResidualActor:
    """An untrained actor whose directions, bounds and normalisers come from ``demonstrations``.

    These carry the base's action in ``base_action``. Raises ConfigError where they cannot be learned from.
    """
    state = np.concatenate([episode.seen for episode in demonstrations])[:, 1:]
    base = np.concatenate([episode.base_action for episode in demonstrations])
    executed = np.concatenate([episode.executed_action[: episode.length] for episode in demonstrations])
    if config.residual == 'error':
        first = round(len(demonstrations) * (1 - config.held_out))
        held_out = demonstrations[min(first, len(demonstrations) - 1) :]
        basis, scale = error_directions(held_out, config.directions, config.bound)
        centre, spread = base.mean(0), np.maximum(base.std(0), 0.02)
    else:
        centre, spread = widened_range(executed, config.bound)
        basis = np.eye(task.action_size, dtype=np.float32)
        scale = spread if config.residual == 'absolute' else config.bound * spread
    pixels = config.from_pixels(task)
    if task.from_pixels and not pixels and state.shape[1] == task.state_size:
        raise ConfigError('the base gives no features of its images: set encoder to vit or cnn')
    actor = ResidualActor(
        ActorConfig(
            state.shape[1],
            task.action_size,
            len(basis),
            config.actor_hidden,
            absolute=config.residual == 'absolute',
            encoder=config.encoder if pixels and config.encoder != 'frozen' else 'none',
            cameras=len(task.cameras) if pixels else 0,
            image_size=task.image_size,
            phases=max(1, round(float(np.mean([episode.length for episode in demonstrations])) / config.phase_steps)),
            phase_steps=config.phase_steps,
        )
    )
    if not config.zero_init:
        actor.net[-1].reset_parameters()  # type: ignore[operator]
    buffers = {
        'state_mean': state.mean(0),
        'state_std': np.maximum(state.std(0), config.state_floor),
        'action_mean': centre,
        'action_std': spread,
        'basis': basis,
        'scale': scale,
    }
    for name, value in buffers.items():
        getattr(actor, name)[: len(value)] = torch.from_numpy(np.asarray(value, np.float32))
    return actor


def widened_range(actions: Float, head_room: float, floor: float = 0.05) -> tuple[Float, Float]:
    """Centre (A,) and half range (A,) of actions (N, A), rad; the half range floored, then wider by ``head_room``.

    The residual's bound is ``head_room`` of the widened half range, so that base and residual together stay about
    within it (paper: min_action_range, action_scale).
    """
    low, high = actions.min(0), actions.max(0)
    return (low + high) / 2, np.maximum((high - low) / 2, floor) * (1 + head_room)


def error_directions(held_out: Sequence[Episode], count: int, bound: float) -> tuple[Float, Float]:
    """Principal directions of (demonstrated - base action): orthonormal basis (k, A) and bounds (k,) rad.

    A bound is ``bound`` standard deviations of the error in its direction. ``held_out`` carry the base's action
    in ``base_action``. Directions without any error are left out, so k may be below ``count``.
    Raises ConfigError where the base reproduces the demonstrations exactly.
    """
    errors = np.concatenate(
        [episode.executed_action[: episode.length] - episode.base_action[: episode.length] for episode in held_out]
    ).astype(np.float64)
    _, singular, directions = np.linalg.svd(errors, full_matrices=False)
    spread = singular / np.sqrt(len(errors))
    kept = min(count, int((spread > 1e-5).sum()))
    if kept == 0:
        raise ConfigError('the base repeats the held-out demonstrations exactly: give demonstrations it has not seen')
    return directions[:kept].astype(np.float32), (bound * spread[:kept]).astype(np.float32)
