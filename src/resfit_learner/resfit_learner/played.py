"""A log that is played to a policy, message by message: episodes come apart again here, whatever order topics come in.

No ROS here. What the policy does now goes to a listener as it comes, and an episode's result once all of it was heard.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

from resfit_learner.reacting import Reacting, about_version
from resfit_policy.episode_log import Arm, Flag, Phase, StepRecord

CLOSING = (Phase.SUCCESS, Phase.FAILURE, Phase.TIMEOUT, Phase.ABORTED)


class Played:
    """Hands the steps of played episodes to ``Reacting`` in their order, and keeps what came of it."""

    def __init__(
        self,
        joints: Sequence[str],
        make: Callable[[StepRecord], Reacting],
        act: Callable[[int, StepRecord], None],
        tell: Callable[[str], object],
    ) -> None:
        """``make``: the policy for steps like this one, asked once. ``act`` gets an episode's id and what is done now.

        ``tell`` hears of each episode's end.
        """
        self._joints, self._make, self._act, self._tell = joints, make, act, tell
        self._reacting: Reacting | None = None
        self._acted: set[int] = set()  # versions of the residuals that were recorded
        self.heard = 0  # steps
        self.episode_id = 0
        self._closed = True
        self._arm: Arm | None = None
        self._length: int | None = None
        self._next = 0
        self._waiting: dict[int, StepRecord] = {}
        self.equal = self.base_only = self.episodes = 0
        self.differences: list[dict[str, Any]] = []
        self.incomplete: list[int] = []  # ids of episodes of which steps were not heard

    def on_episode(self, episode_id: int, phase: Phase, length: int, arm: Arm) -> None:
        """A recorded EpisodeState; ``length`` counts at the episode's end."""
        if phase != Phase.RUNNING and phase not in CLOSING:
            return
        if episode_id != self.episode_id or (self._closed and phase == Phase.RUNNING):
            self._open(episode_id)
        if self._closed:
            return
        self._arm = arm
        if phase in CLOSING:
            self._length = length
        self._drain()

    def on_step(self, episode_id: int, step: StepRecord) -> None:
        """A recorded PolicyStep."""
        self.heard += 1
        if episode_id != self.episode_id or (self._closed and step.step == 0):
            self._open(episode_id)
        if not self._closed and not step.flags & Flag.FINAL:
            self._waiting[step.step] = step
            self._drain()

    def finish(self) -> None:
        """Nothing more is played: an episode that is still open was not heard to its end."""
        if self._closed:
            return
        self._closed = True
        end = self._length if self._length is not None else max(self._waiting, default=self._next - 1) + 1
        lacking = [step for step in range(self._next, end) if step not in self._waiting]
        why = f'steps {lacking[0]} to {lacking[-1]} of {end} were not heard' if lacking else 'its end was not heard'
        if self._arm is None:
            why = 'neither its beginning nor its end was heard'
        self.incomplete.append(self.episode_id)
        self._tell(f'episode {self.episode_id} is not compared: {why}; play it again, later or slower')

    def summary(self) -> str:
        """What came of all episodes."""
        text = (
            f'{self.equal} steps equal to the bit, {self.base_only} more in the base action (held, taken over, other '
            f'weights); {len(self.differences)} of {self.episodes} episodes differ'
        )
        if not self.heard:
            text += '; nothing was heard: was anything played under recorded/?'
        if self.incomplete:
            text += f'; {len(self.incomplete)} not compared'
        note = about_version(self._reacting.runtime.version, self._acted) if self._reacting else ''
        return f'{text}; note: {note}' if note else text

    def as_dict(self) -> dict[str, Any]:
        """The same as numbers."""
        names = ('episodes', 'equal', 'base_only', 'differences', 'incomplete')
        return {name: getattr(self, name) for name in names}

    def _open(self, episode_id: int) -> None:
        self.finish()
        self.episode_id, self._closed, self._arm, self._length = episode_id, False, None, None
        self._next = 0
        self._waiting.clear()

    def _drain(self) -> None:
        if self._arm is None:
            return
        while (step := self._waiting.pop(self._next, None)) is not None:
            self._reacting = self._reacting or self._make(step)
            if self._next == 0:
                self._reacting.begin(self._arm, self.episode_id)
            if step.authority > 0 and step.weights_version:
                self._acted.add(step.weights_version)
            self._act(self.episode_id, self._reacting.step(step))
            self._next += 1
        if self._length is not None and self._next >= self._length and self._reacting is not None:
            self._close(self._reacting, self._length)

    def _close(self, reacting: Reacting, length: int) -> None:
        outcome = reacting.result(length)
        self._closed = True
        self.episodes += 1
        self.equal, self.base_only = self.equal + outcome.equal, self.base_only + outcome.base_only
        found = outcome.difference
        if found is None:
            self._tell(
                f'episode {self.episode_id}: {outcome.equal} steps equal to the bit, {outcome.base_only} more in the '
                'base action'
            )
            return
        self.differences.append({'episode': self.episode_id, **asdict(found)})
        self._tell(found.text(self.episode_id, self._joints))
