"""LeRobot policies: what does not fit is refused before lerobot is needed, and without it the error says what to do."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from resfit_policy.base_policy import load_base, seen_by
from resfit_policy.lerobot_base import _inputs
from resfit_policy.observation import Observation
from resfit_policy.task import ConfigError, load_task

TASK = load_task('woolly_ball')
STATE = {'type': 'STATE', 'shape': [29]}
IMAGE = {'type': 'VISUAL', 'shape': [3, 84, 84]}
EYES = {'observation.images.head_left': IMAGE, 'observation.images.head_right': IMAGE}


def policy(folder: Path, inputs: dict[str, Any], joints: int = 29) -> str:
    outputs = {'action': {'type': 'ACTION', 'shape': [joints]}}
    about = {'type': 'act', 'input_features': inputs, 'output_features': outputs}
    (folder / 'config.json').write_text(json.dumps(about))
    return f'lerobot:{folder}'


def test_one_that_looks_knows_no_object_poses(tmp_path: Path) -> None:
    assert seen_by(policy(tmp_path, {'observation.state': STATE, **EYES}), TASK).from_pixels
    assert seen_by(policy(tmp_path, {'observation.state': STATE}), TASK) == TASK


def test_state_objects_and_cameras_go_where_lerobot_looks_for_them(tmp_path: Path) -> None:
    rest = {'type': 'ENV', 'shape': [6]}
    policy(tmp_path, {'observation.state': STATE, 'observation.environment_state': rest, **EYES})
    images = np.zeros((2, 84, 84, 3), np.uint8)
    images[1, 0, 5, 2] = 255
    seen = _inputs(tmp_path, TASK)(Observation(np.arange(35, dtype=np.float32), images))
    assert seen['observation.state'].tolist() == list(range(29))
    assert seen['observation.environment_state'].tolist() == list(range(29, 35))
    assert seen['observation.images.head_left'].max() == 0
    assert seen['observation.images.head_right'][2, 0, 5] == 1 and seen['observation.images.head_right'].sum() == 1


@pytest.mark.parametrize(
    ('inputs', 'joints', 'said'),
    [
        ({'observation.state': {'type': 'STATE', 'shape': [14]}}, 29, r'observation.state of \[14\].*state of 35'),
        ({'observation.state': STATE}, 14, r'gives actions of \[14\], woolly_ball has 29'),
        ({'observation.images.wrist': IMAGE}, 29, 'a camera "wrist", woolly_ball has head_left, head_right'),
        ({'observation.images.head_left': {**IMAGE, 'shape': [3, 480, 640]}}, 29, r'\[3, 480, 640\].*image_size'),
    ],
)
def test_what_does_not_fit_is_one_clear_error(tmp_path: Path, inputs: dict[str, Any], joints: int, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        load_base(policy(tmp_path, inputs, joints), TASK)


def test_a_folder_without_a_policy_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r'no LeRobot policy in .*config\.json'):
        load_base(f'lerobot:{tmp_path}', TASK)


@pytest.mark.skipif(find_spec('lerobot') is not None, reason='lerobot is installed')
def test_without_lerobot_the_error_says_how_to_install_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match='pip install lerobot.*a venv beside'):
        load_base(policy(tmp_path, {'observation.state': STATE}), TASK)


def test_it_acts_as_lerobot_itself_does(tmp_path: Path) -> None:
    pytest.importorskip('lerobot', reason='lerobot is not installed')
    import torch
    from lerobot.configs.types import FeatureType, PolicyFeature
    from lerobot.policies.act.configuration_act import ACTConfig
    from lerobot.policies.act.modeling_act import ACTPolicy
    from lerobot.policies.factory import make_pre_post_processors

    config = ACTConfig(
        input_features={
            'observation.state': PolicyFeature(FeatureType.STATE, (29,)),
            **{key: PolicyFeature(FeatureType.VISUAL, (3, 84, 84)) for key in EYES},
        },
        output_features={'action': PolicyFeature(FeatureType.ACTION, (29,))},
        chunk_size=20,
        n_action_steps=10,
        pretrained_backbone_weights=None,
        dim_model=64,
        n_heads=4,
        dim_feedforward=128,
        n_encoder_layers=1,
        n_vae_encoder_layers=1,
        device='cpu',
    )
    statistics = {
        key: {'mean': torch.full(shape, 0.3), 'std': torch.full(shape, 0.5)}
        for key, shape in {'observation.state': (29,), 'action': (29,), **dict.fromkeys(EYES, (3, 1, 1))}.items()
    }
    net = ACTPolicy(config).eval()
    before, after = make_pre_post_processors(config, dataset_stats=statistics)
    for part in (net, before, after):
        part.save_pretrained(tmp_path)
    where = f'lerobot:{tmp_path}'
    task = seen_by(where, TASK)
    random = np.random.default_rng(0)
    seen = [
        Observation(random.normal(size=29).astype(np.float32), random.integers(0, 255, (2, 84, 84, 3), np.uint8))
        for _ in range(12)
    ]
    base = load_base(where, task)
    base.reset()
    for item in seen:
        frame = _inputs(tmp_path, task)(item)
        expected = after(net.select_action(before({**frame, 'task': ''})))
        np.testing.assert_allclose(base.act(item), expected[0].numpy(), atol=1e-6)
