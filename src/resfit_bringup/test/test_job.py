"""Jobs: what a task or an environment is trained with, and what a run folder tells of it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from resfit_bringup import cli
from resfit_bringup.commands.train import open_run
from resfit_bringup.job import job_folder, load_job
from resfit_bringup.pipeline import contents
from resfit_bringup.runs import base_of, scene_of
from resfit_learner.rollout import run_episode
from resfit_policy.episode_log import Arm
from resfit_policy.runtime import PolicyRuntime
from resfit_policy.task import ConfigError, load_task
from resfit_sim.env import VegaEnv
from resfit_sim.experts import make_expert


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


def test_the_base_of_a_run_is_in_its_folder_or_where_its_policy_was_told(tmp_path: Path) -> None:
    assert base_of(tmp_path) == ''
    (tmp_path / 'log').mkdir()

    def told(**values: object) -> str:
        text = yaml.safe_dump({'/**': {'ros__parameters': values}})
        (tmp_path / 'log' / 'policy_node.yaml').write_text(text)
        return base_of(tmp_path)

    assert told(base='/of/launch') == '/of/launch'
    assert told(base='ros:predict_chunk') == told(base='/slow', base_ahead=6) == ''
    (tmp_path / 'base').mkdir()
    assert told(base='/of/launch') == str(tmp_path / 'base')


def test_a_run_of_something_else_is_not_gone_on_with(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / 'episodes').mkdir()
    assert cli.main(['train', '--run', str(tmp_path)]) == 2
    assert 'did not begin' in capsys.readouterr().err
    assert not (tmp_path / 'run.json').exists()


def test_a_run_may_be_learned_on_another_device(tmp_path: Path) -> None:
    job = load_job('woolly_ball')
    other = replace(job, learner={**job.learner, 'device': 'cuda', 'threads': 4})
    open_run(tmp_path, 'woolly_ball', 0, job)
    open_run(tmp_path, 'woolly_ball', 0, other)
    with pytest.raises(ConfigError, match='other settings .learner'):
        open_run(tmp_path, 'woolly_ball', 0, replace(job, learner={**job.learner, 'utd': 9.0}))


def test_a_corrected_label_makes_other_demonstrations() -> None:
    task = load_task('woolly_ball')
    runtime = PolicyRuntime(replace(task, horizon=2), make_expert('woolly_ball', 'demonstrated'))
    episode = run_episode(VegaEnv(runtime.task), runtime, seed=1, arm=Arm.BASE)
    assert episode.length == 2, 'the environment has the task that it was given'
    assert contents([episode]) != contents([episode.relabelled(True)])


@pytest.mark.parametrize(
    ('words', 'said'),
    [
        ('--env metaworld:push-v3 --observation vision', '--observation vision is for --task'),
        ('--expert policy.onnx', '--expert makes'),
        ('--env Reach-v0 --expert policy.onnx --demos demos', '--expert makes'),
        ('--base-band 0.1 0.5 --demonstrations 5', '--base-band chooses'),
    ],
)
def test_what_would_have_no_effect_is_refused(words: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(['experiment', *words.split()]) == 2
    assert said in capsys.readouterr().err


def test_a_run_folder_tells_what_it_was_trained_on(tmp_path: Path) -> None:
    assert scene_of(tmp_path) == ('woolly_ball', 'state', 'unseen')
    (tmp_path / 'log').mkdir()
    for node, values in {'policy_node': {'task': 'box_cleanup', 'vision': True}, 'sim_node': {'variant': 'x'}}.items():
        (tmp_path / 'log' / f'{node}.yaml').write_text(yaml.safe_dump({'/**': {'ros__parameters': values}}))
    assert scene_of(tmp_path) == ('box_cleanup', 'vision', 'x')  # ros2 launch leaves these alone
    told = {'task': 'package_handover', 'job': {'observation': 'state', 'variant': 'y'}}
    (tmp_path / 'run.json').write_text(json.dumps(told))
    assert scene_of(tmp_path) == ('package_handover', 'state', 'x')
