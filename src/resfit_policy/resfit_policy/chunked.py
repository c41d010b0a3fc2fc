"""A policy that predicts chunks of actions and executes them open loop."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import numpy as np

from resfit_policy.observation import Float, Observation


class Chunked:
    """A frozen policy with its queue of actions."""

    def __init__(self, predict: Callable[[Observation], Float], execute: int) -> None:
        """``predict``: observation -> chunk (n, A) rad, of which the first ``execute`` actions are executed."""
        self._predict, self._execute = predict, execute
        self._queue: deque[Float] = deque()

    def reset(self) -> None:
        """Clear the chunk queue."""
        self._queue.clear()

    def act(self, observation: Observation) -> Float:
        """Next action of the chunk, (A,) float32 rad; predicts a new chunk when the queue is empty."""
        if not self._queue:
            self._queue.extend(np.asarray(self._predict(observation), np.float32)[: self._execute])
        return self._queue.popleft()
