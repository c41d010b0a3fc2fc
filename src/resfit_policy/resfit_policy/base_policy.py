"""The base policy: a chunked network, frozen to a folder of safetensors and JSON (paper III-A).

A chunk is ``chunk`` absolute joint targets; the first ``execute`` of them are executed open loop, then a new
chunk is predicted from the newest observation.
"""

from __future__ import annotations

import hashlib
import importlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import ConfigDict
from pydantic.dataclasses import dataclass
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from resfit_policy.act import ActConfig, ActNet, ActPolicy
from resfit_policy.chunked import Chunked
from resfit_policy.files import write_atomically
from resfit_policy.given_base import SUFFIXES, load_given
from resfit_policy.lerobot_base import load_lerobot, looks
from resfit_policy.observation import BasePolicy, Float, Observation
from resfit_policy.onnx_base import onnx_looks
from resfit_policy.task import ConfigError, Task, parse_config, read_json

FORMAT = 'resfit-base-1'
ACT_FORMAT = 'resfit-act-1'
REMOTE, LEROBOT = 'ros:', 'lerobot:'  # what a base begins with that is no file of ours


@dataclass(frozen=True, config=ConfigDict(extra='forbid'))
class ChunkConfig:
    """Shape of a chunked base policy."""

    state_size: int  # S
    action_size: int  # A
    chunk: int = 20  # predicted steps (1 s at 20 Hz; paper: 50 in simulation, 30 on the robot)
    execute: int = 10  # executed before the next prediction (paper: the whole chunk)
    hidden: tuple[int, ...] = (256, 256)


class ChunkNet(nn.Module):
    """(B, S) state -> (B, chunk, A) absolute joint positions [rad]."""

    def __init__(self, config: ChunkConfig) -> None:
        super().__init__()
        self.config = config
        layers: list[nn.Module] = []
        width = config.state_size
        for size in config.hidden:
            layers += [nn.Linear(width, size), nn.GELU()]
            width = size
        self.net = nn.Sequential(*layers, nn.Linear(width, config.chunk * config.action_size))
        self.state_mean: Tensor
        self.state_std: Tensor
        self.action_mean: Tensor
        self.action_std: Tensor
        self.register_buffer('state_mean', torch.zeros(config.state_size))
        self.register_buffer('state_std', torch.ones(config.state_size))
        self.register_buffer('action_mean', torch.zeros(config.chunk, config.action_size))
        self.register_buffer('action_std', torch.ones(config.chunk, config.action_size))

    def normalised(self, state: Tensor) -> Tensor:
        """Chunk in standard deviations of the demonstrations, (B, chunk, A): what the loss is taken on."""
        out: Tensor = self.net(((state - self.state_mean) / self.state_std).clamp(-5, 5))
        return out.view(-1, self.config.chunk, self.config.action_size)

    def forward(self, state: Tensor) -> Tensor:
        """Chunk in rad, (B, chunk, A)."""
        return self.normalised(state) * self.action_std + self.action_mean


class ChunkPolicy(Chunked):
    """A frozen ``ChunkNet`` with its queue of actions."""

    def __init__(self, net: ChunkNet) -> None:
        self.net = net.eval().requires_grad_(False)
        super().__init__(self._chunk, net.config.execute)

    def _chunk(self, observation: Observation) -> Float:
        with torch.inference_mode():
            chunk: Tensor = self.net(torch.from_numpy(np.asarray(observation.state, np.float32))[None])
            return np.asarray(chunk[0].numpy(), np.float32)


def save_base(folder: Path, net: ChunkNet | ActNet, task: Task, training: dict[str, Any]) -> None:
    """Freeze into ``folder``: policy.safetensors and policy.json (with the task's joints and a sha256)."""
    folder.mkdir(parents=True, exist_ok=True)
    data = save({name: value.detach().contiguous() for name, value in net.state_dict().items()})
    about = {
        'format': ACT_FORMAT if isinstance(net, ActNet) else FORMAT,
        'task': task.name,
        'joints': list(task.robot.names),
        'config': asdict(net.config),
        'sha256': hashlib.sha256(data).hexdigest(),
        'training': training,
    }
    write_atomically(folder / 'policy.safetensors', data)
    write_atomically(folder / 'policy.json', json.dumps(about, indent=2).encode())


def load_base(where: str, task: Task) -> BasePolicy:
    """Load a base policy: a folder of ours, a file of somebody else's (``given_base``), ``lerobot:<folder>``, or
    ``module:factory``.

    A factory is called with the task. Raises ConfigError where the base is missing, damaged, or was trained for other
    joints or another state.
    """
    if where.startswith(REMOTE):
        raise ConfigError(f'"{where}" is a service of the ROS graph, and this runs without: give a folder or a file')
    if where.startswith(LEROBOT):
        return load_lerobot(Path(where.removeprefix(LEROBOT)), task)
    if ':' in where and not Path(where).exists():
        module, _, factory = where.partition(':')
        try:
            made: BasePolicy = getattr(importlib.import_module(module), factory)(task)
        except (ImportError, AttributeError) as error:
            raise ConfigError(f'cannot make a base from "{where}": {error}') from None
        return made
    folder = Path(where)
    if folder.suffix in SUFFIXES:
        return load_given(folder, task)
    if not (folder / 'policy.json').exists():
        raise ConfigError(
            f'no base policy in {folder}: give a folder with policy.json, as "resfit bc" writes it, '
            'or a .onnx or .safetensors file'
        )
    about = read_json(folder / 'policy.json')
    if about.get('format') not in (FORMAT, ACT_FORMAT):
        raise ConfigError(f'{folder}: format {about.get("format")!r}, this version reads {FORMAT!r} and {ACT_FORMAT!r}')
    if tuple(about.get('joints', ())) != task.robot.names:
        raise ConfigError(f'{folder}: trained for other joints than those of robot {task.robot.name}')
    net = _fitting_net(folder, about, task)
    try:
        data = (folder / 'policy.safetensors').read_bytes()
        if hashlib.sha256(data).hexdigest() != about.get('sha256'):
            raise ConfigError(f'{folder}: policy.safetensors does not match its sha256; train it again')
        net.load_state_dict(load(data))
    except (OSError, SafetensorError, RuntimeError) as error:
        raise ConfigError(f'{folder}: cannot load policy.safetensors: {error}') from None
    return ActPolicy(net) if isinstance(net, ActNet) else ChunkPolicy(net)


def seen_by(where: str, task: Task) -> Task:
    """The task as the base in ``where`` sees it: one trained on images knows no object poses."""
    path = Path(where)
    if where.startswith(LEROBOT):
        images = looks(Path(where.removeprefix(LEROBOT)))
    elif path.suffix == '.onnx' and path.is_file():
        images = onnx_looks(path)
    else:
        file = path / 'policy.json'
        images = file.exists() and read_json(file).get('format') == ACT_FORMAT
    return task.without_poses() if images else task


def _fitting_net(folder: Path, about: dict[str, Any], task: Task) -> ChunkNet | ActNet:
    """An untrained net of a base's configuration. Raises ConfigError where that does not fit the task."""
    where, trained = str(folder / 'policy.json'), about.get('config')
    if about['format'] == ACT_FORMAT:
        seen = parse_config(ActConfig, trained, where)
        if not task.from_pixels:
            raise ConfigError(f'{folder}: sees joints and images, not object poses: use it with --observation vision')
        if (seen.joints, seen.cameras) != (task.action_size, len(task.cameras)):
            raise ConfigError(f'{folder}: trained with {seen.cameras} cameras, {task.name} has {len(task.cameras)}')
        if seen.image_size != task.image_size:
            raise ConfigError(
                f'{folder}: trained on images of {seen.image_size} pixels, {task.name} has {task.image_size}: '
                'set its image_size to what the base was trained on, or train another base'
            )
        return ActNet(seen)
    config = parse_config(ChunkConfig, trained, where)
    if (config.state_size, config.action_size) != (task.state_size, task.action_size):
        raise ConfigError(f'{folder}: trained for a state of {config.state_size}, {task.name} has {task.state_size}')
    return ChunkNet(config)
