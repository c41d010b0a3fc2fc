"""TensorBoard events of a learner; loss of the package costs the curves, not the run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from resfit_learner.curve import WINDOW, Curve
from resfit_learner.learner import Learner
from resfit_policy.episode_log import Episode, Phase


class Events:
    """Metrics over critic updates in ``folder``, episodes over online steps in ``folder/episodes``."""

    def __init__(self, folder: Path, updates: int) -> None:
        """``updates``: those done so far; what an earlier process wrote beyond its last checkpoint is hidden."""
        self._curve = Curve()
        self._known: set[int] = set()
        self._metrics: Any = None
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            return
        self._metrics = SummaryWriter(str(folder), purge_step=updates)
        # All episodes come again from the replay log when a learner goes on.
        self._episodes = SummaryWriter(str(folder / 'episodes'), purge_step=0)

    def write(self, learner: Learner) -> None:
        """Write the newest metrics."""
        if self._metrics is None or not learner.metrics:
            return
        updates = learner.counters.updates
        for name, value in learner.metrics.items():
            self._metrics.add_scalar(f'learner/{name}', value, updates)
        self._metrics.add_scalar('learner/env_steps', learner.counters.env_steps, updates)

    def write_episode(self, episode: Episode) -> None:
        """Write how an online episode went; a corrected label comes too late for its curve, an aborted one has none."""
        if self._metrics is None or episode.episode_id in self._known or episode.outcome == Phase.ABORTED:
            return
        self._known.add(episode.episode_id)
        self._curve.add(episode)
        for name, value in (
            ('success', float(episode.success)),
            (f'success_last_{WINDOW}', self._curve.recent()),
            ('length', float(episode.length)),
        ):
            self._episodes.add_scalar(f'episode/{name}', value, self._curve.steps[-1])

    def close(self) -> None:
        """Flush."""
        if self._metrics is not None:
            self._metrics.close()
            self._episodes.close()
