"""Watching a run: what RViz is told to show is what the real graph publishes, and every node says how it is."""

from __future__ import annotations

import importlib
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import yaml
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import JointState
from visualization_msgs.msg import Marker, MarkerArray

from resfit_bringup.description import robot_description
from resfit_bringup.graph import GHOSTS, Graph, Options, Process, collect_graph, train_graph
from resfit_bringup.reference import interfaces, node_modules
from resfit_bringup.runner import Runner, find_executable
from resfit_bringup.share import share_folder
from resfit_msgs.msg import EpisodeState
from resfit_policy.convert import stamp_ns
from resfit_policy.ros import COMMAND, LATCHED
from resfit_policy.task import ConfigError, load_task, task_names
from resfit_policy.testing import Probe, isolated_domain

EXPERT = 'resfit_sim.experts:unseen'
OTHER = 'resfit_sim.experts:demonstrated'  # a base that repeats the demonstrations would have no error to correct
TASK = load_task('woolly_ball')
NAMESPACE = 'vega'
DISPLAYS = {
    'rviz_default_plugins/MarkerArray': 'visualization_msgs/msg/MarkerArray',
    'rviz_default_plugins/Image': 'sensor_msgs/msg/Image',
}
EVERYTHING = QoSProfile(depth=200, durability=DurabilityPolicy.TRANSIENT_LOCAL)
# What each node must say, beside how often and how long ago it heard each stream.
KEYS = {
    'sim_node': {'command_hz', 'command_age_s', 'tick_hz', 'image_hz'},
    'streamer_node': {'joint_states_age_s', 'target_age_s', 'command_hz', 'command_period_ms_p99', 'refused_targets'},
    'policy_node': {'joint_states_hz', 'object_poses_age_s', 'step_hz', 'compute_ms_p50', 'compute_ms_p99',
                    'clipped_hz', 'held_hz', 'weights_age_s', 'weights_version', 'refused_weights', 'authority'},
    'reward_node': {'step_age_s', 'verdict_hz', 'learner_age_s', 'replay_age_s', 'episode'},
    'replay_node': {'step_hz', 'fetch_age_s', 'sequence', 'episodes', 'disk_free_gb'},
    'learner_node': {'replay_age_s', 'weights_age_s', 'update_hz', 'updates_owed', 'entries_behind', 'disk_free_gb'},
    'watch_node': {'step_age_s', 'picture_hz', 'viewers'},
}  # fmt: skip


def installed(process: Process) -> bool:
    try:
        return bool(find_executable(process))
    except ConfigError:
        return False


class Watched:
    """A training run in a namespace, as ``rviz:=true`` starts it, less what is not on this machine."""

    def __init__(self, probe: Probe, graph: Graph) -> None:
        def listen(kind: Any, topic: str, qos: Any) -> list[Any]:
            return probe.listen(kind, f'{NAMESPACE}/{topic}', qos)

        self.probe, self.graph = probe, graph
        self.pictures: list[MarkerArray] = listen(MarkerArray, 'markers', EVERYTHING)
        self.episodes: list[EpisodeState] = listen(EpisodeState, 'episode', LATCHED)
        self.base_targets: list[JointState] = listen(JointState, 'base_target', COMMAND)
        self.diagnostics: list[DiagnosticArray] = listen(DiagnosticArray, 'diagnostics', 100)
        heard = [self.pictures, self.base_targets]
        probe.until(lambda: all(heard) and self.reporting() >= set(KEYS), 90.0, 'a message of each kind')

    def reporting(self) -> set[str]:
        return {status.name.removeprefix(f'{NAMESPACE}/') for item in self.diagnostics for status in item.status}


@pytest.fixture(scope='module')
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    folder = tmp_path_factory.mktemp('run')
    with pytest.MonkeyPatch.context() as patch, isolated_domain():
        patch.setenv('DISPLAY', ':0')
        demonstrations = folder / 'demonstrations'
        with Runner(collect_graph(Options(demonstrations, base=EXPERT, max_episodes=2))) as runner:
            runner.wait()
        small = {'batch': 16, 'heads': 2, 'critic_hidden': [8], 'actor_hidden': [8], 'min_steps': 100, 'utd': 0.2}
        small['warm_start'] = 100
        (folder / 'learner.yaml').write_text(yaml.safe_dump(small))
        options = Options(folder / 'run', base=OTHER, namespace=NAMESPACE, rviz=True)
        graph = train_graph(options, demonstrations=str(demonstrations), learner_config=str(folder / 'learner.yaml'))
        here = tuple(process for process in graph.processes if installed(process))
        with Runner(Graph(options, here)):
            probe = Probe()
            yield Watched(probe, graph)
            probe.close()


def displays() -> list[dict[str, Any]]:
    config = yaml.safe_load((share_folder() / 'config' / 'vega.rviz').read_text())
    return list(config['Visualization Manager']['Displays'])


def test_every_topic_that_rviz_shows_is_published_with_its_type_and_quality(watched: Watched) -> None:
    prefix, node = f'/{NAMESPACE}/', watched.probe.node
    types = dict(node.get_topic_names_and_types())
    shown = {item['Topic']['Value']: item for item in displays() if item['Class'] in DISPLAYS}
    assert set(shown) == {'markers', *(f'{camera}/image' for camera in TASK.cameras)}
    for topic, display in shown.items():
        assert types[prefix + topic] == [DISPLAYS[display['Class']]], topic
        publishers = node.get_publishers_info_by_topic(prefix + topic)
        assert len(publishers) == 1, topic
        quality = publishers[0].qos_profile
        if display['Topic']['Reliability Policy'] == 'Reliable':
            assert quality.reliability == ReliabilityPolicy.RELIABLE, topic
        if display['Topic']['Durability Policy'] == 'Transient Local':
            assert quality.durability == DurabilityPolicy.TRANSIENT_LOCAL, topic


def test_every_robot_that_rviz_shows_has_frames_from_a_topic_that_names_all_its_joints(watched: Watched) -> None:
    robot = ET.fromstring(robot_description('sim'))
    moving = {
        joint.attrib['name']
        for joint in robot.iterfind('joint')
        if joint.attrib['type'] != 'fixed' and joint.find('mimic') is None
    }
    models = [item for item in displays() if item['Class'] == 'rviz_default_plugins/RobotModel']
    assert [item.get('TF Prefix', '') for item in models] == ['', *GHOSTS]
    assert {item['Description Topic']['Value'] for item in models} == {'robot_description'}
    for prefix in GHOSTS:
        ghost = watched.graph.named(f'{prefix}_ghost')
        assert ghost.parameters['frame_prefix'] == f'{prefix}/'
        assert f'joint_states:={prefix}' in ghost.arguments
        root = watched.graph.named(f'{prefix}_root').arguments
        assert root == ('--frame-id', 'world', '--child-frame-id', f'{prefix}/world')
        types = dict(watched.probe.node.get_topic_names_and_types())
        assert types[f'/{NAMESPACE}/{prefix}'] == ['sensor_msgs/msg/JointState']
    assert set(watched.base_targets[-1].name) == moving
    assert len(watched.base_targets[-1].position) == len(moving)
    assert 'world' not in {joint.find('child').attrib['link'] for joint in robot.iterfind('joint')}, 'not the root'


def test_the_markers_are_in_frames_of_the_robot_and_say_how_the_run_is(watched: Watched) -> None:
    links = {link.attrib['name'] for link in ET.fromstring(robot_description('sim')).iterfind('link')}
    drawn = [marker for picture in watched.pictures for marker in picture.markers if marker.action == Marker.ADD]
    assert {marker.ns for marker in drawn} <= {'run', 'objects', 'residual'}
    assert {'run', 'objects'} <= {marker.ns for marker in drawn}
    for marker in drawn:
        assert marker.header.frame_id in links and stamp_ns(marker.header.stamp) == 0
        pose, colour = marker.pose.orientation, marker.color
        assert np.isclose(np.linalg.norm([pose.x, pose.y, pose.z, pose.w]), 1.0) and colour.a > 0
        size = [marker.scale.z] if marker.type == Marker.TEXT_VIEW_FACING else [marker.scale.x, marker.scale.y]
        assert min(size) > 0
    said = [marker.text for marker in drawn if marker.ns == 'run']
    assert any('RUNNING' in text and 'authority' in text for text in said)
    watched.probe.until(
        lambda: any('success: residual' in item.text for item in watched.pictures[-1].markers), 60.0, 'a judged episode'
    )


def test_a_new_scene_deletes_every_marker_before_anything_is_drawn_again(watched: Watched) -> None:
    watched.pictures.clear()
    watched.episodes.clear()
    watched.probe.until(
        lambda: sum(item.phase == EpisodeState.RESETTING for item in watched.episodes) >= 2, 60.0, 'two resets'
    )
    watched.probe.spin(0.5)
    deletions = [item for item in watched.pictures if item.markers[0].action == Marker.DELETEALL]
    resets = sum(item.phase == EpisodeState.RESETTING for item in watched.episodes)
    assert len(deletions) >= resets - 1
    for picture in deletions:
        assert len(picture.markers) == 1


def test_every_node_reports_within_three_seconds_what_there_is_to_know(watched: Watched) -> None:
    ours = {item.name for item in watched.graph.processes if item.package.startswith('resfit_')}
    assert ours == set(KEYS)
    watched.diagnostics.clear()
    watched.probe.spin(3.0)
    newest = {status.name: (item.header, status) for item in watched.diagnostics for status in item.status}
    assert set(newest) == {f'{NAMESPACE}/{name}' for name in ours}
    for name in ours:
        header, status = newest[f'{NAMESPACE}/{name}']
        values = {item.key: item.value for item in status.values}
        assert set(values) >= KEYS[name], name
        assert status.level in (DiagnosticStatus.OK, DiagnosticStatus.WARN) and status.message
        assert stamp_ns(header.stamp) > 0
        for key, value in values.items():
            if key.endswith(('_hz', '_gb')) or '_ms_' in key:
                assert float(value) >= 0, f'{name}: {key}'
    rates = {item.key: item.value for item in newest[f'{NAMESPACE}/policy_node'][1].values}
    assert float(rates['step_hz']) > 1 and float(rates['joint_states_age_s']) < 2


@pytest.mark.parametrize('name', sorted(KEYS))
def test_a_running_node_has_the_topics_and_services_of_the_reference_and_no_others(watched: Watched, name: str) -> None:
    """But for those of ROS itself, the state of the task in vision, and what only ros2_control or a classifier has."""
    probe, prefix = watched.probe.node, f'/{NAMESPACE}/'
    (module,) = (importlib.import_module(item) for item in node_modules() if item.endswith(name))
    declared = interfaces(module)
    for how, ask in (
        ('publishes', probe.get_publisher_names_and_types_by_node),
        ('subscribes to', probe.get_subscriber_names_and_types_by_node),
        ('serves', probe.get_service_names_and_types_by_node),
    ):
        running = {
            (topic.removeprefix(prefix), kinds[0])
            for topic, kinds in ask(name, f'/{NAMESPACE}')
            if kinds[0].split('/')[0] not in ('rcl_interfaces', 'lifecycle_msgs', 'type_description_interfaces')
            and (how == 'publishes' or topic != f'{prefix}clock')
        }
        written = {
            (item.name.replace('<camera>', camera), item.kind)
            for item in declared
            if item.how == how
            and not item.name.startswith(('hardware/', 'classifier/'))
            and 'trajectory' not in item.kind
            for camera in TASK.cameras
            if how == 'publishes' or '<camera>' not in item.name  # the policy of this run does not look
        }
        assert running == written


@pytest.mark.parametrize('name', task_names())
def test_rviz_shows_the_cameras_of_every_task(name: str) -> None:
    shown = {item['Topic']['Value'] for item in displays() if item['Class'] == 'rviz_default_plugins/Image'}
    assert shown == {f'{camera}/image' for camera in load_task(name).cameras}
