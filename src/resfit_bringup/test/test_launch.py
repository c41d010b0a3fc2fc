"""The launch files, where ROS has launch (the wheels do not)."""

from __future__ import annotations

import py_compile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from resfit_bringup.graph import Options, collect_graph, train_graph
from resfit_bringup.share import share_folder
from resfit_policy.task import ConfigError
from resfit_policy.testing import isolated_domain

FILES = ('vega_train', 'vega_eval', 'vega_collect')


@pytest.mark.parametrize('name', [*FILES, 'vega_bag_eval'])
def test_the_launch_files_are_installed_and_compile(name: str) -> None:
    py_compile.compile(str(share_folder() / 'launch' / f'{name}.launch.py'), doraise=True)


def description(name: str) -> Any:
    pytest.importorskip('launch_ros', reason='ros2 launch is not part of the ROS wheels')
    from launch.launch_description_sources import PythonLaunchDescriptionSource

    from launch import LaunchContext

    source = PythonLaunchDescriptionSource(str(share_folder() / 'launch' / f'{name}.launch.py'))
    return source.get_launch_description(LaunchContext())


@pytest.mark.parametrize('name', FILES)
def test_every_launch_argument_is_described_and_every_option_has_one(name: str) -> None:
    arguments = {item.name: item for item in description(name).get_launch_arguments()}
    assert all(item.description for item in arguments.values())
    assert set(Options.__dataclass_fields__) <= set(arguments)


def test_the_launch_actions_are_the_processes_of_the_graph(tmp_path: Path) -> None:
    pytest.importorskip('launch_ros', reason='ros2 launch is not part of the ROS wheels')
    from launch.actions import OpaqueFunction

    from launch import LaunchContext
    from resfit_bringup.launching import action

    found = description('vega_train')
    context = LaunchContext()
    given = {
        'run_dir': str(tmp_path),
        'base': '/tmp/base',
        'seed': '3',
        'hardware': 'direct',
        'demonstrations': '/tmp/d',
    }
    for item in found.get_launch_arguments():
        default = item.default_value[0].text if item.default_value else ''
        context.launch_configurations[item.name] = given.get(item.name, default)
    opaque = next(item for item in found.entities if isinstance(item, OpaqueFunction))
    with isolated_domain():
        started = opaque.execute(context)
    options = Options(run_dir=tmp_path, base='/tmp/base', seed=3)
    graph = train_graph(options, demonstrations='/tmp/d')
    assert len(started) == len(graph.processes)
    reward = yaml.safe_load((tmp_path / 'log' / 'reward_node.yaml').read_text())['/**']['ros__parameters']
    assert reward['seed'] == 310_000, 'training starts, which no evaluation has'
    assert action(collect_graph(options).processes[0], options) is not None


@pytest.mark.parametrize(('base', 'said'), [('', 'no checkpoint in'), ('/tmp/base', 'weights is required')])
def test_an_evaluation_takes_the_newest_runs_weights_on_its_own_base_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, base: str, said: str
) -> None:
    found = description('vega_eval')
    from launch.actions import OpaqueFunction

    from launch import LaunchContext

    monkeypatch.chdir(tmp_path)
    context = LaunchContext()
    for item in found.get_launch_arguments():
        default = item.default_value[0].text if item.default_value else ''
        context.launch_configurations[item.name] = base if item.name == 'base' else default
    opaque = next(item for item in found.entities if isinstance(item, OpaqueFunction))
    with pytest.raises(ConfigError, match=said):
        opaque.execute(context)


@pytest.mark.parametrize(
    ('name', 'code', 'runs'), [('learner_node', 2, 1), ('learner_node', 1, 6), ('web_node', 2, 1), ('sim_node', 0, 1)]
)
def test_a_launch_ends_where_starting_a_process_again_does_not_help(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, code: int, runs: int
) -> None:
    pytest.importorskip('launch_ros', reason='ros2 launch is not part of the ROS wheels')
    from launch.actions import ExecuteProcess

    from launch import LaunchDescription, LaunchService
    from resfit_bringup import launching

    monkeypatch.setattr(launching, 'RESPAWN_DELAY', 0.05)
    options = Options(run_dir=tmp_path, base='/tmp/base', web=True)
    process = train_graph(options, demonstrations='/tmp/d').named(name)
    ran = tmp_path / 'ran'
    stand_in = replace(
        process, package='', executable='bash', arguments=('-c', f'echo once >> {ran}; sleep 0.1; exit {code}')
    )
    other = ExecuteProcess(cmd=['sleep', '60'])  # else there would be nothing left to end
    service = LaunchService()
    service.include_launch_description(LaunchDescription([launching.action(stand_in, options), other]))
    service.run()
    assert len(ran.read_text().split()) == runs
