"""What one control step leaves behind, and one whole episode as arrays.

Live messages, bags and the in-process loop all become an ``Episode``; transitions are made from nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import IntEnum, IntFlag

import numpy as np
from numpy.typing import NDArray

from resfit_policy.observation import NO_FEATURES, NO_IMAGES, Float


class Phase(IntEnum):
    """EpisodeState.phase."""

    IDLE = 0
    RUNNING = 1
    SUCCESS = 2
    FAILURE = 3
    TIMEOUT = 4
    ABORTED = 5
    RESETTING = 6


class Arm(IntEnum):
    """EpisodeState.arm: which policy acts."""

    BASE = 0
    RESIDUAL = 1


class Flag(IntFlag):
    """PolicyStep.flags."""

    NONE = 0
    INTERVENTION = 1
    CLIPPED = 2
    HELD = 4
    FINAL = 8


@dataclass(frozen=True)
class StepRecord:
    """One PolicyStep without ROS; all arrays float32, actions (A,) in rad."""

    stamp: int  # ns, ROS time of the observation
    step: int
    state: Float  # (S,)
    base_action: Float
    residual: Float
    executed_action: Float
    authority: float
    weights_version: int
    flags: Flag
    images: NDArray[np.uint8] = field(default_factory=lambda: NO_IMAGES)  # (K, H, W, 3)
    features: Float = field(default_factory=lambda: NO_FEATURES)  # (F,) of the base, in place of images
    compute_ms: float = 0.0
    chunk_age: int = 0  # control steps since the observation that base_action was predicted from


@dataclass(frozen=True)
class Episode:
    """A closed episode of T executed steps.

    Rows 0..T-1 are executed steps. Row T, there when ``final`` is true, is the last observation with the
    base action due in it: what a time-out bootstraps from. All float arrays are float32.
    """

    episode_id: int
    task: str
    seed: int
    arm: Arm
    outcome: Phase  # SUCCESS, FAILURE, TIMEOUT or ABORTED
    success: bool  # the newest label; wins over outcome
    final: bool
    state: Float  # (T or T+1, S)
    images: NDArray[np.uint8]  # (T or T+1, K, H, W, 3), K is 0 in state mode
    base_action: Float  # (T or T+1, A) rad
    residual: Float  # (T or T+1, A) rad
    executed_action: Float  # (T or T+1, A) rad
    authority: Float  # (T or T+1,)
    weights_version: NDArray[np.int64]  # (T or T+1,)
    flags: NDArray[np.uint8]  # (T or T+1,)
    stamp: NDArray[np.int64]  # (T or T+1,) ns
    features: Float = field(default_factory=lambda: NO_FEATURES[None])  # (T or T+1, F); F is 0 without any
    joints: tuple[str, ...] = ()  # names of the action's dimensions; empty: not known

    @property
    def length(self) -> int:
        """Number of executed steps T."""
        return len(self.state) - int(self.final)

    @property
    def helped(self) -> bool:
        """A person took over: what came of it says nothing about the policy alone."""
        return bool((self.flags[: self.length] & Flag.INTERVENTION).any())

    @property
    def alone(self) -> bool:
        """The base acted alone, without any correction."""
        return not self.authority[: self.length].any()

    @property
    def seen(self) -> Float:
        """What the residual sees beside images: control step, state, features, (T or T+1, 1 + S + F)."""
        step = np.arange(len(self.state), dtype=np.float32)[:, None]
        return np.concatenate([step, self.state, *([self.features] if self.features.size else [])], 1)

    def relabelled(self, success: bool) -> Episode:
        """The same episode under a corrected label.

        A failure corrected to success ends at its last step; a success corrected to failure terminates there.
        """
        if success == self.success:
            return self
        outcome = Phase.SUCCESS if success else Phase.FAILURE
        return replace(self, success=success, outcome=outcome)


def build_episode(
    steps: Sequence[StepRecord],
    *,
    episode_id: int,
    task: str,
    seed: int,
    arm: Arm,
    outcome: Phase,
    success: bool,
    last_step: int,
    joints: tuple[str, ...] = (),
) -> Episode:
    """Assemble an episode from its steps, in any order and possibly with late ones.

    ``last_step`` is Reward.step, the last executed step that counts: steps after it (the policy may run on for
    a moment before it hears of a success) are dropped, but for the observation right after it.
    Raises ValueError where a step is missing, twice there, or of another shape.
    """
    ordered = sorted(steps, key=lambda item: item.step)
    kept = [item for item in ordered if item.step <= last_step]
    if [item.step for item in kept] != list(range(last_step + 1)):
        raise ValueError(f'episode {episode_id}: steps 0..{last_step} are not all there exactly once')
    if not kept:
        raise ValueError(f'episode {episode_id} has no executed step')
    after = [item for item in ordered if item.step == last_step + 1]
    # A success or failure needs no next observation: leaving it out makes the log independent of the race
    # between the policy's next step and the news that the episode is over.
    final = outcome == Phase.TIMEOUT and bool(after)
    rows = kept + after[:1] if final else kept
    try:
        return Episode(
            episode_id=episode_id,
            task=task,
            seed=seed,
            arm=arm,
            outcome=outcome,
            success=success,
            final=final,
            state=np.stack([item.state for item in rows]).astype(np.float32),
            images=np.stack([item.images for item in rows]),
            base_action=np.stack([item.base_action for item in rows]).astype(np.float32),
            residual=np.stack([item.residual for item in rows]).astype(np.float32),
            executed_action=np.stack([item.executed_action for item in rows]).astype(np.float32),
            authority=np.array([item.authority for item in rows], np.float32),
            weights_version=np.array([item.weights_version for item in rows], np.int64),
            flags=np.array([int(item.flags) for item in rows], np.uint8),
            stamp=np.array([item.stamp for item in rows], np.int64),
            features=np.stack([item.features for item in rows]).astype(np.float32),
            joints=joints,
        )
    except ValueError as error:
        raise ValueError(f'episode {episode_id}: steps differ in shape ({error})') from None
