"""What controllers and robot description are configured for is what the running graph speaks."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from geometry_msgs.msg import PoseArray
from sensor_msgs.msg import Image, JointState
from std_msgs.msg import Float64MultiArray

from resfit_bringup.description import robot_description
from resfit_bringup.graph import Options, collect_graph
from resfit_bringup.ros2_control import offered_states
from resfit_bringup.runner import Runner
from resfit_bringup.share import share_folder
from resfit_policy.ros import COMMAND, SENSOR
from resfit_policy.task import load_task
from resfit_policy.testing import Probe, isolated_domain

TASK = load_task('woolly_ball')
CONFIG = share_folder() / 'config'
COMMANDS, STATES = 'position_controller/commands', 'joint_states'
# What the controllers of ros2_controllers subscribe to or publish.
CONTROLLERS = {
    'forward_command_controller/ForwardCommandController': 'std_msgs/msg/Float64MultiArray',
    'joint_state_broadcaster/JointStateBroadcaster': 'sensor_msgs/msg/JointState',
}


class Heard:
    """The running graph, in a namespace: types and publishers of its topics, and a message of each kind."""

    def __init__(self, probe: Probe, namespace: str) -> None:
        def listen(kind: Any, topic: str, qos: Any) -> list[Any]:
            return probe.listen(kind, f'{namespace}/{topic}', qos)

        self.states, self.commands = listen(JointState, STATES, SENSOR), listen(Float64MultiArray, COMMANDS, COMMAND)
        self.poses = listen(PoseArray, 'object_poses', SENSOR)
        self.images = {camera: listen(Image, f'{camera}/image', SENSOR) for camera in TASK.cameras}
        wanted = [self.states, self.commands, self.poses, *self.images.values()]
        probe.until(lambda: all(wanted), 60.0, 'a message of each kind')
        prefix = f'/{namespace}/'
        self.types = {
            name.removeprefix(prefix): kinds
            for name, kinds in probe.node.get_topic_names_and_types()
            if name.startswith(prefix)
        }
        self.publishers = {name: probe.node.get_publishers_info_by_topic(prefix + name) for name in self.types}
        self.outside = {name for name, _ in probe.node.get_topic_names_and_types() if not name.startswith(prefix)} - {
            '/parameter_events',
            '/rosout',
        }


@pytest.fixture(scope='module')
def graph(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Heard]:
    folder = tmp_path_factory.mktemp('run')
    options = Options(run_dir=folder, base='resfit_sim.experts:unseen', namespace='vega', vision=True)
    with isolated_domain(), Runner(collect_graph(options)):
        probe = Probe()
        yield Heard(probe, 'vega')
        probe.close()


def controllers() -> dict[str, dict[str, Any]]:
    """Parameters of each controller by name, with its type."""
    config = yaml.safe_load((CONFIG / 'controllers.yaml').read_text())
    manager = config['/**/controller_manager']['ros__parameters']
    types = {name: value['type'] for name, value in manager.items() if isinstance(value, dict)}
    given = {name: config.get(f'/**/{name}', {}).get('ros__parameters', {}) for name in types}
    return {name: {**given[name], 'type': kind} for name, kind in types.items()}


def test_the_position_controller_would_take_the_streamers_commands(graph: Heard) -> None:
    name = COMMANDS.partition('/')[0]  # a controller listens to ~/commands
    controller = controllers()[name]
    assert graph.types[COMMANDS] == [CONTROLLERS[controller['type']]]
    assert len(graph.commands[-1].data) == len(TASK.robot.names)
    assert [item.node_name for item in graph.publishers[COMMANDS]] == ['streamer_node']


def test_the_broadcaster_would_publish_what_the_simulation_does(graph: Heard) -> None:
    controller = controllers()['joint_state_broadcaster']
    assert graph.types[STATES] == [CONTROLLERS[controller['type']]]
    assert list(graph.states[-1].name) == list(TASK.robot.names)
    for interface in offered_states(robot_description('sim'), TASK.robot):
        assert len(getattr(graph.states[-1], interface)) == len(TASK.robot.names)


@pytest.mark.parametrize('hardware', ['mock', 'sim', 'robot'])
def test_the_description_has_the_joints_and_frames_of_the_graphs_messages(graph: Heard, hardware: str) -> None:
    robot = ET.fromstring(robot_description(hardware))
    block = robot.find('ros2_control')
    assert block is not None
    commanded = [item.attrib['name'] for item in block.iterfind('joint') if item.find('command_interface') is not None]
    assert commanded == list(graph.states[-1].name)
    links = {link.attrib['name'] for link in robot.iterfind('link')}
    frames = {graph.poses[-1].header.frame_id, *(image[-1].header.frame_id for image in graph.images.values())}
    assert frames <= links


def test_every_topic_of_a_namespaced_graph_is_in_its_namespace(graph: Heard) -> None:
    assert not graph.outside
