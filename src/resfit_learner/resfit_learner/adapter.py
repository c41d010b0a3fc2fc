"""Any Gymnasium environment as a task: no code per environment."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from resfit_learner.metaworld import PREFIX, MetaWorld
from resfit_policy.observation import BasePolicy
from resfit_policy.task import ConfigError, Joint, Robot, SceneObject, Task


class ActionInState(gymnasium.ObservationWrapper[Any, Any, Any]):
    """Puts the last action in front of a flat observation, as a robot's state starts with its joints."""

    def __init__(self, env: gymnasium.Env[Any, Any]) -> None:
        super().__init__(env)
        size = env.action_space.shape[0] + env.observation_space.shape[0]  # type: ignore[index]
        self.observation_space = spaces.Box(-np.inf, np.inf, (size,), np.float32)
        self._last = self._rest()

    def _rest(self) -> np.ndarray:
        space = self.action_space
        assert isinstance(space, spaces.Box)
        return np.clip(np.zeros(space.shape), space.low, space.high).astype(np.float32)

    def reset(self, **kwargs: Any) -> Any:
        self._last = self._rest()
        return super().reset(**kwargs)

    def step(self, action: Any) -> Any:
        self._last = np.asarray(action, np.float32)
        return super().step(action)

    def observation(self, observation: Any) -> Any:
        return np.concatenate([self._last, np.asarray(observation, np.float32)])


def make(name: str, horizon: int | None = None) -> tuple[gymnasium.Env[Any, Any], Task]:
    """The environment of a Gymnasium id, or of ``metaworld:<task>``, and its task. Raises ConfigError."""
    try:
        env = MetaWorld(name.removeprefix(PREFIX)) if name.startswith(PREFIX) else gymnasium.make(name)
    except (gymnasium.error.Error, ImportError) as error:
        raise ConfigError(f'cannot make the environment "{name}": {error}') from None
    return adapt(env, horizon)


def expert(env: gymnasium.Env[Any, Any], task: Task) -> BasePolicy:
    """The demonstrator that an environment brings along, as its method ``expert(task)``. Raises ConfigError."""
    own = getattr(env.unwrapped, 'expert', None)
    if own is None:
        raise ConfigError(f'{task.name} brings no expert: give --demos FOLDER, or --expert MODULE:FACTORY or FILE')
    policy: BasePolicy = own(task)
    return policy


def adapt(env: gymnasium.Env[Any, Any], horizon: int | None = None) -> tuple[gymnasium.Env[Any, Any], Task]:
    """The environment and its task: its own where it carries one, else made from its spaces.

    ``horizon`` shortens the episodes. Raises ConfigError unless actions are a bounded vector, observations
    flatten to one, and the environment ends its episodes, not before ``horizon`` steps.
    """
    own = getattr(env.unwrapped, 'task', None)
    if isinstance(own, Task):
        return env, _shortened(own, horizon)
    name = env.spec.id if env.spec else type(env.unwrapped).__name__
    control_hz = float(env.metadata.get('render_fps') or 20)  # steps per second, for those that draw each step
    actions = env.action_space
    if not isinstance(actions, spaces.Box) or len(actions.shape) != 1 or not actions.is_bounded():
        raise ConfigError(f'{name}: actions must be one bounded vector, not {actions}')
    limit = env.spec.max_episode_steps if env.spec else None
    if not limit:
        raise ConfigError(f'{name} never ends an episode: register it with max_episode_steps')
    if not isinstance(env.observation_space, spaces.Box) or len(env.observation_space.shape) != 1:
        if not isinstance(env.observation_space, spaces.Dict):
            raise ConfigError(f'{name}: observations must be a vector or a dictionary of vectors')
        env = gymnasium.wrappers.FlattenObservation(env)
    joints = tuple(
        # The speed allowed is the whole range in one step, and to and fro: the environment keeps its own limits.
        Joint(
            name=f'action_{index}',
            lower=float(low),
            upper=float(high),
            velocity=float(high - low) * control_hz,
            acceleration=4 * float(high - low) * control_hz**2,
        )  # fmt: skip
        for index, (low, high) in enumerate(zip(actions.low, actions.high, strict=True))
    )
    task = Task(
        name=name.replace('/', '-'),
        robot=Robot(name=name, joints=joints, residual_limit=float(np.max(actions.high - actions.low))),
        horizon=int(limit),
        control_hz=control_hz,
        command_hz=control_hz,
        objects=(SceneObject(name='observation', pose='vector', dim=int(env.observation_space.shape[0])),),  # type: ignore[index]
    )
    return ActionInState(env), _shortened(task, horizon)


def _shortened(task: Task, horizon: int | None) -> Task:
    if horizon is None:
        return task
    if not 0 < horizon <= task.horizon:
        raise ConfigError(f'{task.name} ends its episodes after {task.horizon} steps: give a horizon from 1 to that')
    return replace(task, horizon=horizon)
