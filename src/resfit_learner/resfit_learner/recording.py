"""One episode as its messages come in, in whatever order; says when all of it is there. No ROS here."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

from resfit_learner.bags import EPISODE, REWARD, STEP, EpisodeWriter
from resfit_policy.episode_log import Phase


class Recording:
    """Messages of one episode: held in memory, and written to a bag as they come when there is one.

    What cannot be written (disk full) stays in memory until ``write`` can.
    """

    def __init__(self, episode_id: int, begin: Callable[[], EpisodeWriter] | None = None) -> None:
        """``begin`` opens the bag; it may raise OSError."""
        self.episode_id = episode_id
        self._begin = begin
        self._writer: EpisodeWriter | None = None
        self._messages: list[tuple[str, int, bytes]] = []  # for the bag
        self._written = 0  # of them
        self.problem: OSError | None = None  # why they are not in the bag
        self.steps: dict[int, Any] = {}  # PolicyStep by step
        self.reward: Any = None  # the newest revision
        self.closing: Any = None  # the EpisodeState that ended it

    def write(self) -> EpisodeWriter:
        """The bag, with all that came so far. Raises OSError; the next call begins the bag anew."""
        assert self._begin is not None
        try:
            if self._writer is None:
                self._writer, self._written = self._begin(), 0
            for message in self._messages[self._written :]:
                self._writer.write(*message)
                self._written += 1
        except OSError as error:
            self.fail(error)
            raise
        self.problem = None
        return self._writer

    def fail(self, problem: OSError) -> None:
        """The bag could not be written: nothing of it stays on the disk, all of it in memory."""
        if self._writer is not None:
            self._writer.remove()
        self._writer, self.problem = None, problem

    def on_message(self, topic: str, message: Any, stamp: int) -> None:
        """A message of a bag."""
        hear = {STEP: self.on_step, REWARD: self.on_reward, EPISODE: self.on_episode}
        hear[topic](message, stamp)

    def on_step(self, message: Any, stamp: int, data: bytes = b'') -> None:
        """A PolicyStep; ``data`` is its CDR form."""
        if message.step not in self.steps:
            self.steps[message.step] = message
            self._keep(STEP, stamp, data)

    def on_reward(self, message: Any, stamp: int, data: bytes = b'') -> None:
        """A Reward."""
        if self.reward is None or message.revision > self.reward.revision:
            self.reward = message
            self._keep(REWARD, stamp, data)

    def on_episode(self, message: Any, stamp: int, data: bytes = b'') -> None:
        """An EpisodeState of RUNNING or of an end."""
        if message.phase != Phase.RUNNING:
            self.closing = message
        self._keep(EPISODE, stamp, data)

    @property
    def complete(self) -> bool:
        """The end, the label and every step that counts are there."""
        return not self.missing()

    def missing(self) -> str:
        """What is not there yet, '' when nothing."""
        if self.closing is None:
            return 'no end was announced'
        if self.reward is None:
            return 'the label is missing'
        # A time-out is bootstrapped from the observation after its last step.
        wanted = range(self.closing.step + int(self.closing.phase == Phase.TIMEOUT))
        lacking = [step for step in wanted if step not in self.steps]
        if not self.closing.step:
            return 'it has no executed step'
        return f'steps {lacking[:3]} are missing' if lacking else ''

    def kept_steps(self) -> list[Any]:
        """The steps that count, in order: the executed ones, and the last observation of a time-out."""
        end = self.closing.step + int(self.closing.phase == Phase.TIMEOUT)
        return [self.steps[step] for step in range(end)]

    def _keep(self, topic: str, stamp: int, data: bytes) -> None:
        if self._begin is None:
            return
        self._messages.append((topic, stamp, data))
        if self.problem is None:
            with suppress(OSError):  # kept as ``problem``; not tried again with every message
                self.write()
