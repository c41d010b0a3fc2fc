"""Meta-World's tasks: no code per task, in a venv of their own, which ``./resfit test`` makes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from resfit_bringup.band import choose
from resfit_learner.evaluation import wilson
from resfit_learner.metaworld import enter_venv
from resfit_policy.task import ConfigError

VENV = Path(sys.prefix).with_name('.venv-metaworld')
here = pytest.mark.skipif(not VENV.exists(), reason='no Meta-World: ./resfit setup metaworld makes its venv')

JOB = """
base_band: [0.0, 1.0]
patience: 2
bc: {steps: 100, hidden: [32]}
learner: {heads: 2, critic_hidden: [16], utd: 0.2, min_steps: 50, critic_warmup: 5, warm_start: 50}
"""
STARTS = """
import numpy as np
from resfit_learner.adapter import expert, make
from resfit_learner.metaworld import enter_venv
from resfit_learner.rollout import run_episode
from resfit_policy.episode_log import Arm
from resfit_policy.runtime import PolicyRuntime
enter_venv()
env, task = make('metaworld:push-v3')
assert (task.action_size, task.state_size, task.horizon, task.control_hz) == (4, 43, 500, 80)
first = env.reset(seed=1)[0]
other = env.reset(seed=2)[0]
assert np.abs(first - other)[-3:].max() > 1e-3, 'the goal is not to be seen, or always the same'
episode = run_episode(env, PolicyRuntime(task, expert(env, task)), seed=3, arm=Arm.BASE)
assert episode.success and episode.length < 200
assert np.array_equal(env.reset(seed=1)[0], first), 'a start depends on what was before'
"""


def python(*words: str, cache: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, 'XDG_CACHE_HOME': str(cache)}
    return subprocess.run([sys.executable, *words], env=environment, capture_output=True, text=True, timeout=300)


@here
def test_a_start_is_a_function_of_the_seed_and_shows_the_goal(tmp_path: Path) -> None:
    done = python('-c', STARTS, cache=tmp_path)
    assert done.returncode == 0, done.stderr


@here
def test_an_experiment_finds_its_venv_its_expert_and_a_base(tmp_path: Path) -> None:
    (tmp_path / 'job.yaml').write_text(JOB)
    out = tmp_path / 'out.json'
    words = ['-m', 'resfit_bringup.cli', 'experiment', '--job', str(tmp_path / 'job.yaml'), '--episodes', '2']
    words += ['--env', 'metaworld:drawer-close-v3', '--steps', '150', '--json', str(out)]
    done = python(*words, cache=tmp_path)
    assert done.returncode == 0, done.stderr
    result = json.loads(out.read_text())
    assert result['env_steps'] >= 150 and result['base_choice']['demonstrations'] == 10
    assert result['versions']['mujoco'].startswith('3.')
    words[words.index('metaworld:drawer-close-v3')] = 'metaworld:drawer-shut'
    done = python(*words, cache=tmp_path)
    assert done.returncode == 2
    assert 'no task "drawer-shut": choose one of assembly-v3' in done.stderr


def test_without_its_venv_the_command_that_makes_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, 'prefix', str(tmp_path / '.venv'))
    with pytest.raises(ConfigError, match='resfit setup metaworld'):
        enter_venv()


@pytest.mark.parametrize(
    ('success', 'chosen', 'tried'),
    [
        (lambda level: 0.04 * level, 10, [10]),
        (lambda level: 0.1 * level, 4, [10, 4]),
        (lambda level: 0.0 if level < 14 else 0.5, 15, [10, 15]),
        (lambda level: 0.0 if level < 12 else 0.4 if level < 13 else 0.9, 12, [10, 15, 12]),
        (lambda level: 0.8 + 0.01 * level, 0, [10, 4, 1, 0]),  # nothing fits: the nearest above
        (lambda level: 0.0 if level < 7 else 0.8, 7, [10, 4, 7, 5, 6]),
        (lambda level: 0.0, 10, [10, 15, 17, 18, 19]),
    ],
)
def test_a_level_is_found_whose_base_is_of_the_wanted_strength(success, chosen, tried) -> None:
    level, rates = choose(lambda level: wilson(round(success(level) * 50), 50), 0.1, 0.6, first=10, count=20)
    assert list(rates) == tried
    assert level == chosen
