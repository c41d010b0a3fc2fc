"""LeRobot policies as frozen bases: a folder that its ``save_pretrained`` wrote, where lerobot is installed.

The policy's own pre- and post-processors, saved beside it, normalise. ``observation.state`` is the whole state, or the
joint positions alone; ``observation.environment_state`` what follows them; ``observation.images.<camera>`` a camera of
the task. Actions are absolute joint positions in rad, in the robot's order: LeRobot keeps no joint names that could be
checked.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from resfit_policy.chunked import Chunked
from resfit_policy.observation import BasePolicy, Float, Observation
from resfit_policy.task import ConfigError, Task, read_json

INSTALL = (
    'lerobot is not installed here: pip install lerobot. It pins a torch of its own, so put it into a venv beside '
    "this project's and serve the policy from there (base_server_node, docs/bases.md)"
)
STATE, REST, IMAGE = 'observation.state', 'observation.environment_state', 'observation.image'


def looks(folder: Path) -> bool:
    """The policy sees images. Needs no lerobot. Raises ConfigError where ``folder`` holds no policy."""
    return any(key.startswith(IMAGE) for key in _features(folder, 'input_features'))


def load_lerobot(folder: Path, task: Task) -> BasePolicy:
    """The policy in ``folder``. Raises ConfigError where it cannot be loaded or does not fit the task.

    One that predicts chunks from a single observation is a ``Chunked``; one that needs a history of observations, or
    ensembles, is asked at every control step.
    """
    pick = _inputs(folder, task)
    shape = _features(folder, 'output_features').get('action', {}).get('shape')
    if shape != [task.action_size]:
        raise ConfigError(f'{folder} gives actions of {shape}, {task.name} has {task.action_size} joints')
    try:
        from lerobot.configs.policies import PreTrainedConfig
        from lerobot.policies.factory import get_policy_class, make_pre_post_processors
    except ImportError as error:
        raise ConfigError(INSTALL if error.name == 'lerobot' else f'lerobot cannot be imported: {error}') from None
    try:
        config = PreTrainedConfig.from_pretrained(folder, local_files_only=True)
        policy = get_policy_class(config.type).from_pretrained(folder, config=config, local_files_only=True)
        before, after = make_pre_post_processors(
            config, str(folder), preprocessor_overrides={'device_processor': {'device': str(config.device)}}
        )
    except Exception as error:  # lerobot's have no common base but this
        raise ConfigError(f'{folder}: lerobot cannot load it: {str(error).splitlines()[0]}') from None
    device, instruction = torch.device(config.device), task.instruction or task.name

    def batch(observation: Observation) -> Any:
        seen: dict[str, Any] = {key: value.to(device)[None] for key, value in pick(observation).items()}
        return before({**seen, 'task': instruction, 'robot_type': task.robot.name})

    def predict(observation: Observation) -> Float:
        with torch.inference_mode():
            actions = policy.predict_action_chunk(batch(observation))[0]
            return np.stack([after(action[None])[0].float().cpu().numpy() for action in actions])

    def select(observation: Observation) -> Float:
        with torch.inference_mode():
            action: Float = after(policy.select_action(batch(observation)))[0].float().cpu().numpy()
            return action

    policy.reset()
    if config.n_obs_steps > 1 or getattr(config, 'temporal_ensemble_coeff', None) is not None:
        return _Stepwise(policy, select)
    return Chunked(predict, int(config.n_action_steps))


class _Stepwise:
    """A policy that sees every control step."""

    def __init__(self, policy: Any, select: Any) -> None:
        self._policy, self._select = policy, select

    def reset(self) -> None:
        """Forget the observations and actions of the last episode."""
        self._policy.reset()

    def act(self, observation: Observation) -> Float:
        """Action of this control step, (A,) float32 rad."""
        return np.asarray(self._select(observation), np.float32)


def _features(folder: Path, kind: str) -> dict[str, Any]:
    if not (folder / 'config.json').is_file():
        raise ConfigError(f'no LeRobot policy in {folder}: give the folder with config.json and model.safetensors')
    features = read_json(folder / 'config.json').get(kind)
    if not isinstance(features, dict):
        raise ConfigError(f'{folder}/config.json names no {kind}: it is no LeRobot policy')
    return features


def _inputs(folder: Path, task: Task) -> Any:
    """Observation -> tensors by LeRobot's names, without a batch dimension. Raises ConfigError."""
    joints, whole = task.action_size, task.state_size
    parts: dict[str, slice] = {}
    cameras: dict[str, int] = {}
    for key, feature in _features(folder, 'input_features').items():
        size = feature.get('shape', [0])[-1]
        if key == STATE and size in (joints, whole):
            parts[key] = slice(0, size)
        elif key == REST and size == whole - joints:
            parts[key] = slice(joints, whole)
        elif key.startswith(IMAGE):
            camera = key.removeprefix(IMAGE).removeprefix('s').removeprefix('.') or task.cameras[0]
            if camera not in task.cameras:
                raise ConfigError(f'{folder} sees a camera "{camera}", {task.name} has {", ".join(task.cameras)}')
            if feature.get('shape') != [3, task.image_size, task.image_size]:
                raise ConfigError(
                    f'{folder}: {key} is {feature.get("shape")}, {task.name} gives [3, {task.image_size}, '
                    f"{task.image_size}]: set the task's image_size, or train it on square images"
                )
            cameras[key] = task.cameras.index(camera)
        else:
            raise ConfigError(
                f'{folder} sees {key} of {feature.get("shape")}: {task.name} has a state of {whole}, of which the '
                f'first {joints} are joints, and cameras {", ".join(task.cameras) or "none"}'
            )

    def pick(observation: Observation) -> dict[str, Tensor]:
        seen = {key: torch.from_numpy(observation.state[part].copy()) for key, part in parts.items()}
        for key, index in cameras.items():
            seen[key] = torch.from_numpy(observation.images[index].copy()).permute(2, 0, 1).float() / 255
        return seen

    return pick
