"""Gymnasium environments of the simulated tasks: one step is one control step of the robot (20 Hz)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from resfit_policy.streamer import Interpolator
from resfit_policy.task import Task, load_task
from resfit_sim.simulation import Simulation

RENDER_SIZE = 480, 640  # height and width of the overview, pixels


class VegaEnv(gym.Env[Any, NDArray[np.float32]]):
    """Vega at its table.

    Action: (29,) float32 absolute joint positions, rad. Observation 'state': (S,) float32, joint positions
    then object poses. Observation 'vision': {'state': (29,) float32 joint positions, 'images': (K, H, W, 3)
    uint8 RGB}. Observation 'both', for demonstrators: the whole state and the images. Reward: 1 on success, else 0;
    success terminates, the task's horizon truncates.
    """

    metadata = {'render_modes': ['rgb_array'], 'render_fps': 20}

    def __init__(
        self,
        task: str | Task,
        observation: Literal['state', 'vision', 'both'] = 'state',
        variant: str = 'unseen',
        render_mode: str | None = None,
    ) -> None:
        """``task``: name, YAML file, or the task itself. Raises ConfigError for a variant that it does not have."""
        if observation not in ('state', 'vision', 'both'):
            raise ValueError(f'observation is "state", "vision" or "both", not "{observation}"')
        if render_mode not in (None, *self.metadata['render_modes']):
            raise ValueError(f'render_mode is None or "rgb_array", not "{render_mode}"')
        if isinstance(task, Task):
            whole = task if task.objects else replace(task, objects=load_task(task.name).objects)  # seen by cameras
        else:
            whole = load_task(task)
        self.simulation = Simulation(whole, variant)
        self.task: Task = whole.without_poses() if observation == 'vision' else whole
        self.interpolator = Interpolator(self.task)
        self.observation, self.render_mode = observation, render_mode
        self.steps = 0
        robot = self.task.robot
        self.action_space = spaces.Box(robot.lower.astype(np.float32), robot.upper.astype(np.float32))
        self.observation_space: spaces.Space[Any] = self._space(self.task.state_size)
        if observation != 'state':
            size = self.task.image_size
            images = spaces.Box(0, 255, (len(self.task.cameras), size, size, 3), np.uint8)
            self.observation_space = spaces.Dict({'state': self.observation_space, 'images': images})

    def _space(self, size: int) -> spaces.Box:
        """The first ``size`` numbers of the state. Joints can be pushed a little past their limits."""
        robot, rest = self.task.robot, np.full(self.task.state_size - self.task.action_size, 10.0)  # m
        low, high = np.append(robot.lower - 0.5, -rest), np.append(robot.upper + 0.5, rest)
        return spaces.Box(low[:size].astype(np.float32), high[:size].astype(np.float32))

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Start an episode. The start depends on ``seed`` alone; without one it is drawn from the last."""
        super().reset(seed=seed)
        start = int(self.np_random.integers(2**31)) if seed is None else seed
        self.simulation.reset(start)
        self.interpolator.reset(self.simulation.joint_positions())
        self.steps = 0
        return self._observe(), {'success': False, 'seed': start}

    def step(self, action: NDArray[np.float32]) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.interpolator.set_target(action)
        for _ in range(self.task.ticks):
            self.simulation.apply(self.interpolator.next())
        self.steps += 1
        success = self.simulation.success()
        truncated = self.steps >= self.task.horizon and not success
        return self._observe(), float(success), success, truncated, {'success': success}

    def _observe(self) -> Any:
        state = self.simulation.state()[: self.task.state_size]
        if self.observation == 'state':
            return state
        size = self.task.image_size
        images = [self.simulation.render(camera, size, size) for camera in self.task.cameras]
        return {'state': state, 'images': np.stack(images)}

    def render(self) -> NDArray[np.uint8] | None:
        """(480, 640, 3) uint8 RGB of the overview camera, or None without a render mode."""
        return self.simulation.render('overview', *RENDER_SIZE) if self.render_mode else None

    def close(self) -> None:
        self.simulation.close()
