"""A critic of an episode's phases: which lasting correction pays in each of them?

A base that fails on a new object mostly fails the same way each time, so the first thing to find is one correction
for each phase of an episode (the approach, the grasp, ...; phases are equal parts of the demonstrations' length).
With exploration held for a phase that is a small regression with one row per episode: the mean correction z of the
phase in the latent range, and what came of it. To second order

    A(z) = c + w.z - lam |z|^2 / 2,        best z = w / lam

by ridge regression towards w = 0, lam = 1: k + 2 numbers to find, where a network that sees the state has thousands
and learns the few dozen episodes of the first robot minutes by heart (docs/learning.md). w is then shrunk by as much
as chance alone could have made it (James and Stein, positive part): where nothing is known, nothing is corrected.

What came of a phase is the value of the state it led to, less the value of the state it began in. So a phase is
not blamed for what went wrong in another one, nor for a hard start. Values are the chance of success given the state,
by kernel regression over the episodes so far. Of its own value an episode has a say in the mean alone that all are
regressed to, one part in n: what the kernel adds comes from the others (leave one out).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from resfit_policy.observation import Float

Array = NDArray[np.float64]

PRIOR = 8.0  # episodes that the prior is worth
LEAST_CURVATURE = 0.6  # of A, so that the best correction stays near what was tried
REACH = 0.7  # of the latent range
NOISE = 0.1  # variance of a gain before anything is known, worth one episode
SEEN_SHARE = 0.5  # of the episode's own outcome in what came of a phase, the rest is the value of where it led
MEMORY = 500  # newest episodes


@dataclass(frozen=True)
class Outline:
    """An episode as the critic remembers it, with a row for each of the R phases it reached."""

    success: bool
    correction: Float  # (R, k) mean of the phase, in the latent range
    state: Float  # (R, S) at the phase's start


class PhaseCritic:
    """The lasting corrections that the episodes so far speak for."""

    def __init__(self, phases: int, size: int, rate: float) -> None:
        self.rate = rate  # step of ``correction`` towards the best one, with every episode
        self.correction: Float = np.zeros((phases, size), np.float32)  # (P, k) in the latent range
        self.episodes: dict[int, Outline] = {}

    def add(self, episode_id: int, outline: Outline) -> None:
        """Add an episode, or replace one whose label was corrected."""
        self.episodes[episode_id] = outline
        if len(self.episodes) > MEMORY:
            del self.episodes[next(iter(self.episodes))]
        self.correction = self.correction + np.float32(self.rate) * (self.best() - self.correction)

    def best(self) -> Float:
        """The best lasting correction of each phase (P, k) float32, within ``REACH``; 0 where nothing is known."""
        best = np.zeros_like(self.correction)
        outlines = list(self.episodes.values())
        success = np.array([item.success for item in outlines], np.float64)
        after = success.copy()  # value of the state that the phase led to
        for phase in reversed(range(len(best))):
            reached = [row for row, item in enumerate(outlines) if len(item.correction) > phase]
            if reached:
                before = chance_of_success([outlines[row].state[phase] for row in reached], success[reached])
                came_of_it = SEEN_SHARE * success[reached] + (1 - SEEN_SHARE) * after[reached] - before
                best[phase] = top([outlines[row].correction[phase] for row in reached], came_of_it)
                after[reached] = before
        return best

    def tensors(self) -> dict[str, Tensor]:
        """All that the next ``add`` depends on."""
        outlines = list(self.episodes.values())
        tensors = {
            'now': torch.from_numpy(self.correction),
            'episode': torch.tensor([[key, item.success, len(item.state)] for key, item in self.episodes.items()]),
        }
        for name in ('correction', 'state') if outlines else ():
            tensors[name] = torch.from_numpy(np.concatenate([getattr(item, name) for item in outlines]))
        return tensors

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Put back what ``tensors`` gave."""
        self.correction = tensors['now'].numpy()
        first = 0
        for key, success, count in tensors['episode'].tolist():
            rows = slice(first, first + count)
            correction, state = (tensors[name][rows].numpy() for name in ('correction', 'state'))
            self.episodes[key] = Outline(bool(success), correction, state)
            first += count


def top(corrections: Sequence[Float], gains: Array) -> Float:
    """Where the fitted A(z) is largest, within ``REACH``: (k,) from n corrections (k,) and their gains (n,)."""
    z = np.array(corrections, np.float64)
    k = z.shape[1]
    rows = np.column_stack([np.ones(len(z)), z, -0.5 * np.square(z).sum(1)])
    prior = np.append(np.zeros(k + 1), 1.0)
    strength = np.full(k + 2, PRIOR * (z.var(0).mean() + 1e-3))
    strength[0] = 1e-3  # the mean gain is free
    inverse = np.linalg.inv(rows.T @ rows + np.diag(strength))
    fit = prior + inverse @ rows.T @ (gains - rows @ prior)
    w, noise = fit[1:-1], (np.square(gains - rows @ fit).sum() + NOISE) / (len(z) + 1)  # variance of a gain
    evidence = w @ np.linalg.solve(noise * inverse[1:-1, 1:-1], w)  # about k by chance alone
    shrunk = w * max(0.0, 1 - max(k - 2, 0) / max(evidence, 1e-9))  # nothing to gain for k = 1 or 2
    best: Float = np.clip(shrunk / max(fit[-1], LEAST_CURVATURE), -REACH, REACH).astype(np.float32)
    return best


def chance_of_success(states: Sequence[Float], success: Array) -> Array:
    """Chance (n,) of success from each of n states (S,): the mean of all, and what the other n - 1 episodes add to it.

    Kernel ridge regression with a Gaussian kernel as wide as the median distance; leaving one out is in closed form.
    """
    seen = np.array(states, np.float64)
    seen = np.clip((seen - seen.mean(0)) / np.maximum(seen.std(0), 0.02), -3, 3)
    square = np.square(seen).sum(1)
    distance = np.maximum(square[:, None] + square - 2 * seen @ seen.T, 0)
    kernel = np.exp(-distance / (np.median(distance) + 1e-6))
    inverse = np.linalg.inv(kernel + np.eye(len(seen)))
    error = inverse @ (success - success.mean()) / np.diag(inverse)
    chance: Array = np.clip(success - error, 0, 1)
    return chance
