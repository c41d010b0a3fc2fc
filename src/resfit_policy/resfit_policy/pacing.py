"""When a control step is due: the first joint states at or after each 50 ms of the episode.

A step that comes late, because joint states were late or an observation was not there, delays the next one: two
steps are never closer than a period less one tick. Steps are left out, never bunched.
"""

from __future__ import annotations


class Pacer:
    """Counts an episode's steps on the grid that its first stamp lays down."""

    def __init__(self, period: int, tick: int, horizon: int) -> None:
        """``period``: ns between control steps, ``tick``: between joint states. ``horizon``: steps until time-out."""
        self.period, self.tick, self.horizon = period, tick, horizon
        self.running = False
        self.step = 0
        self._start = self._next = 0
        self._patience: int | None = None

    def start(self, stamp: int, patience: int | None = None) -> None:
        """Begin an episode whose observations count from ``stamp`` ns on.

        ``patience``: ns after which whoever first looks has come too late. A restarted policy, which cannot know
        whether its predecessor has already acted, leaves such an episode alone: its first steps would be missing.
        Who came in time may act as late as it must, as with a base that takes a while for its first chunk.
        """
        self.running, self.step, self._patience = True, 0, patience
        self._start = self._next = stamp

    def stop(self) -> None:
        """The episode is over."""
        self.running = False

    def due(self, stamp: int) -> bool:
        """Is a step due at joint states of ``stamp`` ns?"""
        if self._patience is not None and stamp >= self._start:
            self.running = self.running and stamp - self._start <= self._patience
            self._patience = None
        return self.running and stamp >= self._next

    @property
    def final(self) -> bool:
        """The step due is the observation after the last executed step."""
        return self.step == self.horizon

    def done(self, stamp: int) -> None:
        """A step was made at ``stamp``; after a stall the missed grid points are not made up for."""
        self.running = not self.final
        self.step += 1
        grid = self._start + ((stamp - self._start) // self.period + 1) * self.period
        self._next = max(grid, stamp + self.period - self.tick)
