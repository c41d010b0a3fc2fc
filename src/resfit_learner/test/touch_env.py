"""A small Gymnasium environment: a point in the plane is to touch a goal within ten steps."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from resfit_learner.adapter import adapt
from resfit_learner.bc import BcConfig, relabel
from resfit_learner.method import Setup
from resfit_learner.rollout import run_episode
from resfit_policy.chunked import Chunked
from resfit_policy.episode_log import Arm
from resfit_policy.observation import Float, Observation
from resfit_policy.runtime import PolicyRuntime

HORIZON = 10


class Touch(gymnasium.Env[Any, Any]):
    """Observation: point (2,) and goal (2,). Action: where to go, (2,); the point moves 0.12 at most."""

    observation_space = spaces.Box(-1, 1, (4,), np.float32)
    action_space = spaces.Box(-1, 1, (2,), np.float32)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        self.point, self.goal = np.zeros(2), self.np_random.uniform(-0.6, 0.6, 2)
        return self._observe(), {}

    def step(self, action: Any) -> Any:
        self.point = self.point + np.clip(action - self.point, -0.12, 0.12)
        touched = bool(np.abs(self.point - self.goal).max() < 0.04)
        return self._observe(), float(touched), touched, False, {'success': touched}

    def _observe(self) -> Float:
        return np.concatenate([self.point, self.goal]).astype(np.float32)


def plan(error: float) -> Chunked:
    """A whole episode's way to the goal, planned at its start; ``error`` leads it astray, depending on the goal."""

    def predict(observation: Observation) -> Float:
        goal = observation.state[4:6]  # the last action comes first
        aim = goal + error * np.array([1.0 + np.sin(6 * goal[1]), -1.0 + np.sin(6 * goal[0])])
        return np.linspace(aim / HORIZON, aim, HORIZON).astype(np.float32)

    return Chunked(predict, HORIZON)


gymnasium.register('Touch-v0', Touch, max_episode_steps=HORIZON)


def make_setup(config: Any, seed: int = 0, demonstrations: int = 20) -> Setup:
    """A base that succeeds at about a third of the goals, and demonstrations without its error."""
    env, task = adapt(gymnasium.make('Touch-v0'))
    expert = PolicyRuntime(task, plan(0.0))
    shown = [run_episode(env, expert, seed=number, arm=Arm.BASE, episode_id=number) for number in range(demonstrations)]
    return Setup(
        task=task,
        make_env=lambda: adapt(gymnasium.make('Touch-v0'))[0],
        make_base=lambda: plan(0.04),
        demonstrations=[relabel(episode, plan(0.04)) for episode in shown],
        config=config,
        bc=BcConfig(chunk=HORIZON, execute=HORIZON, hidden=(32,), steps=100, batch=64),
        seed=seed,
        first_start=1000,
    )
