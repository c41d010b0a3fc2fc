"""A small Gymnasium environment of somebody else's making: reach a point in the plane."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from resfit_policy.observation import Float, Observation
from resfit_policy.task import Task


class Reach(gymnasium.Env[Any, Any]):
    """Observation: {'where': (2,), 'goal': (2,)}; action: a move of at most 0.1 in each direction."""

    observation_space = spaces.Dict({name: spaces.Box(-1, 1, (2,)) for name in ('where', 'goal')})
    action_space = spaces.Box(-0.1, 0.1, (2,))

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        self.where, self.goal = np.zeros(2), self.np_random.uniform(-0.8, 0.8, 2)
        return self._observe(), {}

    def step(self, action: Any) -> Any:
        self.where = self.where + np.clip(action, -0.1, 0.1)
        done = bool(np.abs(self.where - self.goal).max() < 0.05)
        return self._observe(), float(done), done, False, {'is_success': done}

    def expert(self, task: Task) -> Expert:
        """Environments may bring their demonstrator along."""
        return Expert()

    def _observe(self) -> dict[str, Any]:
        return {'where': self.where.astype(np.float32), 'goal': self.goal.astype(np.float32)}


class Expert:
    """State: last action (2), goal (2), where (2): dictionaries are flattened by name."""

    def reset(self) -> None:
        """Nothing to forget."""

    def act(self, observation: Observation) -> Float:
        return np.clip(observation.state[2:4] - observation.state[4:6], -0.1, 0.1).astype(np.float32)


gymnasium.register('Reach-v0', Reach, max_episode_steps=40)
