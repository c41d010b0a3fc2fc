"""ONNX models as frozen bases: state and images in, an action or a chunk out. See ``given_base``.

Inputs are told apart by their rank, and cameras by their names:

* (1, N) float32: the state.
* (1, 3, H, W) or (1, H, W, 3): one camera of the task, named after it (what follows the last dot of the name counts).
* (1, K, 3, H, W) or (1, K, H, W, 3): all cameras of the task, in its order.

Images are RGB: float32 in [0, 1], or uint8. A model that sees images sees joint positions and no object poses. Of
several outputs, the one named ``action`` or ``actions`` counts.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resfit_policy.observation import Float, Observation
from resfit_policy.task import ConfigError, Task

Array = NDArray[Any]
TYPES = {'tensor(float)': np.float32, 'tensor(uint8)': np.uint8}


def onnx_looks(path: Path) -> bool:
    """The model sees images. Raises ConfigError where it cannot be run."""
    return any(len(item.shape) > 2 for item in open_session(path).get_inputs())


def open_session(path: Path) -> Any:
    """An onnxruntime session on the CPU. Raises ConfigError."""
    try:
        import onnxruntime
    except ImportError:
        raise ConfigError(f'{path} needs onnxruntime: run ./resfit setup, or pip install onnxruntime') from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1  # small networks: threads only get in the way
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=['CPUExecutionProvider'])
    except Exception as error:  # its errors have no common base but this
        raise ConfigError(f'{path} is not an ONNX model that can be run: {str(error).splitlines()[0]}') from None


def read_onnx(path: Path, task: Task) -> tuple[Callable[[Observation], Float], int, dict[str, str]]:
    """Function observation -> (1, ...), N (0: it sees no state), metadata. Raises ConfigError."""
    session = open_session(path)
    outputs = [item.name for item in session.get_outputs()]
    named = [name for name in outputs if name in ('action', 'actions')] or outputs
    if len(named) != 1:
        raise ConfigError(f'{path}: a base has one output, or one named "action"; this has {", ".join(outputs)}')
    size, inputs = 0, {}
    for item in session.get_inputs():
        if item.type not in TYPES:
            raise ConfigError(f'{path}: input {item.name} is a {item.type}: export it for float32, images also uint8')
        if item.shape and isinstance(item.shape[0], int) and item.shape[0] != 1:
            raise ConfigError(f'{path}: input {item.name} is {item.shape}: export it for one observation, (1, ...)')
        if len(item.shape) == 2 and isinstance(item.shape[1], int) and item.type == 'tensor(float)' and not size:
            size = item.shape[1]
            inputs[item.name] = _state(size)
        else:
            inputs[item.name] = _picture(path, item, task)

    def predict(observation: Observation) -> Float:
        feed = {name: pick(observation)[None] for name, pick in inputs.items()}
        return np.asarray(session.run(named, feed)[0], np.float32)

    return predict, size, dict(session.get_modelmeta().custom_metadata_map)


def _state(size: int) -> Callable[[Observation], Array]:
    # Less than the whole state is an environment's own observation, which follows the joints.
    return lambda observation: observation.state[-size:]


def _picture(path: Path, item: Any, task: Task) -> Callable[[Observation], Array]:
    """What an image input is fed with. Raises ConfigError where the task has no such image."""
    shape, side, every = list(item.shape[1:]), task.image_size, len(item.shape) == 5
    first = shape[-3] == 3 if len(shape) in (3, 4) else False  # channels first
    wanted = ([len(task.cameras)] if every else []) + ([3, side, side] if first else [side, side, 3])
    fits = len(shape) == len(wanted) and all(
        not isinstance(size, int) or size == given for size, given in zip(shape, wanted, strict=True)
    )
    if not fits or shape[-3 if first else -1] != 3:
        raise ConfigError(
            f'{path}: input {item.name} is {item.shape}: wanted the state, (1, N) float32, and images, '
            f'(1, 3, {side}, {side}) per camera or (1, {len(task.cameras)}, 3, {side}, {side}) for all of {task.name}, '
            'channels first or last'
        )
    camera, index = item.name.rpartition('.')[2], None
    if not every:
        if camera not in task.cameras:
            raise ConfigError(
                f'{path}: input {item.name} is no camera of {task.name}: name image inputs {", ".join(task.cameras)}'
            )
        index = task.cameras.index(camera)
    scale = item.type == 'tensor(float)'

    def pick(observation: Observation) -> Array:
        images = observation.images if index is None else observation.images[index]
        images = np.moveaxis(images, -1, -3) if first else images
        return np.ascontiguousarray(images.astype(np.float32) / 255 if scale else images)

    return pick
