"""Meta-World's tasks as Gymnasium environments, each with Meta-World's own scripted policy as its expert."""

from __future__ import annotations

import importlib.util
import os
import sys
import warnings
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.envs.registration import EnvSpec

from resfit_policy.observation import BasePolicy, Float, Observation
from resfit_policy.task import ConfigError, Task

PREFIX = 'metaworld:'
MISSING = 'Meta-World is not set up: run "./resfit setup metaworld" first'


def enter_venv() -> None:
    """Start this process again in Meta-World's venv, unless it runs there.

    Meta-World pins a MuJoCo older than ours, so it has a venv of its own, which lies over ours.
    Raises ConfigError where there is none.
    """
    if importlib.util.find_spec('metaworld'):
        return
    venv = Path(sys.prefix).with_name('.venv-metaworld')
    python = venv / 'bin' / 'python'
    if not python.exists():
        raise ConfigError(MISSING)
    packages = venv / 'lib' / f'python{sys.version_info.major}.{sys.version_info.minor}' / 'site-packages'
    # With apt ROS, PYTHONPATH holds the packages of our venv: those of Meta-World's come before them.
    path = os.pathsep.join(filter(None, [str(packages), os.environ.get('PYTHONPATH')]))
    sys.stdout.flush()
    os.execve(python, [str(python), *sys.orig_argv[1:]], {**os.environ, 'PYTHONPATH': path})


class MetaWorld(gymnasium.Env[Any, Any]):
    """One task of Meta-World, by its name ('pick-place-v3').

    Action: (4,) in [-1, 1], a step of the hand (1 is 1 cm per axis) and the effort of the gripper. Observation:
    (39,) hand, gripper and objects now and one step before, then the goal, in m. The goal is visible, and it and
    the objects' places are a function of the reset's seed. Reward: 1 on success, which terminates, else 0.
    """

    metadata = {'render_modes': []}

    def __init__(self, name: str) -> None:
        """Raises ConfigError where Meta-World is missing or has no such task."""
        try:
            from metaworld.env_dict import ALL_V3_ENVIRONMENTS
            from metaworld.policies import ENV_POLICY_MAP
        except ImportError:
            raise ConfigError(MISSING) from None
        if name not in ALL_V3_ENVIRONMENTS:
            raise ConfigError(
                f'Meta-World has no task "{name}": choose one of {", ".join(sorted(ALL_V3_ENVIRONMENTS))}'
            )
        self._env = ALL_V3_ENVIRONMENTS[name]()
        # By default it hides the goal, repeats one start, and wants that start handed to it.
        self._env._partially_observable = False
        del self._env.sawyer_observation_space  # cached from when the goal was hidden
        self._env._freeze_rand_vec, self._env.seeded_rand_vec, self._env._set_task_called = False, True, True
        self._script = ENV_POLICY_MAP[name]()
        self.spec = EnvSpec(f'metaworld/{name}', max_episode_steps=int(self._env.max_path_length))
        self.metadata = {**self.metadata, 'render_fps': self._env.metadata['render_fps']}
        self.action_space = self._env.action_space
        # Objects and, in some tasks, the hand leave the bounds that Meta-World states.
        self.observation_space = spaces.Box(-np.inf, np.inf, self._env.sawyer_observation_space.shape, np.float64)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        if seed is not None:
            self._env.seed(seed)
        return self._env.reset()

    def step(self, action: Any) -> Any:
        observation, _, _, truncated, info = self._env.step(action)
        success = bool(info['success'])
        return observation, float(success), success, truncated, {'success': success}

    def expert(self, task: Task) -> BasePolicy:
        """Meta-World's scripted policy."""
        return Scripted(self._script)

    def close(self) -> None:
        self._env.close()


class Scripted:
    """A policy of Meta-World, on a state whose last numbers are Meta-World's observation."""

    def __init__(self, script: Any) -> None:
        self._script = script

    def reset(self) -> None:
        """It remembers nothing."""

    def act(self, observation: Observation) -> Float:
        """(4,) float32 in [-1, 1]."""
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')  # it warns whenever it asks for more than 1, which is most of the time
            action: Float = self._script.get_action(observation.state[-39:].astype(np.float64))
        return np.asarray(np.clip(action, -1, 1), np.float32)
