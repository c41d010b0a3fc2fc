"""Directions and bounds of the residual, from the demonstrations alone.

The paper corrects every joint within a share of its range in the data. With 29 joints most directions mean
nothing for the task; the principal directions of the demonstrated motion do, and there are few.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from resfit_policy.episode_log import Episode
from resfit_policy.observation import Float


def joint_directions(demonstrations: Sequence[Episode], bound: float, floor: float = 0.05) -> tuple[Float, Float]:
    """One direction per joint: identity basis (A, A) and bounds (A,) rad.

    A bound is ``bound`` times half the joint's range in the demonstrations, the half-range floored at
    ``floor`` rad (paper: action_scale, min_action_range).
    """
    actions = np.concatenate([episode.executed_action[: episode.length] for episode in demonstrations])
    half = np.maximum((actions.max(0) - actions.min(0)) / 2, floor)
    return np.eye(actions.shape[1], dtype=np.float32), (bound * half).astype(np.float32)


def motion_synergies(demonstrations: Sequence[Episode], count: int, bound: float, lag: int = 5) -> tuple[Float, Float]:
    """The ``count`` principal directions of the demonstrated motion: orthonormal basis (k, A), bounds (k,) rad.

    Motion is the change of the action over ``lag`` control steps, so that the hand's closing counts as
    much as the arm's transport.
    """
    moves = np.concatenate(
        [
            episode.executed_action[lag : episode.length] - episode.executed_action[: episode.length - lag]
            for episode in demonstrations
        ]
    )
    spread = moves.std(0)
    weight = np.where(spread > 1e-4, 1.0, 0.0)
    _, _, directions = np.linalg.svd(moves * weight, full_matrices=False)
    return directions[:count].astype(np.float32), np.full(count, bound, np.float32)
