"""Directions, bounds and normalisers of the residual, from the demonstrations alone.

The paper corrects every joint within a share of its range in the data. With 29 joints most directions mean
nothing for the task. Where the base is known to err, a correction is worth trying: the principal directions of
its error on demonstrations that it was not trained on are few, and their spread tells how far to correct.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import torch

from resfit_learner.config import LearnerConfig
from resfit_learner.demonstrations import split
from resfit_learner.warm_start import Show, demonstrated_correction, from_start
from resfit_policy.actor import ActorConfig, ResidualActor
from resfit_policy.episode_log import Episode
from resfit_policy.hand_view import ViewConfig
from resfit_policy.observation import Float
from resfit_policy.task import ConfigError, Task

LEAST_SPREAD = 1e-5  # rad, of an error in a direction that is worth correcting in


def make_actor(
    config: LearnerConfig,
    task: Task,
    demonstrations: Sequence[Episode],
    show: Show = lambda step: None,
    resumed: ActorConfig | None = None,
) -> ResidualActor:
    """An untrained actor whose directions, bounds and normalisers come from ``demonstrations``.

    These carry the base's action in ``base_action``; failures among them are left out. With ``config.warm_start``
    their correction is learned first (``show`` hears of it), and directions and bounds are of the error that it leaves
    over. ``resumed``: everything that is learned or measured here will be replaced by the checkpoint's of an actor of
    this shape, and only the sizes count.
    Raises ConfigError where they cannot be learned from.
    """
    correction = None
    if config.warm_start:
        known, _ = split(demonstrations, config.held_out)  # by the base, too
        correction = demonstrated_correction(task, known, 0 if resumed else config.warm_start, show)
    demonstrations = [from_start(item, correction) for item in demonstrations if item.success]
    length = float(np.mean([episode.length for episode in demonstrations]))
    phases = max(1, round(length / config.phase_steps))
    state = np.concatenate([episode.seen for episode in demonstrations])[:, 1:]
    base = np.concatenate([episode.base_action for episode in demonstrations])
    executed = np.concatenate([episode.executed_action[: episode.length] for episode in demonstrations])
    if config.residual == 'error':
        _, held_out = split(demonstrations, config.held_out)
        basis, scale = error_directions(
            [episode.executed_action[: episode.length] - episode.base_action[: episode.length] for episode in held_out],
            config, phases, resumed.latent_size if resumed else None,
        )  # fmt: skip
        centre, spread = base.mean(0), np.maximum(base.std(0), 0.02)
    else:
        centre, spread = widened_range(executed, config.bound)
        basis = np.eye(task.action_size, dtype=np.float32)[None].repeat(phases, 0)
        scale = (spread if config.residual == 'absolute' else config.bound * spread)[None].repeat(phases, 0)
    pixels = config.from_pixels(task)
    if task.from_pixels and not pixels and state.shape[1] == task.state_size:
        raise ConfigError('the base gives no features of its images: set encoder to vit or cnn')
    actor = ResidualActor(
        ActorConfig(
            state.shape[1],
            task.action_size,
            basis.shape[1],
            config.actor_hidden,
            absolute=config.residual == 'absolute',
            encoder=config.encoder if pixels and config.encoder != 'frozen' else 'none',
            cameras=len(task.cameras) if pixels else 0,
            image_size=task.image_size,
            phases=phases,
            phase_steps=config.phase_steps,
            demonstrated=correction is not None,
            view=correction.view.config if correction else ViewConfig(),
        )
    )
    actor.demonstrated = correction
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


def error_directions(
    errors: Sequence[Float], config: LearnerConfig, phases: int, known: int | None = None
) -> tuple[Float, Float]:
    """Principal directions of the base's error: orthonormal bases (P, k, A) and bounds (P, k) rad, one set per phase.

    ``errors``: (T, A) rad of held-out episodes. A bound is ``config.bound`` standard deviations of the error in its
    direction. Directions without any error are left out, so k may be below ``config.directions``; k is ``known`` where
    ``errors`` are what an untrained warm start leaves. What a base gets wrong in one phase (an arm that reaches) it
    need not in another (fingers that let go): with ``config.phase_directions`` each has its own, otherwise all have
    those of the whole episode.
    Raises ConfigError where the base reproduces the demonstrations exactly.
    """
    whole = np.concatenate(errors)
    basis, spread = _principal(whole, config.directions)
    kept = int((spread > LEAST_SPREAD).sum()) if known is None else min(known, len(spread))
    if kept == 0:
        raise ConfigError('the base repeats the held-out demonstrations exactly: give demonstrations it has not seen')
    found = [(basis[:kept], spread[:kept])] * phases
    if config.phase_directions:
        starts = np.arange(phases + 1) * config.phase_steps
        starts[-1] = max(len(error) for error in errors)  # the last phase never ends
        parts = [np.concatenate([error[i:j] for error in errors]) for i, j in itertools.pairwise(starts)]
        found = [_principal(part if len(part) > kept else whole, kept) for part in parts]
    bases, spreads = zip(*found, strict=True)
    return np.stack(bases), config.bound * np.maximum(np.stack(spreads), LEAST_SPREAD)


def _principal(errors: Float, count: int) -> tuple[Float, Float]:
    """The first ``count`` directions (k, A) of errors (N, A), and the errors' spread (k,) in them."""
    _, singular, directions = np.linalg.svd(errors.astype(np.float64), full_matrices=False)
    spread = singular[:count] / np.sqrt(len(errors))
    return directions[:count].astype(np.float32), spread.astype(np.float32)
