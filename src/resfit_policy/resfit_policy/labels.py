"""Who said of which episode that it was a success: the newest label wins, and each is a revision. No ROS here."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import IntEnum

from resfit_policy.episode_log import Phase
from resfit_policy.episode_machine import Outcome


class Source(IntEnum):
    """Reward.source: who judged."""

    SIM = 0
    HUMAN = 1
    CLASSIFIER = 2
    SCRIPT = 3  # nobody: the episode was aborted


class Refused(Exception):
    """A label that cannot be given; the text says why, and what to do."""


@dataclass(frozen=True)
class Label:
    """A Reward without ROS."""

    episode_id: int
    step: int = 0  # last executed step that counts
    success: bool = False
    stamp: int = 0  # ns, of the judged observation
    source: Source = Source.HUMAN
    confidence: float = 1.0
    revision: int = 0
    operator: str = ''  # who gave it, where a person did


class Labels:
    """Labels of the episodes of one session."""

    def __init__(self) -> None:
        self.over = 0  # the newest episode that has a result
        self._newest: dict[int, Label] = {}
        self._given: list[Label] = []  # by operators, of the running episode, which ends at its next observation
        self._aborted: set[int] = set()

    def give(self, episode_id: int, success: bool, operator: str) -> None:
        """Keep an operator's label of the running episode until ``close``."""
        self._given.append(Label(episode_id, success=success, operator=operator))

    def close(self, episode_id: int, outcome: Outcome, source: Source, confidence: float) -> list[Label]:
        """Every label of the episode that has just ended, oldest first; operators' go over that of ``source``."""
        given = [item for item in self._given if item.episode_id == episode_id]
        self._given = []
        aborted = outcome.phase == Phase.ABORTED
        if aborted:
            self._aborted.add(episode_id)
            source = Source.SCRIPT
        if aborted or not given:
            success = outcome.phase == Phase.SUCCESS
            given = [Label(episode_id, success=success, source=source, confidence=confidence)]
        step = max(outcome.length - 1, 0)
        labels = [replace(item, step=step, stamp=outcome.stamp, revision=index) for index, item in enumerate(given)]
        if not aborted:
            self._newest[episode_id], self.over = labels[-1], episode_id
        return labels

    def correct(self, episode_id: int, success: bool, operator: str, *, last: int, busy: int) -> Label:
        """A new revision of the label of an episode that is over, 0 for the newest of this session.

        ``last``: newest episode that the log holds, perhaps of an earlier session. ``busy``: the one that has begun,
        0 for none. Raises Refused.
        """
        episode_id = episode_id or self.over
        if episode_id in self._aborted:
            raise Refused(f'episode {episode_id} was aborted: it has no result to label')
        if not episode_id:
            raise Refused('none is over yet: label an episode while it runs, or after it')
        if not 0 < episode_id <= max(self.over, last) or episode_id == busy:
            newest = max(self.over, last)
            known = f'the newest is {newest}' if newest else 'none is over yet'
            raise Refused(f'there is no episode {episode_id} that is over: {known}')
        old = self._newest.get(episode_id, Label(episode_id))
        label = replace(old, success=success, source=Source.HUMAN, confidence=1.0, operator=operator)
        self._newest[episode_id] = label = replace(label, revision=old.revision + 1)
        return label
