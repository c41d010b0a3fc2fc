"""The launch files, where ROS has launch (the wheels do not)."""

from __future__ import annotations

import py_compile
from pathlib import Path
from typing import Any

import pytest
import yaml

from resfit_bringup.graph import Options, collect_graph, train_graph
from resfit_bringup.share import share_folder
from resfit_policy.task import ConfigError

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


@pytest.mark.parametrize(('code', 'ends'), [(2, 1), (1, 6)])
def test_a_launch_ends_where_starting_a_process_again_does_not_help(tmp_path: Path, code: int, ends: int) -> None:
    pytest.importorskip('launch_ros', reason='ros2 launch is not part of the ROS wheels')
    from launch.actions import ExecuteProcess

    from launch import LaunchDescription, LaunchService
    from resfit_bringup.launching import give_up
    from resfit_bringup.runner import MAX_RESPAWNS

    ran = tmp_path / 'ran'
    process = ExecuteProcess(
        cmd=['bash', '-c', f'echo once >> {ran}; exit {code}'], respawn=True, respawn_delay=0.05,
        respawn_max_retries=MAX_RESPAWNS, on_exit=give_up('learner_node'),
    )  # fmt: skip
    other = ExecuteProcess(cmd=['sleep', '60'])  # else there would be nothing left to end
    service = LaunchService()
    service.include_launch_description(LaunchDescription([process, other]))
    service.run()
    assert len(ran.read_text().split()) == ends
