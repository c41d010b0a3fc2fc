"""How often the base should act alone while the residual learns: as often as it is surely the better one.

A residual that learns from one bit per episode can lose what its base had, on a task where successes are rare for
good. So the labels decide between the two: each has a chance to succeed, of which the labels so far leave a Beta
posterior. The base never changes, and every label of it counts for good; the residual does, and the label of an episode
counts less with every one after it. With P the probability that the base is the better one, a share 2 P - 1 of the
episodes is its own, none while P is at most one half.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

GRID = (np.arange(500) + 0.5) / 500  # success rates


class Trust:
    """Labels of the base alone and of the residual, and what they say."""

    def __init__(self, memory: int) -> None:
        """``memory``: episodes after which the label of a residual's counts 1/e."""
        self.memory = memory
        self.episodes: dict[int, tuple[bool, bool]] = {}  # id -> the base acted alone, success; oldest first

    def add(self, episode_id: int, alone: bool, success: bool) -> None:
        """An episode, or its corrected label."""
        self.episodes[episode_id] = alone, success

    @property
    def base_share(self) -> float:
        """Share of the next episodes, from 0 to 1, in which the base should act alone."""
        if not self.episodes:
            return 0.0
        alone, success = np.array(list(self.episodes.values()), float).T
        fresh = np.exp(-np.arange(len(alone))[::-1] / self.memory)
        base, residual = (
            _posterior((weight * success).sum(), (weight * (1 - success)).sum())
            for weight in (alone, (1 - alone) * fresh)
        )
        better = float(residual @ (1 - base.cumsum() + base / 2))
        return max(0.0, 2 * better - 1)

    def tensors(self) -> dict[str, Tensor]:
        """All that is known."""
        return {'episodes': torch.tensor([[key, *value] for key, value in self.episodes.items()]).reshape(-1, 3)}

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Put back what ``tensors`` gave."""
        self.episodes = {key: (bool(alone), bool(success)) for key, alone, success in tensors['episodes'].tolist()}


def _posterior(successes: float, failures: float) -> np.ndarray:
    """Of a success rate, on the grid, from an even prior."""
    log_density = successes * np.log(GRID) + failures * np.log1p(-GRID)
    density = np.exp(log_density - log_density.max())  # of thousands of labels it would be 0 everywhere
    share: np.ndarray = density / density.sum()
    return share
