"""Bases that somebody else trained: ONNX and safetensors files.

``data/base.onnx`` is ``reference()`` through torch's exporter:
torch.onnx.export(net, (torch.zeros(1, 35),), 'base.onnx', external_data=False), without the notes on its source.
``base_cameras.onnx`` and ``base_images.onnx`` are ``looking()``: the joints and the mean colour of each camera. The
first has an input per camera, float32 with channels first, the second one for all, uint8 with channels last.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from resfit_policy.base_policy import load_base, seen_by
from resfit_policy.observation import Observation
from resfit_policy.task import ConfigError, Joint, Robot, SceneObject, Task, load_task

ONNX = Path(__file__).parent / 'data' / 'base.onnx'
TASK = load_task('woolly_ball')  # 29 joints, and 6 numbers of objects
STATE = np.linspace(-1, 1, 35, dtype=np.float32)


def linear(*sizes: int) -> nn.Sequential:
    """Linear layers with tanh between them and weights that anybody can make again."""
    layers: list[nn.Module] = []
    for width, size in zip(sizes, sizes[1:], strict=False):
        layers += [nn.Linear(width, size), nn.Tanh()]
    net = nn.Sequential(*layers[:-1])
    with torch.no_grad():
        for value in net.parameters():
            value.copy_(torch.linspace(-0.1, 0.1, value.numel()).view_as(value))
    return net


def reference() -> nn.Module:
    """State -> a chunk of 3 actions."""
    return nn.Sequential(*linear(35, 4, 3 * 29), nn.Unflatten(1, (3, 29)))


def looking(joints: np.ndarray, images: np.ndarray) -> np.ndarray:
    """Joints (29,) and images (2, H, W, 3) uint8 -> a chunk of 3 actions."""

    def weights(size: int) -> np.ndarray:
        return np.linspace(-0.1, 0.1, size * 87, dtype=np.float32).reshape(size, 87)

    left, right = images.mean((1, 2)) / 255
    return (joints @ weights(29) + left @ weights(3) + right @ weights(3)[::-1]).reshape(3, 29)


def save_net(path: Path, net: nn.Module, **metadata: str) -> str:
    save_file(net.state_dict(), path, metadata)
    return str(path)


def actions(base: str, task: Task, state: np.ndarray, count: int) -> np.ndarray:
    policy = load_base(base, task)
    policy.reset()
    return np.stack([policy.act(Observation(state * (1 + number))) for number in range(count)])


def expected(state: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return reference()(torch.from_numpy(state)[None])[0].numpy()


def test_an_exported_onnx_model_acts_in_chunks() -> None:
    got = actions(str(ONNX), TASK, STATE, 4)
    assert got[:3] == pytest.approx(expected(STATE), abs=1e-6)
    assert got[3] == pytest.approx(expected(4 * STATE)[0], abs=1e-6)  # a new chunk from the newest state


@pytest.mark.parametrize('name', ['base_cameras.onnx', 'base_images.onnx'])
def test_an_onnx_model_with_images_sees_joints_and_every_camera_in_its_place(name: str) -> None:
    path = str(ONNX.with_name(name))
    task = seen_by(path, TASK)
    assert task.from_pixels and task.state_size == 29
    images = np.random.default_rng(0).integers(0, 255, (2, 84, 84, 3), np.uint8)
    images[0] //= 2  # the cameras differ
    policy = load_base(path, task)
    got = np.stack([policy.act(Observation(STATE[:29], images)) for _ in range(3)])
    assert got == pytest.approx(looking(STATE[:29], images), abs=1e-4)
    with pytest.raises(ConfigError, match='sees images and joints, not object poses'):
        load_base(path, TASK)
    with pytest.raises(ConfigError, match=r'\(1, 3, 96, 96\) per camera'):
        load_base(path, replace(task, image_size=96))
    with pytest.raises(ConfigError, match='no camera of woolly_ball: name image inputs|for all of woolly_ball'):
        load_base(path, replace(task, cameras=('wrist',)))


def test_a_state_dict_of_linear_layers_acts_the_same(tmp_path: Path) -> None:
    given = {'activation': 'tanh', 'execute': '2', 'joints': json.dumps(TASK.robot.names)}
    got = actions(save_net(tmp_path / 'base.safetensors', linear(35, 4, 3 * 29), **given), TASK, STATE, 3)
    assert got[:2] == pytest.approx(expected(STATE)[:2], abs=1e-6)
    assert got[2] == pytest.approx(expected(3 * STATE)[0], abs=1e-6)


def test_a_policy_of_an_environment_sees_that_environments_observation(tmp_path: Path) -> None:
    robot = Robot('toy', (Joint('a', -1, 1, 1), Joint('b', -1, 1, 1)))
    task = Task('toy', robot, 10, objects=(SceneObject('observation', 'vector', 3),))
    base = save_net(tmp_path / 'base.safetensors', linear(3, 2), activation='relu')
    state = np.array([9, 9, 0.1, 0.2, 0.3], np.float32)  # the last action, and what the environment shows
    with torch.no_grad():
        assert actions(base, task, state, 1)[0] == pytest.approx(linear(3, 2)(torch.from_numpy(state[2:])).numpy())


@pytest.mark.parametrize(
    ('sizes', 'metadata', 'said'),
    [
        ((34, 29), {}, 'takes 34 numbers.*state of 35'),
        ((35, 28), {}, r'gives \(1, 28\)'),
        ((35, 29), {'activation': 'step'}, 'activation'),
        ((35, 58), {'execute': '3'}, 'execute is 3, the chunk has 2'),
        ((35, 29), {'joints': json.dumps(TASK.robot.names[::-1])}, 'another order'),
    ],
)
def test_what_does_not_fit_is_one_clear_error(
    tmp_path: Path, sizes: tuple[int, ...], metadata: dict[str, str], said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        load_base(save_net(tmp_path / 'base.safetensors', linear(*sizes), **{'activation': 'relu', **metadata}), TASK)


def test_what_is_no_policy_is_one_clear_error(tmp_path: Path) -> None:
    broken = linear(35, 29)
    nn.init.constant_(broken[0].bias, torch.nan)
    with pytest.raises(ConfigError, match='not finite'):
        load_base(save_net(tmp_path / 'broken.safetensors', broken, activation='relu'), TASK)
    with pytest.raises(ConfigError, match='export them as ONNX'):
        load_base(save_net(tmp_path / 'conv.safetensors', nn.Sequential(nn.Conv2d(1, 1, 1), nn.LayerNorm(3))), TASK)
    for name in ('half.onnx', 'half.safetensors'):
        (tmp_path / name).write_bytes(ONNX.read_bytes()[:100])
        with pytest.raises(ConfigError, match=r'not an ONNX model|not a whole safetensors'):
            load_base(str(tmp_path / name), TASK)
    with pytest.raises(ConfigError, match='takes 35 numbers'):
        load_base(str(ONNX), load_task('package_handover'))
    with pytest.raises(ConfigError, match='no such file'):
        load_base(str(tmp_path / 'none.onnx'), TASK)
