"""What a policy sees, and what a policy is."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float32]
NO_IMAGES = np.zeros((0, 0, 0, 3), np.uint8)
NO_FEATURES: Float = np.zeros(0, np.float32)


@dataclass(frozen=True)
class Observation:
    """One observation.

    state: (S,) float32, joint positions [rad] then object poses [m, rotation columns], see ``Task``.
    images: (K, H, W, 3) uint8 RGB, cameras in the task's order; K is 0 in state mode.
    """

    state: Float
    images: NDArray[np.uint8] = field(default_factory=lambda: NO_IMAGES)


class BasePolicy(Protocol):
    """A frozen base policy, treated as a black box (paper III-A)."""

    def reset(self) -> None:
        """Forget everything of the last episode, above all its chunk queue."""

    def act(self, observation: Observation) -> Float:
        """Return the action for this control step: (A,) float32, absolute joint positions [rad]."""


@runtime_checkable
class ChunkBase(BasePolicy, Protocol):
    """A base that predicts chunks of actions, and can be asked for one before it is needed (``ahead``)."""

    execute: int  # actions of a chunk that are executed before the next prediction

    def predict(self, observation: Observation) -> Float:
        """(n, A) float32 rad, row 0 for the control step of the observation. Leaves the queue of ``act`` alone."""


@runtime_checkable
class FeatureBase(BasePolicy, Protocol):
    """A base that looks at images, and says what its frozen backbone makes of them (issue 3 section 4)."""

    feature_size: int

    def features(self, observation: Observation) -> Float:
        """(F,) float32, what the residual sees in place of the observation's pixels."""
