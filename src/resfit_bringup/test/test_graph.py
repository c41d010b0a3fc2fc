"""The graph's description: consistent with executables, parameters, controllers and launch files."""

from __future__ import annotations

import importlib
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import yaml

from resfit_bringup.graph import CONTROLLERS, Graph, Options, Process, collect_graph, eval_graph, train_graph
from resfit_bringup.runner import find_executable, ros_arguments
from resfit_policy.task import ConfigError, load_task

OURS = ('resfit_policy', 'resfit_learner', 'resfit_sim')


def graphs(**options: Any) -> list[Graph]:
    made = Options(run_dir=Path('/tmp/run'), base='/tmp/base', **options)
    return [train_graph(made, demonstrations='/tmp/demos'), eval_graph(made, weights='/tmp/actor'), collect_graph(made)]


@pytest.mark.parametrize('hardware', ['direct', 'mock', 'sim', 'robot'])
def test_every_parameter_given_is_one_that_the_node_declares_and_of_its_type(hardware: str) -> None:
    for graph in graphs(hardware=hardware):
        for process in graph.processes:
            if process.package not in OURS:
                continue
            table = importlib.import_module(f'{process.package}.{process.executable}').Parameters
            declared = {item.name: item.default for item in fields(table)}
            assert set(process.parameters) <= set(declared), process.name
            for name, value in process.parameters.items():
                assert type(value) is type(declared[name]), f'{process.name}.{name}'
            assert all(item.metadata['description'] for item in fields(table))


def test_every_program_of_the_simulated_graph_is_installed() -> None:
    for graph in graphs():
        assert all(Path(find_executable(process)[0]).exists() for process in graph.processes)


def test_the_simulated_graph_has_the_nodes_of_the_design() -> None:
    names = {process.name for process in graphs()[0].processes}
    assert names == {'sim_node', 'streamer_node', 'replay_node', 'policy_node', 'learner_node', 'reward_node'}


def test_on_a_robot_ros2_control_takes_the_simulations_place() -> None:
    train = graphs(hardware='robot')[0]
    names = [process.name for process in train.processes]
    assert 'sim_node' not in names
    assert {'robot_state_publisher', 'controller_manager', 'controllers_node'} <= set(names)
    assert train.named('streamer_node').parameters['lockstep'] is False
    assert train.named('policy_node').parameters['max_age'] > 0
    assert train.named('reward_node').parameters['reset'] == 'operator'
    # ended in the opposite order: the streamer falls silent, the robot holds, the manager goes
    assert names.index('controller_manager') < names.index('controllers_node') < names.index('streamer_node')


def test_behind_ros2_control_the_simulation_keeps_real_time_and_is_watched() -> None:
    train = graphs(hardware='sim')[0]
    simulation = train.named('sim_node').parameters
    assert simulation['ros2_control'] is True and simulation['lockstep'] is False
    assert train.options.sim_time is False
    assert train.named('reward_node').parameters['reset'] == 'sim'
    assert train.named('controllers_node').parameters['feedback'] == 'hardware/joint_states'
    assert graphs(hardware='mock')[0].named('controllers_node').parameters['feedback'] == ''


@pytest.mark.parametrize('controller', ['position', 'trajectory'])
def test_streamer_and_watch_speak_of_the_same_controller(controller: str) -> None:
    graph = graphs(hardware='mock', controller=controller)[0]
    streamer = graph.named('streamer_node').parameters
    assert streamer['controller'] == graph.named('controllers_node').parameters['controller'] == controller
    assert streamer['commands'].startswith(f'{controller}_controller/')
    assert graph.named('controller_manager').parameters['joints'] == list(load_task('woolly_ball').robot.names)


def test_a_remote_learner_is_left_to_the_other_machine() -> None:
    options = Options(run_dir=Path('/tmp/run'), base='/tmp/base')
    names = {process.name for process in train_graph(options, demonstrations='', learner='remote').processes}
    assert 'learner_node' not in names and 'replay_node' in names
    with pytest.raises(ConfigError, match='choose local or remote'):
        train_graph(options, demonstrations='', learner='cloud')


def test_rviz_without_a_display_is_one_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ('DISPLAY', 'WAYLAND_DISPLAY'):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ConfigError, match='needs a display'):
        graphs(rviz=True)
    monkeypatch.setenv('WAYLAND_DISPLAY', 'wayland-0')
    assert all('rviz2' in {process.name for process in graph.processes} for graph in graphs(rviz=True))
    with pytest.raises(ConfigError, match='this comparison is blind'):
        eval_graph(Options(run_dir=Path('/tmp/run'), base='/tmp/base', rviz=True), weights='/tmp/actor', blind=True)


def test_a_comparison_needs_what_is_compared() -> None:
    with pytest.raises(ConfigError, match='weights is required'):
        eval_graph(Options(run_dir=Path('/tmp/run'), base='/tmp/base'), weights='')


def test_a_learner_here_needs_demonstrations_and_one_elsewhere_has_its_own() -> None:
    options = Options(run_dir=Path('/tmp/run'), base='/tmp/base')
    with pytest.raises(ConfigError, match='demonstrations is required'):
        train_graph(options, demonstrations='')
    assert train_graph(options, demonstrations='', learner='remote')


def test_the_operators_page_shows_cameras_and_compares_with_the_base_that_was_counted() -> None:
    for graph in graphs(web=True, web_address='0.0.0.0', base_successes=12, base_episodes=50):
        page = graph.named('web_node')
        assert page.parameters['address'] == '0.0.0.0' and not page.essential
        assert (page.parameters['base_successes'], page.parameters['base_episodes']) == (12, 50)
        assert graph.named('sim_node').parameters['vision'] and not graph.named('policy_node').parameters['vision']
    assert all('web_node' not in {process.name for process in graph.processes} for graph in graphs())


@pytest.mark.parametrize('hardware', ['direct', 'robot'])
def test_a_classifier_judges_in_place_of_oracle_and_operator_with_the_cameras_on(tmp_path: Path, hardware: str) -> None:
    file = tmp_path / 'classifier.safetensors'
    file.touch()
    for graph in graphs(hardware=hardware, classifier=str(file)):
        assert graph.named('classifier_node').parameters['classifier'] == str(file)
        assert graph.named('reward_node').parameters['success_source'] == 'classifier'
        if hardware == 'direct':
            assert graph.named('sim_node').parameters['vision'] is True


def test_simulation_and_streamer_speak_the_position_controllers_topic() -> None:
    for module in ('resfit_policy.streamer_node', 'resfit_sim.sim_node'):
        table = importlib.import_module(module).Parameters
        assert table().commands == CONTROLLERS['position']


def test_parameters_travel_by_file_so_that_no_text_is_taken_for_a_number(tmp_path: Path) -> None:
    graph = collect_graph(Options(run_dir=Path('123'), base='1e3', namespace='vega'))
    arguments = ros_arguments(graph.named('replay_node'), graph.options, tmp_path)
    written = yaml.safe_load((tmp_path / 'replay_node.yaml').read_text())['/**']['ros__parameters']
    assert written == {'directory': '123', 'use_sim_time': True}
    assert '__ns:=/vega' in arguments and '/clock:=clock' in arguments


@pytest.mark.parametrize(
    'options',
    [
        {'hardware': 'gazebo'},
        {'task': 'no_such_task'},
        {'params_file': '/nowhere.yaml'},
        {'classifier': '/nowhere.safetensors'},
        {'controller': 'effort', 'hardware': 'mock'},
        {'controller': 'trajectory'},
        {'urdf': '/arm.urdf'},
        {'urdf': '/nowhere.urdf', 'hardware': 'mock'},
    ],
)
def test_impossible_options_are_refused_before_anything_starts(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        graphs(**options)


def test_a_program_that_is_not_there_is_one_clear_error() -> None:
    with pytest.raises(ConfigError, match='no_such_package, which is not installed'):
        find_executable(Process('no_such_package', 'node', 'some_node'))
    with pytest.raises(ConfigError, match='no_such_program'):
        find_executable(Process('', 'no_such_program', 'bag'))
