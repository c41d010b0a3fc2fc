"""Updates on another device than the CPU, where there is none: what is computed with lies where it should.

Torch's ``meta`` device computes shapes without numbers. It shows every operation that mixes it with the CPU, where a
GPU would refuse; what a GPU computes it does not show.
"""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from resfit_learner.checkpoint import learner_tensors, restore_learner
from resfit_learner.config import LearnerConfig
from resfit_learner.learner import Learner, find_device
from resfit_policy.actor import unpack_actor
from resfit_policy.episode_log import Arm, Episode, Phase
from resfit_policy.task import ConfigError, load_task

TASK = replace(load_task('woolly_ball'), image_size=32).without_poses()
HOME = ((TASK.robot.lower + TASK.robot.upper) / 2).astype(np.float32)
CPU = torch.device('cpu')
SMALL = LearnerConfig(
    batch=8, heads=3, critic_hidden=(16,), actor_hidden=(16,), min_steps=1, critic_warmup=0, actor_delay=1,
    capacity=60, directions=4, encoder='cnn', caution=0.3, averaging=0.1,
)  # fmt: skip


def episode(number, length=12):
    rng = np.random.default_rng(number)
    joints = (HOME + np.cumsum(rng.normal(0, 0.02, (length, 29)), 0)).astype(np.float32)
    executed = joints + rng.normal(0, 0.01, joints.shape).astype(np.float32)
    return Episode(
        episode_id=number, task=TASK.name, seed=number, arm=Arm.RESIDUAL, outcome=Phase.SUCCESS, success=True,
        final=False, state=joints, images=rng.integers(0, 256, (length, 2, 32, 32, 3), np.uint8), base_action=joints,
        residual=executed - joints, executed_action=executed, authority=np.ones(length, np.float32),
        weights_version=np.ones(length, np.int64), flags=np.zeros(length, np.uint8), stamp=np.arange(length),
        joints=TASK.robot.names,
    )  # fmt: skip


class OneDevice(TorchDispatchMode):
    """Refuses operations on tensors of two devices, but for copies from one to the other and single numbers."""

    operations = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        tensors = [item for item in tree_leaves((args, kwargs)) if isinstance(item, torch.Tensor) and item.dim()]
        devices = {item.device.type for item in tensors}
        OneDevice.operations += 'meta' in devices
        if func is torch.ops.aten._to_copy.default and 'meta' in devices and kwargs.get('device') == CPU:
            return torch.zeros(args[0].shape, dtype=args[0].dtype)  # there are no numbers to copy
        if func is torch.ops.aten.copy_.default:
            return args[0] if args[1].is_meta else func(*args, **kwargs)
        assert len(devices) < 2, f'{func} mixes {devices}'
        return func(*args, **kwargs)


def make_learner(monkeypatch, **changes):
    adam = torch.optim.AdamW
    monkeypatch.setattr(torch.optim, 'AdamW', lambda *args, fused, **kwargs: adam(*args, **kwargs))  # none on meta
    item = torch.Tensor.item
    monkeypatch.setattr(torch.Tensor, 'item', lambda self: 0.0 if self.is_meta else item(self))
    with OneDevice():
        learner = Learner(replace(SMALL, device='meta', **changes), TASK, [episode(number) for number in range(4)])
        learner.ingest(1, episode(10))
    return learner


@pytest.mark.filterwarnings('ignore:for .*which is a no-op')
@pytest.mark.parametrize(
    'changes',
    [
        {},
        {'encoder': 'vit', 'critic_loss': 'hl_gauss', 'grad_clip': 1.0},
        {'q_gate': 1.0, 'zero_init': False, 'layer_norm': False},
        {'residual': 'absolute', 'offline_fraction': 0.0},
        {'warm_start': 2, 'phase_directions': True, 'phase_steps': 5, 'subset': 1},
    ],
)
def test_an_update_computes_on_its_device_alone(monkeypatch, changes):
    learner = make_learner(monkeypatch, **changes)
    OneDevice.operations = 0
    with OneDevice():
        learner.update()
        learner.update()
        tensors = learner_tensors(learner)
        restore_learner(learner, tensors, learner.rng.bit_generator.state)
        unpack_actor(learner.weights())
    assert OneDevice.operations > 100 and learner.counters.updates == 2
    trained = [learner.actor, learner.critic, learner.target_actor, learner.target_critic]
    assert {value.device.type for module in trained for value in module.parameters()} == {'meta'}
    on_the_cpu = [*learner.acting.parameters(), *tensors.values()]
    assert {value.device.type for value in on_the_cpu} == {'cpu'}


@pytest.mark.parametrize('part', ['batch', 'normaliser'])
def test_a_tensor_that_was_left_behind_is_noticed(monkeypatch, part):
    learner = make_learner(monkeypatch)
    if part == 'batch':
        monkeypatch.setattr(learner, 'device', torch.device('cpu'))
    else:
        learner.actor.state_std = torch.ones_like(learner.actor.state_std, device='cpu')
    with OneDevice(), pytest.raises((AssertionError, RuntimeError, NotImplementedError), match='mixes|device|meta'):
        learner.update()


def test_a_device_that_is_not_there_is_one_clear_error():
    with pytest.raises(ConfigError, match='device gpu: .*"device: cpu" works everywhere'):
        Learner(replace(SMALL, device='gpu'), TASK, [episode(number) for number in range(4)])
    assert find_device(SMALL, TASK).type == ('cuda' if torch.cuda.is_available() else 'cpu')
    assert find_device(replace(SMALL, encoder='frozen'), TASK).type == 'cpu'
    if not torch.cuda.is_available():
        with pytest.raises(ConfigError, match='device cuda: '):
            Learner(replace(SMALL, device='cuda'), TASK, [episode(number) for number in range(4)])
