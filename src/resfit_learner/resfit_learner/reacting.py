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
    """The base of an episode: what it asked for, and its features, step by step."""

    def __init__(self, feature_size: int = 0) -> None:
        """``feature_size``: F of the episodes to come."""
        self.feature_size = feature_size
        self.episode: Episode | None = None
        self._step = -1

    def reset(self) -> None:
        """Back to the first step."""
        self._step = -1

    def act(self, observation: Observation) -> Float:
        """The recorded action (A,) of the next step."""
        assert self.episode is not None
        self._step += 1
        action: Float = self.episode.base_action[self._step]
        return action

    def features(self, observation: Observation) -> Float:
        """The recorded features (F,) of the same step."""
        assert self.episode is not None
        found: Float = self.episode.features[self._step]
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
    """What came of an episode."""

    compared: int  # executed steps that were compared
    left_out: int  # executed steps that were held, teleoperated, taken with other weights, or after a difference
    difference: Difference | None


def replay(episode: Episode, runtime: PolicyRuntime, explore: bool = False) -> Replayed:
    """Act on what an episode's steps saw, and compare base action, residual and executed action with the record.

    ``runtime``: with weights, a supervisor without a ramp, and with the seed of the run where ``explore`` is wanted.
    Steps that were held, teleoperated, or taken with other weights are not compared; what comes after them goes on
    from what was executed.
    """
    if isinstance(runtime.base, RecordedBase):
        runtime.base.episode = episode
    runtime.begin(episode.arm, explore, episode.episode_id)
    compared = 0
    for row in range(episode.length):
        images = episode.images[row] if episode.images.size else NO_IMAGES
        observation = Observation(episode.state[row], images)
        runtime.authority = float(episode.authority[row])  # as it was, ramps and all
        now = runtime.step(observation, stamp=int(episode.stamp[row]))
        if episode.flags[row] & (Flag.HELD | Flag.INTERVENTION) or _other_weights(episode, row, runtime):
            runtime.supervisor.follow(episode.executed_action[row])
            continue
        difference = _differ(episode, row, now)
        if difference:
            return Replayed(compared, episode.length - compared, difference)
        compared += 1
    return Replayed(compared, episode.length - compared, None)


def _other_weights(episode: Episode, row: int, runtime: PolicyRuntime) -> bool:
    """The residual that acted was another one; whose, does not matter where none did."""
    acted = episode.arm == Arm.RESIDUAL and episode.authority[row] > 0
    return bool(acted and episode.weights_version[row] != runtime.version)


def _differ(episode: Episode, row: int, now: StepRecord) -> Difference | None:
    for what in COMPARED:
        recorded, found = getattr(episode, what)[row], getattr(now, what)
        wrong = np.flatnonzero(recorded.view(np.uint32) != np.asarray(found, np.float32).view(np.uint32))
        if wrong.size:
            joint = int(wrong[0])
            return Difference(row, what, joint, float(recorded[joint]), float(found[joint]))
    return None
