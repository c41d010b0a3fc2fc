"""What the operator's page is told, from the messages of a run. No ROS here.

In a blind session it is told nothing by which who acts could be known: no arm, authority, weights, scores of each arm,
or steps that the supervisor changed.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from resfit_policy.episode_log import Arm, Flag, Phase
from resfit_policy.rate import wilson
from resfit_policy.watching import JUDGED, WINDOW, Score

SHOWN = 8  # newest episodes, and newest lines of what was said
SOURCES = ('simulation', 'an operator', 'classifier', 'nobody')  # Reward.source
PARTIAL = ('policy_node', 'learner_node')  # their diagnostics may say how well one of the two does
LIFE = 5.0  # s for which a node's warning is believed; it repeats it once a second


class PageState:
    """Keeps the newest of everything. Messages are duck-typed."""

    def __init__(self, task: str, cameras: Iterable[str], counted: tuple[int, int] | None) -> None:
        """``counted``: successes and episodes of the base alone, None where nobody has counted."""
        self.task, self.cameras, self.counted = task, list(cameras), counted
        self.score = Score()
        self.episode: dict[str, Any] = {'id': 0, 'phase': Phase.IDLE.name, 'step': 0, 'horizon': 0}
        self.arm = Arm.BASE
        self.stopped, self.authority, self.reason = False, 0.0, ''
        self.flags, self.weights = Flag.NONE, 0
        self.learner: dict[str, Any] | None = None
        self.heard = 0.0  # s, newest heartbeat of the learner
        self.replay: dict[str, Any] | None = None
        self.history: dict[int, dict[str, Any]] = {}  # by episode
        self.said: list[str] = []
        self._helped: set[int] = set()  # episodes in which a person took over: their success is not the policy's
        self._warnings: dict[str, tuple[float, str]] = {}

    def on_episode(self, message: Any) -> None:
        """A new phase."""
        phase, number = Phase(int(message.phase)), int(message.episode_id)
        self.arm, self.flags = Arm(int(message.arm)), Flag.NONE
        self.episode = {'id': number, 'phase': phase.name, 'step': int(message.step), 'horizon': int(message.horizon)}
        self._warnings.pop('streamer_node', None)  # between episodes it holds, and has not said yet that it does not
        if phase in (*JUDGED, Phase.ABORTED):
            self._entry(number)['end'] = phase.name
            if number not in self._helped:
                self.score.close(number, self.arm, phase)

    def on_reward(self, message: Any) -> None:
        """A label, or a corrected one."""
        source = SOURCES[min(int(message.source), len(SOURCES) - 1)]
        entry = self._entry(int(message.episode_id))
        entry['success'], entry['revision'] = bool(message.success), int(message.revision)
        entry['by'] = str(message.operator_name) or source
        self.score.label(int(message.episode_id), bool(message.success))

    def on_step(self, message: Any) -> None:
        """A control step."""
        self.flags, self.weights = Flag(int(message.flags)), int(message.weights_version)
        if int(message.episode_id) == self.episode['id'] and self.episode['phase'] == Phase.RUNNING.name:
            self.episode['step'] = int(message.step)
        if self.flags & Flag.INTERVENTION:
            self._helped.add(int(message.episode_id))

    def on_authority(self, message: Any) -> None:
        """The dial, the emergency stop, and why authority fell."""
        self.authority, self.stopped = float(message.authority), bool(message.stopped)
        self.reason = '' if self.stopped else str(message.reason)

    def on_learner(self, message: Any, now: float) -> None:
        """A heartbeat, at ``now`` s."""
        self.heard = now
        self.learner = {
            'updates': int(message.updates),
            'per_second': round(float(message.updates_per_second), 1),
            'owed': int(message.backlog),
            'q': _finite(message.q_mean),
            'loss': _finite(message.critic_loss),
            'weights': int(message.weights_version),
        }

    def on_replay(self, message: Any) -> None:
        """State of the log."""
        self.replay = {
            'episodes': int(message.episodes),
            'steps': int(message.transitions),
            'free_gb': round(int(message.bytes_free) * 1e-9, 1),
            'folder': str(message.directory),
        }

    def on_diagnostics(self, name: str, problem: str, now: float) -> None:
        """A node's ``problem``, '' for none."""
        name = name.rpartition('/')[2]
        if name != 'streamer_node' or self.episode['phase'] == Phase.RUNNING.name:
            self._warnings[name] = (now, problem)

    def say(self, text: str) -> None:
        """A line for everybody."""
        self.said = [*self.said, text][-SHOWN:]

    def labelled(self) -> int:
        """The episode that success and failure are for: the running one, or the newest that is over; 0 for none."""
        if self.episode['phase'] == Phase.RUNNING.name:
            return int(self.episode['id'])
        over = [number for number, entry in self.history.items() if entry['end'] not in ('', Phase.ABORTED.name)]
        return max(over, default=0)

    def view(self, now: float, blind: bool, silent: Iterable[str]) -> dict[str, Any]:
        """All that the page shows, as JSON. ``silent``: nodes that are not there."""
        seen = {name: text for name, (when, text) in self._warnings.items() if text and now - when < LIFE}
        warnings = [f'{name}: {text}' for name, text in seen.items() if not (blind and name in PARTIAL)]
        warnings += [f'{name} is not there' for name in silent]
        view: dict[str, Any] = {
            'task': self.task,
            'cameras': self.cameras,
            'episode': dict(self.episode),
            'labels': self.labelled(),
            'stopped': self.stopped,
            'doing': [name for name in ('INTERVENTION', 'HELD') if self.flags & Flag[name]],
            'history': [
                {'id': number, **entry} for number, entry in sorted(self.history.items(), reverse=True)[:SHOWN]
            ],
            'said': self.said,
            'warnings': warnings,
            'replay': self.replay,
            'blind': blind,
        }
        if blind:
            return view
        learner = self.learner and {**self.learner, 'age': round(now - self.heard)}
        policy = {'arm': self.arm.name, 'weights': self.weights, 'clipped': bool(self.flags & Flag.CLIPPED)}
        dial = {'authority': round(self.authority, 3), 'reason': self.reason}
        return {**view, **policy, **dial, 'learner': learner, 'score': self._score()}

    def _score(self) -> dict[str, Any]:
        """Of the residual and the base: successes, episodes, and the 95 % interval of the rate."""
        counts = {arm: self.score.count(arm) for arm in Arm}
        apart = not counts[Arm.BASE][1] and self.counted is not None  # counted before this run
        if apart and self.counted:
            counts[Arm.BASE] = self.counted
        rows: dict[str, Any] = {'window': WINDOW, 'apart': apart}
        for arm, (successes, n) in counts.items():
            rate = wilson(successes, n) if n else None
            rows[arm.name] = rate and [successes, n, round(rate.low, 3), round(rate.high, 3)]
        return rows

    def _entry(self, number: int) -> dict[str, Any]:
        while len(self.history) > WINDOW:
            del self.history[min(self.history)]
        return self.history.setdefault(number, {'end': '', 'success': None, 'by': '', 'revision': 0})


def _finite(value: Any) -> float | None:
    """A number that JSON has, or None."""
    number = float(value)
    return round(number, 4) if abs(number) < 1e30 else None
