"""A critic of whole episodes: which lasting correction pays?

A base that fails on a new object mostly fails the same way each time, so the first thing to find is one correction
that holds for a whole episode. With exploration held for an episode, that is a regression with one row per
episode: its mean correction z in the latent range, and its one bit. To second order

    Q(z) = c + w.z - lam |z|^2 / 2,        best z = w / lam

by ridge regression towards w = 0, lam = 1. It has k + 2 numbers to find, where a network that sees the state has
thousands and learns the few dozen episodes of the first robot minutes by heart (docs/learning.md).
"""

from __future__ import annotations

import numpy as np

from resfit_policy.observation import Float

PRIOR = 8.0  # episodes that the prior is worth
LEAST_CURVATURE = 0.6  # of Q, so that the best correction stays near what was tried
REACH = 0.7  # of the latent range


class EpisodeCritic:
    """Mean correction and label of each episode, and the correction that they speak for."""

    def __init__(self, size: int, rate: float) -> None:
        self.rate = rate  # step of ``correction`` towards the best one, with every episode
        self.correction: Float = np.zeros(size, np.float32)  # (k,) in the latent range
        self.episodes: dict[int, tuple[bool, list[float]]] = {}  # episode -> success, mean correction (k,)

    def add(self, episode_id: int, success: bool, correction: Float) -> None:
        """Add an episode, or replace one whose label was corrected. ``correction`` (k,) in the latent range."""
        self.episodes[episode_id] = success, [float(value) for value in correction]
        self.correction = self.correction + np.float32(self.rate) * (self.best() - self.correction)

    def best(self) -> Float:
        """The best lasting correction (k,) float32, each number within ``REACH``; zeros where nothing is known."""
        success = np.array([success for success, _ in self.episodes.values()], np.float64)
        z = np.array([correction for _, correction in self.episodes.values()], np.float64)
        k = z.shape[1]
        rows = np.column_stack([np.ones(len(z)), z, -0.5 * np.square(z).sum(1)])
        prior = np.append(np.zeros(k + 1), 1.0)
        strength = np.full(k + 2, PRIOR * (z.var(0).mean() + 1e-3))
        strength[0] = 1e-3  # the mean success is free
        fit = prior + np.linalg.solve(rows.T @ rows + np.diag(strength), rows.T @ (success - rows @ prior))
        best: Float = np.clip(fit[1:-1] / max(fit[-1], LEAST_CURVATURE), -REACH, REACH).astype(np.float32)
        return best
