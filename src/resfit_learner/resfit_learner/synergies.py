"""Directions and bounds of the residual, from the demonstrations alone.

The paper corrects every joint within a share of its range in the data. With 29 joints most directions mean
nothing for the task. Where the base is known to err, a correction is worth trying: the principal directions of
its error on demonstrations that it was not trained on are few, and their spread tells how far to correct.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from resfit_policy.episode_log import Episode
from resfit_policy.observation import Float
from resfit_policy.task import ConfigError


def joint_directions(demonstrations: Sequence[Episode], bound: float, floor: float = 0.05) -> tuple[Float, Float]:
    """One direction per joint: identity basis (A, A) and bounds (A,) rad.

    A bound is ``bound`` times half the joint's range in the demonstrations, the half-range floored at
    ``floor`` rad (paper: action_scale, min_action_range).
    """
    actions = np.concatenate([episode.executed_action[: episode.length] for episode in demonstrations])
    half = np.maximum((actions.max(0) - actions.min(0)) / 2, floor)
    return np.eye(actions.shape[1], dtype=np.float32), (bound * half).astype(np.float32)


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
