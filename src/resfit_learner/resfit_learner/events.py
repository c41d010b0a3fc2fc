"""TensorBoard events of a learner; loss of the package costs the curves, not the run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from resfit_learner.learner import Learner


class Events:
    """Scalars over critic updates."""

    def __init__(self, folder: Path) -> None:
        self._writer: Any = None
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            return
        self._writer = SummaryWriter(str(folder))

    def write(self, learner: Learner) -> None:
        """Write the newest metrics."""
        if self._writer is None or not learner.metrics:
            return
        updates = learner.counters.updates
        for name, value in learner.metrics.items():
            self._writer.add_scalar(f'learner/{name}', value, updates)
        self._writer.add_scalar('learner/env_steps', learner.counters.env_steps, updates)

    def close(self) -> None:
        """Flush."""
        if self._writer is not None:
            self._writer.close()
