"""Policies that somebody else trained, as frozen bases: one ONNX or safetensors file.

ONNX: one input, the state (1, N) float32; one output, an action (1, A) or a chunk (1, chunk, A).

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
from resfit_policy.task import ConfigError, Task

SUFFIXES = ('.onnx', '.safetensors')
ACTIVATIONS: dict[str, type[nn.Module]] = {
    'relu': nn.ReLU, 'tanh': nn.Tanh, 'gelu': nn.GELU, 'silu': nn.SiLU, 'elu': nn.ELU,
}  # fmt: skip


def load_given(path: Path, task: Task) -> Chunked:
    """The base in ``path``. Raises ConfigError where it cannot be read or does not fit the task."""
    if not path.is_file():
        raise ConfigError(f'no base policy in {path}: there is no such file')
    predict, size, metadata = (read_onnx if path.suffix == '.onnx' else read_safetensors)(path)
    state, joints = task.state_size, task.action_size
    if size not in (state, state - joints):
        raise ConfigError(
            f'{path} takes {size} numbers: {task.name} has a state of {state}, of which the first {joints} are joints'
        )
    named = metadata.get('joints')
    if named and tuple(json.loads(named)) != task.robot.names:
        raise ConfigError(f'{path}: made for other joints, or another order, than those of robot {task.robot.name}')

    def chunk(observation: Observation) -> Float:
        return predict(observation.state[-size:][None]).reshape(-1, joints)

    try:
        example = predict(np.zeros((1, size), np.float32))
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


def read_onnx(path: Path) -> tuple[Callable[[Float], Float], int, dict[str, str]]:
    """Function (1, N) -> (1, ...), N, metadata. Raises ConfigError."""
    try:
        import onnxruntime
    except ImportError:
        raise ConfigError(f'{path} needs onnxruntime: run ./resfit setup, or pip install onnxruntime') from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1  # small networks: threads only get in the way
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=['CPUExecutionProvider'])
    except Exception as error:  # its errors have no common base but this
        raise ConfigError(f'{path} is not an ONNX model that can be run: {str(error).splitlines()[0]}') from None
    inputs, outputs = session.get_inputs(), session.get_outputs()
    if len(inputs) != 1 or len(outputs) != 1:
        named = ', '.join(item.name for item in (*inputs, *outputs))
        raise ConfigError(f'{path}: a base has one input, the state, and one output, the action; this has {named}')
    name, shape, kind = inputs[0].name, inputs[0].shape, inputs[0].type
    if len(shape) != 2 or not isinstance(shape[1], int) or (isinstance(shape[0], int) and shape[0] != 1):
        raise ConfigError(f'{path}: its input is {shape}: export it for a state of (1, N)')
    if kind != 'tensor(float)':
        raise ConfigError(f'{path}: its input is a {kind}: export it for float32')

    def predict(state: Float) -> Float:
        return np.asarray(session.run(None, {name: state})[0], np.float32)

    return predict, shape[1], dict(session.get_modelmeta().custom_metadata_map)


def read_safetensors(path: Path) -> tuple[Callable[[Float], Float], int, dict[str, str]]:
    """Function (1, N) -> (1, M), N, metadata. Raises ConfigError."""
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

    def predict(state: Float) -> Float:
        with torch.inference_mode():
            return np.asarray(net(torch.from_numpy(state)).numpy(), np.float32)

    return predict, int(tensors[f'{numbers[0]}.weight'].shape[1]), metadata
