"""Recorded observations through a policy once more: does it do what was recorded, to the last bit?

An episode's steps hold all that the policy saw, but for pixels where a base's features stand in their place: then
the recorded base actions are taken, and residual and supervisor alone are asked again.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from resfit_policy.episode_log import Arm, Episode, Flag, StepRecord
from resfit_policy.observation import NO_IMAGES, Float, Observation
from resfit_policy.runtime import PolicyRuntime

COMPARED = ('base_action', 'residual', 'executed_action')


class RecordedBase:
    """The base of an episode: what it asked for in ``row``, and its features."""

    def __init__(self, feature_size: int = 0) -> None:
        """``feature_size``: F of the episodes to come."""
        self.feature_size = feature_size
        self.episode: Episode | None = None
        self.row = 0

    def reset(self) -> None:
        """There is nothing to forget."""

    def act(self, observation: Observation) -> Float:
        """The recorded action (A,)."""
        assert self.episode is not None
        action: Float = self.episode.base_action[self.row]
        return action

    def features(self, observation: Observation) -> Float:
        """The recorded features (F,)."""
        assert self.episode is not None
        found: Float = self.episode.features[self.row]
        return found


@dataclass(frozen=True)
class Difference:
    """The first number that is not the recorded one."""

    step: int
    what: str  # base_action, residual or executed_action
    joint: int
    recorded: float  # rad
    now: float  # rad


@dataclass(frozen=True)
class Replayed:
    """What came of an episode; the counts are of executed steps before the difference."""

    equal: int  # in all of ``COMPARED``
    base_only: int  # held, teleoperated, or taken with other weights: the base's action alone can be the same
    difference: Difference | None


def replay(episode: Episode, runtime: PolicyRuntime, explore: bool = False) -> Replayed:
    """Act on what an episode's steps saw, and compare base action, residual and executed action with the record.

    ``runtime``: with weights, a supervisor without a ramp, and with the seed of the run where ``explore`` is wanted.
    Where something else acted than base and these weights, what comes after goes on from what was executed.
    """
    runtime.begin(episode.arm, explore, episode.episode_id)
    counts = [0, 0]
    for row in range(episode.length):
        if isinstance(runtime.base, RecordedBase):
            runtime.base.episode, runtime.base.row = episode, row
        images = episode.images[row] if episode.images.size else NO_IMAGES
        executed = episode.executed_action[row]
        runtime.authority = float(episode.authority[row])  # as it was, ramps and all
        now = runtime.step(
            Observation(episode.state[row], images),
            stamp=int(episode.stamp[row]),
            teleop=executed if episode.flags[row] & Flag.INTERVENTION else None,
        )
        other = bool(episode.flags[row] & (Flag.HELD | Flag.INTERVENTION)) or _other_weights(episode, row, runtime)
        difference = _differ(episode, row, now, COMPARED[:1] if other else COMPARED)
        if difference:
            return Replayed(counts[0], counts[1], difference)
        counts[other] += 1
        if other:
            runtime.supervisor.follow(executed)
    return Replayed(counts[0], counts[1], None)


def _other_weights(episode: Episode, row: int, runtime: PolicyRuntime) -> bool:
    """The residual that acted was another one; whose, does not matter where none did."""
    acted = episode.arm == Arm.RESIDUAL and episode.authority[row] > 0
    return bool(acted and episode.weights_version[row] != runtime.version)


def _differ(episode: Episode, row: int, now: StepRecord, compared: tuple[str, ...]) -> Difference | None:
    for what in compared:
        recorded, found = getattr(episode, what)[row], getattr(now, what)
        wrong = np.flatnonzero(recorded.view(np.uint32) != np.asarray(found, np.float32).view(np.uint32))
        if wrong.size:
            joint = int(wrong[0])
            return Difference(row, what, joint, float(recorded[joint]), float(found[joint]))
    return None
