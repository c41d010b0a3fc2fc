"""Bases for node tests."""

from __future__ import annotations

import time

import numpy as np

from resfit_policy.observation import Float, Observation
from resfit_policy.task import Task


class Hold:
    """Asks for the joint positions it sees, and for NaN where the first object is below the ground."""

    def __init__(self, task: Task) -> None:
        self.size = task.action_size

    def reset(self) -> None:
        pass

    def act(self, observation: Observation) -> Float:
        action = observation.state[: self.size].copy()
        return np.full_like(action, np.nan) if observation.state[self.size + 2] < 0 else action


class Ramp:
    """Chunks of 20 that go up from the joints seen, by steps that tell the first object's height."""

    def __init__(self, task: Task, seconds: float = 0.0, execute: int = 10) -> None:
        self.size, self.seconds, self.execute = task.action_size, seconds, execute

    def reset(self) -> None:
        pass

    def predict(self, observation: Observation) -> Float:
        time.sleep(self.seconds)
        height = observation.state[self.size + 2]
        rows = np.arange(20, dtype=np.float32)[:, None] * 1e-4
        return observation.state[: self.size] + (rows if height >= 0 else np.float32(np.nan))

    def act(self, observation: Observation) -> Float:
        return self.predict(observation)[0]


def slow(task: Task) -> Ramp:
    """300 ms per chunk."""
    return Ramp(task, 0.3)


def stuck(task: Task) -> Ramp:
    """Never in time."""
    return Ramp(task, 1.5)


class Fold:
    """Takes every joint towards its lower limit, on which way the arms meet themselves."""

    def __init__(self, task: Task) -> None:
        self.goal = task.robot.lower.astype(np.float32)

    def reset(self) -> None:
        pass

    def act(self, observation: Observation) -> Float:
        now = observation.state[: self.goal.size]
        return np.clip(self.goal, now - 0.1, now + 0.1)


class Eyes(Hold):
    """Has features of what it sees, as a base with cameras does."""

    feature_size = 4

    def features(self, observation: Observation) -> Float:
        return np.zeros(self.feature_size, np.float32)


def broken(task: Task) -> Hold:
    """A factory that cannot make its base."""
    raise KeyError('no model')
