"""From an episode to n-step transitions: the one place where termination and bootstrap are decided.

Success and failure terminate; a time-out is a truncation and bootstraps from the last observation
(design section 3). Nothing ever reaches across two episodes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from resfit_policy.episode_log import Episode, Phase
from resfit_policy.observation import Float


@dataclass(frozen=True)
class Transitions:
    """N transitions of one episode over its M >= N observation rows.

    reward[t] = sum_{i<m} gamma^i r_{t+i} and discount[t] = gamma^m for the m <= n steps to row next_row[t];
    discount is 0 where the episode terminated within them.
    """

    state: Float  # (M, 1 + S) step, state and features, all that the residual sees beside images
    base_action: Float  # (M, A) rad; in row next_row it is the base action of the bootstrap
    action: Float  # (M, A) rad, executed; the last row may hold none
    images: NDArray[np.uint8]  # (M, K, H, W, 3)
    reward: Float  # (N,)
    discount: Float  # (N,)
    next_row: NDArray[np.int64]  # (N,)
    mc_return: Float  # (N,) discounted return to the end of the episode, a time-out counting as 0
    success: bool

    def __len__(self) -> int:
        return len(self.reward)


def build_transitions(episode: Episode, gamma: float, n_step: int) -> Transitions:
    """n-step transitions with correct truncation (paper III-C). An aborted episode gives none."""
    length = episode.length
    terminated = episode.success or episode.outcome in (Phase.SUCCESS, Phase.FAILURE)
    if not terminated and not episode.final:
        length -= 1  # cut off without a last observation: bootstrap from the last one there is
    if episode.outcome == Phase.ABORTED:
        length = 0
    start = np.arange(length)
    next_row = np.minimum(start + n_step, length)
    steps = next_row - start
    to_end = length - 1 - start
    powers = (gamma ** np.arange(max(length, n_step) + 1)).astype(np.float32)
    won = np.float32(1.0 if episode.success else 0.0)
    reaches_end = next_row == length
    reward = np.where(reaches_end, won * powers[to_end], np.float32(0)) if length else np.zeros(0)
    discount = powers[steps] if length else np.zeros(0)
    if terminated:
        discount = np.where(reaches_end, np.float32(0), discount)
        next_row = np.minimum(next_row, length - 1)  # any valid row: its value is multiplied by 0
    return Transitions(
        state=episode.seen,
        base_action=episode.base_action,
        action=episode.executed_action,
        images=episode.images,
        reward=reward.astype(np.float32),
        discount=discount.astype(np.float32),
        next_row=next_row.astype(np.int64),
        mc_return=(won * powers[to_end] if length else np.zeros(0)).astype(np.float32),
        success=episode.success,
    )
