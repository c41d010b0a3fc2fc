"""Sampling buffer: observation rows are stored once, transitions point at them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from resfit_learner.transitions import Transitions


@dataclass(frozen=True)
class Batch:
    """B transitions as tensors; actions in rad."""

    state: Tensor  # (B, 1 + S) the control step comes first
    base_action: Tensor  # (B, A)
    action: Tensor  # (B, A) executed
    reward: Tensor  # (B,) n-step
    discount: Tensor  # (B,)
    next_state: Tensor  # (B, 1 + S)
    next_base_action: Tensor  # (B, A)
    mc_return: Tensor  # (B,)
    success: Tensor  # (B,) 1 where the episode succeeded
    images: Tensor = field(default_factory=lambda: torch.zeros(0))  # (B, K, H, W, 3) uint8, where they are kept
    next_images: Tensor = field(default_factory=lambda: torch.zeros(0))

    def to(self, device: torch.device) -> Batch:
        """The same on another device."""
        return Batch(*(part.to(device) for part in vars(self).values()))


class ReplayBuffer:
    """Uniform sampling over the newest episodes, in a ring of ``capacity`` observation rows."""

    def __init__(self, state_size: int, action_size: int, capacity: int, images: tuple[int, ...] = ()) -> None:
        """``images``: shape (K, H, W, 3) of what a step sees, where that is kept."""
        self.capacity = capacity
        self._spans: dict[int, tuple[int, int, int]] = {}  # episode -> first row, rows, transitions; oldest first
        self._head = 0
        self._state = np.zeros((capacity, 1 + state_size), np.float32)
        self._base = np.zeros((capacity, action_size), np.float32)
        self._action = np.zeros((capacity, action_size), np.float32)
        self._scalars = np.zeros((capacity, 4), np.float32)  # reward, discount, mc_return, success
        self._next = np.zeros(capacity, np.int64)
        self._images = np.zeros((capacity if images else 0, *images), np.uint8)
        self._valid: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        """Number of transitions that can be sampled."""
        return sum(count for _, _, count in self._spans.values())

    def add(self, episode_id: int, transitions: Transitions) -> None:
        """Add an episode, or replace one whose label was corrected; the oldest make room.

        Raises ValueError where one episode is longer than the buffer.
        """
        rows, count = len(transitions.state), len(transitions)
        if rows > self.capacity:
            raise ValueError(f'an episode of {rows} steps does not fit a buffer of {self.capacity}: raise capacity')
        if episode_id in self._spans:
            first = self._spans[episode_id][0]  # a corrected label changes no observation
        else:
            while self.capacity - sum(size for _, size, _ in self._spans.values()) < rows:
                del self._spans[next(iter(self._spans))]
            first, self._head = self._head, (self._head + rows) % self.capacity
        self._spans[episode_id] = (first, rows, count)
        index = self._ring(first, rows)
        self._state[index] = transitions.state
        self._base[index] = transitions.base_action
        self._action[index] = transitions.action
        if len(self._images):
            self._images[index] = transitions.images
        self._scalars[index[:count], 0] = transitions.reward
        self._scalars[index[:count], 1] = transitions.discount
        self._scalars[index[:count], 2] = transitions.mc_return
        self._scalars[index[:count], 3] = transitions.success
        self._next[index[:count]] = (first + transitions.next_row) % self.capacity
        self._valid = None

    def sample(self, count: int, rng: np.random.Generator) -> Batch:
        """Draw ``count`` transitions with replacement. Raises ValueError while the buffer is empty."""
        if self._valid is None:
            spans = [self._ring(first, n) for first, _, n in self._spans.values()]
            self._valid = np.concatenate(spans) if spans else np.zeros(0, np.int64)
        if not len(self._valid):
            raise ValueError('nothing to sample: the buffer holds no transitions yet')
        rows = self._valid[rng.integers(0, len(self._valid), count)]
        then = self._next[rows]
        scalars = torch.from_numpy(self._scalars[rows])
        return Batch(
            state=torch.from_numpy(self._state[rows]),
            base_action=torch.from_numpy(self._base[rows]),
            action=torch.from_numpy(self._action[rows]),
            reward=scalars[:, 0],
            discount=scalars[:, 1],
            next_state=torch.from_numpy(self._state[then]),
            next_base_action=torch.from_numpy(self._base[then]),
            mc_return=scalars[:, 2],
            success=scalars[:, 3],
            images=torch.from_numpy(self._images[rows] if len(self._images) else self._images),
            next_images=torch.from_numpy(self._images[then] if len(self._images) else self._images),
        )

    def tensors(self) -> dict[str, Tensor]:
        """All rows up to the last one in use, by the array they belong to; views, not copies."""
        filled = min(self.capacity, max((first + rows for first, rows, _ in self._spans.values()), default=0))
        return {name: torch.from_numpy(value[:filled]) for name, value in self._arrays().items()}

    def about(self) -> dict[str, Any]:
        """Which episodes the rows are, oldest first."""
        return {'head': self._head, 'spans': [[key, *span] for key, span in self._spans.items()]}

    def restore(self, tensors: dict[str, Tensor], about: dict[str, Any]) -> None:
        """Put back what ``tensors`` and ``about`` gave."""
        for name, value in self._arrays().items():
            value[: len(tensors[name])] = tensors[name].numpy()
        self._spans = {key: (first, rows, count) for key, first, rows, count in about['spans']}
        self._head, self._valid = about['head'], None

    def _arrays(self) -> dict[str, NDArray[Any]]:
        return {'state': self._state, 'base': self._base, 'action': self._action, 'scalars': self._scalars,
                'next': self._next, 'images': self._images}  # fmt: skip

    def _ring(self, first: int, count: int) -> NDArray[np.int64]:
        return (first + np.arange(count)) % self.capacity


def concatenate(first: Batch, second: Batch) -> Batch:
    """Join two batches."""
    return Batch(*(torch.cat([a, b]) for a, b in zip(vars(first).values(), vars(second).values(), strict=True)))
