"""Jobs: what a task or an environment is trained with, and what a run folder tells of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from resfit_bringup import cli
from resfit_bringup.job import job_folder, load_job
from resfit_bringup.runs import scene_of
from resfit_policy.task import ConfigError


def test_every_shipped_job_is_valid() -> None:
    paths = list(job_folder().glob('*.yaml'))
    assert len(paths) > 5 and all(load_job('', path).steps > 0 for path in paths)
    with pytest.raises(ConfigError, match='recipe'):
        load_job('woolly_ball', recipe='none')


def test_what_a_job_changes_in_its_recipe_is_not_for_another_one() -> None:
    assert load_job('metaworld:any').learner_config().mc_share == 0.1
    assert load_job('metaworld:any', recipe='paper').learner_config().mc_share == 0.0


def test_an_environment_without_a_job_of_its_own_has_the_recipe_for_actions_that_add_up() -> None:
    assert load_job('MyEnv-v0', env=True).recipe == 'resfit_steps'
    assert load_job('my_task.yaml').recipe == 'resfit_ros'
    assert load_job('MyEnv-v0', env=True, recipe='resfit_ros').recipe == 'resfit_ros'


def test_what_is_held_out_of_the_demonstrations_is_the_same_for_base_and_learner(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    words = ['experiment', '--env', 'reach:Reach-v0', '--method', 'base', '--demonstrations', '10', '--steps', '1']
    assert cli.main([*words, '--episodes', '1', '--set', 'held_out=0.5']) == 0
    (about,) = (tmp_path / 'resfit' / 'bases').glob('*/policy.json')
    assert json.loads(about.read_text())['training']['held_out'] == 5


def test_a_run_folder_tells_what_it_was_trained_on(tmp_path: Path) -> None:
    assert scene_of(tmp_path) == ('woolly_ball', 'state', 'unseen')
    (tmp_path / 'log').mkdir()
    for node, values in {'policy_node': {'task': 'box_cleanup', 'vision': True}, 'sim_node': {'variant': 'x'}}.items():
        (tmp_path / 'log' / f'{node}.yaml').write_text(yaml.safe_dump({'/**': {'ros__parameters': values}}))
    assert scene_of(tmp_path) == ('box_cleanup', 'vision', 'x')  # ros2 launch leaves these alone
    told = {'task': 'package_handover', 'job': {'observation': 'state', 'variant': 'y'}}
    (tmp_path / 'run.json').write_text(json.dumps(told))
    assert scene_of(tmp_path) == ('package_handover', 'state', 'x')
