"""Policies that somebody else trained, as frozen bases: one ONNX or safetensors file.

ONNX (``onnx_base``): the state (1, N) float32, or images, or both; an action (1, A) or a chunk (1, chunk, A).

Safetensors: the state dict of a torch ``nn.Sequential`` of linear layers, '0.weight', '0.bias', '2.weight', ...;
its metadata name the function between them in ``activation`` (relu, tanh, gelu, silu or elu), and ``output``
where one follows the last (tanh). The output is an action or a flattened chunk.

N is the size of the whole state, or of what follows the joint positions in it: for a Gymnasium environment, its own
observation. Actions are what the task calls actions (rad, or the environment's numbers). Metadata that both may
have: ``execute``, how many steps of a chunk are executed before the next prediction (default: all of them, as in the
paper), and ``joints``, a JSON list of joint names, which must then be those of the robot, in its order.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import nn

from resfit_policy.chunked import Chunked
from resfit_policy.observation import Float, Observation
from resfit_policy.onnx_base import onnx_looks, read_onnx
from resfit_policy.task import ConfigError, Task

SUFFIXES = ('.onnx', '.safetensors')
ACTIVATIONS: dict[str, type[nn.Module]] = {
    'relu': nn.ReLU, 'tanh': nn.Tanh, 'gelu': nn.GELU, 'silu': nn.SiLU, 'elu': nn.ELU,
}  # fmt: skip


def load_given(path: Path, task: Task) -> Chunked:
    """The base in ``path``. Raises ConfigError where it cannot be read or does not fit the task."""
    if not path.is_file():
        raise ConfigError(f'no base policy in {path}: there is no such file')
    if path.suffix == '.onnx' and onnx_looks(path) and not task.from_pixels:
        raise ConfigError(f'{path} sees images and joints, not object poses: use it with --observation vision')
    predict, size, metadata = (read_onnx if path.suffix == '.onnx' else read_safetensors)(path, task)
    state, joints = task.state_size, task.action_size
    if size not in (state, state - joints):
        raise ConfigError(
            f'{path} takes {size} numbers: {task.name} has a state of {state}, of which the first {joints} are joints'
        )
    named = metadata.get('joints')
    if named and tuple(json.loads(named)) != task.robot.names:
        raise ConfigError(f'{path}: made for other joints, or another order, than those of robot {task.robot.name}')

    def chunk(observation: Observation) -> Float:
        return predict(observation).reshape(-1, joints)

    try:
        images = np.zeros((len(task.cameras), task.image_size, task.image_size, 3), np.uint8)
        example = predict(Observation(np.zeros(state, np.float32), images))
    except Exception as error:  # torch's and onnxruntime's have no common base but this
        raise ConfigError(f'{path} cannot be evaluated: {str(error).splitlines()[0]}') from None
    if example.shape[-1] % joints or example.shape[0] != 1 or example.ndim > 3:
        raise ConfigError(f'{path} gives {example.shape}: wanted (1, {joints}), or (1, chunk, {joints})')
    if not np.isfinite(example).all():
        raise ConfigError(f'{path} gives values that are not finite')
    steps = example.size // joints
    execute = int(metadata.get('execute', steps))
    if not 1 <= execute <= steps:
        raise ConfigError(f'{path}: execute is {execute}, the chunk has {steps} steps')
    return Chunked(chunk, execute)


def read_safetensors(path: Path, task: Task) -> tuple[Callable[[Observation], Float], int, dict[str, str]]:
    """Function observation -> (1, M), N, metadata. Raises ConfigError."""
    try:
        with safe_open(path, 'pt') as file:
            metadata: dict[str, str] = file.metadata() or {}
            tensors = {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118 (no mapping)
    except (SafetensorError, OSError) as error:
        raise ConfigError(f'{path} is not a whole safetensors file: {error}') from None
    numbers = sorted({int(match[1]) for name in tensors if (match := re.fullmatch(r'(\d+)\.(weight|bias)', name))})
    wanted = {f'{number}.{part}' for number in numbers for part in ('weight', 'bias')}
    if not numbers or set(tensors) != wanted or any(tensors[f'{number}.weight'].ndim != 2 for number in numbers):
        raise ConfigError(
            f'{path}: expected the state dict of an nn.Sequential of linear layers (0.weight, 0.bias, 2.weight, ...), '
            f'found {", ".join(sorted(tensors)[:4])}; other networks: export them as ONNX'
        )
    activation, output = metadata.get('activation', 'none given'), metadata.get('output')
    if activation not in ACTIVATIONS or output not in (None, 'tanh'):
        raise ConfigError(f'{path}: metadata "activation" is {activation}: give one of {", ".join(ACTIVATIONS)}')
    layers: list[nn.Module] = []
    for number in numbers:
        weight, bias = tensors[f'{number}.weight'], tensors[f'{number}.bias']
        linear = nn.Linear(weight.shape[1], weight.shape[0])
        linear.weight.data, linear.bias.data = weight, bias
        layers += [linear, ACTIVATIONS[activation]()]
    net = nn.Sequential(*layers[:-1], *([nn.Tanh()] if output else [])).eval()

    size = int(tensors[f'{numbers[0]}.weight'].shape[1])

    def predict(observation: Observation) -> Float:
        with torch.inference_mode():
            return np.asarray(net(torch.from_numpy(observation.state[-size:])[None]).numpy(), np.float32)

    return predict, size, metadata
