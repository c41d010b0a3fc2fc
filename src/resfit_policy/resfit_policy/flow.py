"""Flow control between robot and learner: the robot waits for a slow learner, never for a dead one. No ROS here."""

from __future__ import annotations

from dataclasses import dataclass

HEARTBEAT = 5.0  # s without news after which a learner counts as dead, and the robot goes on without it
FIRST_WAIT = 120.0  # s that the first episode waits for a learner to come up
LAST_WAIT = 60.0  # s without news that the end of a run waits for a learner to use the last episodes


@dataclass(frozen=True)
class Limits:
    """How much a run is to record; 0 is no limit."""

    episodes: int
    steps: int  # executed

    def reached(self, episodes: int, steps: int) -> bool:
        """A log of so many episodes and steps holds all that was asked for."""
        return bool((self.episodes and episodes >= self.episodes) or (self.steps and steps >= self.steps))


class LearnerGate:
    """Holds back the next episode while the learner owes more than ``limit`` critic updates; 0 never does.

    All times are of one monotonic clock, in s.
    """

    def __init__(self, limit: int, now: float) -> None:
        self.limit = limit
        self._born = now
        self._heard: float | None = None
        self._backlog = 0
        self._sequence = 0

    def hear(self, backlog: int, sequence: int, now: float) -> None:
        """A heartbeat: critic updates owed, and the newest replay entry used."""
        self._backlog, self._sequence, self._heard = backlog, sequence, now

    def waits_for(self, now: float) -> str:
        """What the next episode waits for, '' for nothing."""
        if not self.limit:
            return ''
        if self._heard is None:
            return 'learner_node' if now - self._born < FIRST_WAIT else ''
        fresh = now - self._heard < HEARTBEAT
        return 'the learner to catch up' if fresh and self._backlog > self.limit else ''

    def drained(self, sequence: int, since: float, now: float) -> bool:
        """At the end of a run: the learner has used everything up to ``sequence``, or is not coming back.

        ``since``: when the run came to its end.
        """
        if not self.limit or now - max(self._heard or since, since) >= LAST_WAIT:
            return True
        return self._heard is not None and not self._backlog and self._sequence >= sequence
