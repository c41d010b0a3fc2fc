"""Recorded observations through a policy once more: does it do what was recorded, to the last bit?

An episode's steps hold all that the policy saw, but for pixels where a base's features stand in their place: then
the recorded base actions are taken, and residual and supervisor alone are asked again.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from resfit_policy.actor import unpack_actor
from resfit_policy.base_policy import load_base
from resfit_policy.episode_log import Arm, Episode, Flag, StepRecord
from resfit_policy.observation import NO_FEATURES, NO_IMAGES, Float, Observation
from resfit_policy.runtime import PolicyRuntime
from resfit_policy.supervisor import make_supervisor
from resfit_policy.task import ConfigError, Task

COMPARED = ('base_action', 'residual', 'executed_action')


class RecordedBase:
    """The base as it was recorded: what it asked for in ``step``, and its features."""

    def __init__(self, feature_size: int = 0) -> None:
        """``feature_size``: F of the steps to come."""
        self.feature_size = feature_size
        self.step: StepRecord | None = None

    def reset(self) -> None:
        """There is nothing to forget."""

    def act(self, observation: Observation) -> Float:
        """The recorded action (A,)."""
        assert self.step is not None
        return self.step.base_action

    def features(self, observation: Observation) -> Float:
        """The recorded features (F,)."""
        assert self.step is not None
        return self.step.features


def as_recorded(task: Task, state_size: int) -> Task:
    """``task`` as the policy saw it: with object poses or without. Raises ConfigError where it is another one now."""
    if state_size != task.state_size and task.cameras:
        task = task.without_poses()
    if state_size != task.state_size:
        raise ConfigError(
            f'the recorded state has {state_size} numbers, the task {task.name} has {task.state_size} now: '
            'give the YAML file that the bag was recorded with'
        )
    return task


def load_policy(task: Task, base: str, weights: Path | None, seed: int, feature_size: int) -> PolicyRuntime:
    """A policy to ask again: base and residual, with a supervisor that does not ramp.

    ``base``: as ``load_base`` takes it; '' is the recorded one, and so is one whose features (``feature_size``) stand
    in the bag in place of what it saw. Raises ConfigError.
    """
    try:
        found = unpack_actor(weights.read_bytes()) if weights else None
    except OSError as error:
        raise ConfigError(f'cannot read {weights}: {error.strerror}; give an actor.safetensors') from None
    runtime = PolicyRuntime(
        task,
        load_base(base, task) if base and not feature_size else RecordedBase(feature_size),
        seed,
        make_supervisor(task, None, 0.0, True),
        pixels=found is not None and found[0].encoder is not None,
    )
    if found is not None:
        runtime.set_weights(*found)
    return runtime


def about_version(version: int, acted: Iterable[int]) -> str:
    """What a comparison with weights of ``version`` means, where they are none of those that ``acted``; else ''."""
    versions = sorted(set(acted))
    if not versions or version in versions:
        return ''
    there = f'{versions[0]}' if len(versions) == 1 else f'{versions[0]} to {versions[-1]}'
    age = 'newer than' if version > versions[-1] else 'older than' if version < versions[0] else 'none of'
    return (
        f'the weights are version {version}, {age} those that acted in these bags ({there}): only base actions can be '
        'compared; for the residual, give the weights that acted'
    )


def versions_acted(episode: Episode) -> set[int]:
    """Versions of the residuals that acted in an episode; what exploration alone did is version 0."""
    acted = episode.authority[: episode.length] > 0
    return {int(item) for item in episode.weights_version[: episode.length][acted]} - {0}


@dataclass(frozen=True)
class Difference:
    """The first number that is not the recorded one."""

    step: int
    what: str  # base_action, residual or executed_action
    joint: int
    recorded: float  # rad
    now: float  # rad

    def text(self, episode_id: int, joints: Sequence[str]) -> str:
        """For people; ``joints``: names in the action's order."""
        where = f'episode {episode_id}, step {self.step}: {self.what} of {joints[self.joint]}'
        return f'{where} is {self.now!r} rad, recorded {self.recorded!r}'


@dataclass(frozen=True)
class Replayed:
    """What came of an episode; the counts are of executed steps before the difference."""

    equal: int  # in all of ``COMPARED``
    base_only: int  # held, teleoperated, or taken with other weights: the base's action alone can be the same
    difference: Difference | None


class Reacting:
    """Episodes through one policy once more, step by step as they come."""

    def __init__(self, runtime: PolicyRuntime, explore: bool = False) -> None:
        """``runtime``: as ``load_policy`` makes it, with the seed of the run where ``explore`` is wanted."""
        self.runtime, self.explore = runtime, explore
        self._arm = Arm.BASE
        self._other: list[bool] = []  # of each step: something else acted than this policy
        self.difference: Difference | None = None  # the first one

    def begin(self, arm: Arm, episode_id: int) -> None:
        """Start an episode."""
        self.runtime.begin(arm, self.explore, episode_id)
        self.runtime.alone = False  # whether it was, the recorded authority says
        self._arm, self._other, self.difference = arm, [], None

    def step(self, recorded: StepRecord) -> StepRecord:
        """What the policy does now on what an executed step saw.

        Where something else acted than base and these weights, or once there is a difference, what comes after goes on
        from what was executed.
        """
        runtime, executed = self.runtime, recorded.executed_action
        if isinstance(runtime.base, RecordedBase):
            runtime.base.step = recorded
        runtime.authority = float(recorded.authority)  # as it was, ramps and all
        now = runtime.step(
            Observation(recorded.state, recorded.images if recorded.images.size else NO_IMAGES),
            stamp=recorded.stamp,
            teleop=executed if recorded.flags & Flag.INTERVENTION else None,
        )
        other = bool(recorded.flags & (Flag.HELD | Flag.INTERVENTION)) or self._other_weights(recorded)
        if self.difference is None:
            self.difference = _differ(recorded, now, COMPARED[:1] if other else COMPARED)
            self._other.append(other)
        if other or self.difference is not None:
            runtime.supervisor.follow(executed)
        return now

    def result(self, length: int) -> Replayed:
        """What came of the first ``length`` steps."""
        found = self.difference if self.difference and self.difference.step < length else None
        other = self._other[: found.step if found else length]
        return Replayed(len(other) - sum(other), sum(other), found)

    def _other_weights(self, recorded: StepRecord) -> bool:
        """The residual that acted was another one; whose, does not matter where none did."""
        acted = self._arm == Arm.RESIDUAL and recorded.authority > 0
        return acted and recorded.weights_version != self.runtime.version


def replay(episode: Episode, runtime: PolicyRuntime, explore: bool = False) -> Replayed:
    """Act on what an episode's steps saw, and compare base action, residual and executed action with the record."""
    reacting = Reacting(runtime, explore)
    reacting.begin(episode.arm, episode.episode_id)
    for row in range(episode.length):
        reacting.step(recorded_step(episode, row))
        if reacting.difference:
            break
    return reacting.result(episode.length)


def recorded_step(episode: Episode, row: int) -> StepRecord:
    """One row of an episode."""
    return StepRecord(
        stamp=int(episode.stamp[row]),
        step=row,
        state=episode.state[row],
        base_action=episode.base_action[row],
        residual=episode.residual[row],
        executed_action=episode.executed_action[row],
        authority=float(episode.authority[row]),
        weights_version=int(episode.weights_version[row]),
        flags=Flag(int(episode.flags[row])),
        images=episode.images[row],
        features=episode.features[row] if episode.features.size else NO_FEATURES,
    )


def _differ(recorded: StepRecord, now: StepRecord, compared: tuple[str, ...]) -> Difference | None:
    for what in compared:
        before, found = getattr(recorded, what), np.asarray(getattr(now, what), np.float32)
        wrong = np.flatnonzero(before.view(np.uint32) != found.view(np.uint32))
        if wrong.size:
            joint = int(wrong[0])
            return Difference(recorded.step, what, joint, float(before[joint]), float(found[joint]))
    return None
