"""A policy that predicts chunks of actions and executes them open loop."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from resfit_policy.observation import Float, Observation


class Chunked:
    """A frozen policy with its queue of actions."""

    def __init__(self, predict: Callable[[Observation], Float], execute: int) -> None:
        """``predict``: observation -> chunk (n, A) rad, of which the first ``execute`` actions are executed."""
        self._predict, self.execute = predict, execute
        self._queue: list[Float] = []
        self.chunk_age = 0  # control steps since the observation that the last action was predicted from

    def reset(self) -> None:
        """Clear the chunk queue."""
        self._queue, self.chunk_age = [], 0

    def predict(self, observation: Observation) -> Float:
        """The whole chunk (n, A) float32 rad, past the queue."""
        return np.asarray(self._predict(observation), np.float32)

    def act(self, observation: Observation) -> Float:
        """Next action of the chunk, (A,) float32 rad; predicts a new chunk when the queue is empty."""
        if self._queue:
            self.chunk_age += 1
        else:
            self._queue, self.chunk_age = list(self.predict(observation)[: self.execute]), 0
        return self._queue.pop(0)
