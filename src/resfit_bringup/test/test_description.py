"""Robot description, controllers and RViz configuration agree with the robot YAML and with each other."""

import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
import yaml

from resfit_bringup.description import robot_description
from resfit_bringup.ros2_control import MOCK, offered_states
from resfit_policy.controllers import Controllers, check_manager
from resfit_policy.task import load_task, task_names
from resfit_sim.model import TORSO, URDF, load_robot
from resfit_sim.simulation import HOME

PACKAGE = Path(__file__).resolve().parents[1]
HARDWARE = ('mock', 'sim', 'robot')
ROBOT = load_robot()


@pytest.fixture(scope='module', params=HARDWARE)
def description(request: pytest.FixtureRequest) -> tuple[str, ET.Element]:
    return request.param, ET.fromstring(robot_description(request.param))


def commanded(block: ET.Element) -> list[str]:
    return [joint.attrib['name'] for joint in block.iterfind('joint') if joint.find('command_interface') is not None]


def ros2_control(robot: ET.Element) -> ET.Element:
    (block,) = robot.iterfind('ros2_control')
    return block


def test_the_commanded_joints_are_those_of_every_action_in_its_order(description):
    assert commanded(ros2_control(description[1])) == list(ROBOT.names)
    assert len(ROBOT.names) == 29


def test_mimic_joints_have_state_only_and_come_last(description):
    robot = description[1]
    mimics = {joint.attrib['name'] for joint in robot.iterfind('joint') if joint.find('mimic') is not None}
    last = ros2_control(robot).findall('joint')[29:]
    assert {joint.attrib['name'] for joint in last} == mimics
    assert len(last) == len(mimics) == 10
    assert all(joint.find('command_interface') is None for joint in last)


def test_limits_are_the_tighter_of_vendor_and_robot_yaml(description):
    vendor = {joint.attrib['name']: joint.find('limit') for joint in ET.parse(URDF).getroot().iterfind('joint')}
    robot = description[1]
    limits = {joint.attrib['name']: joint.find('limit') for joint in robot.iterfind('joint')}
    ranges = {
        joint.attrib['name']: {param.attrib['name']: float(param.text or 'nan') for param in joint.iter('param')}
        for joint in ros2_control(robot).iterfind('joint')
    }
    for joint in ROBOT.joints:
        theirs, ours = vendor[joint.name].attrib, limits[joint.name].attrib
        assert float(ours['velocity']) == min(float(theirs['velocity']), joint.velocity)
        assert float(ours['lower']) == max(float(theirs['lower']), joint.lower)
        assert float(ours['upper']) == min(float(theirs['upper']), joint.upper)
        assert ranges[joint.name]['min'] == float(ours['lower'])
        assert ranges[joint.name]['max'] == float(ours['upper'])


def test_the_plugin_is_that_of_the_hardware(description):
    hardware, robot = description
    plugin = ros2_control(robot).findtext('hardware/plugin')
    assert (
        plugin
        == {
            'mock': 'mock_components/GenericSystem',
            'sim': 'joint_state_topic_hardware_interface/JointStateTopicSystem',
            'robot': 'joint_state_topic_hardware_interface/JointStateTopicSystem',
        }[hardware]
    )


def test_efforts_are_broadcast_where_the_hardware_may_send_them(description):
    text = ET.tostring(description[1], encoding='unicode')
    assert offered_states(text, ROBOT) == ['position', 'velocity'] + (['effort'] if MOCK not in text else [])
    without = text.replace('<state_interface name="velocity" />', '', 1)
    assert 'velocity' not in offered_states(without, ROBOT)


def test_commands_begin_at_home_except_on_a_robot(description):
    hardware, robot = description
    joints = ros2_control(robot).findall('joint')[:29]
    starts = [joint.findtext("command_interface/param[@name='initial_value']") for joint in joints]
    states = [joint.findtext("state_interface/param[@name='initial_value']") for joint in joints]
    if hardware == 'robot':
        assert starts == [None] * 29  # nothing moves before the first command
    else:
        assert [float(start) for start in starts] == pytest.approx(HOME)
    assert states == (starts if hardware == 'mock' else [None] * 29)  # not known until the hardware says so


def test_every_mesh_exists_and_every_frame_hangs_on_world(description):
    robot = description[1]
    for mesh in robot.iter('mesh'):
        assert Path(mesh.attrib['filename'].removeprefix('file://')).is_file()
    parents = {
        joint.find('child').attrib['link']: joint.find('parent').attrib['link'] for joint in robot.iterfind('joint')
    }
    links = {link.attrib['name'] for link in robot.iterfind('link')}
    assert links - set(parents) == {'world'}
    assert {'base', 'head_left', 'head_right', *ROBOT.end_effectors} <= links


def test_only_actuated_and_mimic_joints_can_move(description):
    robot = description[1]
    moving = {joint.attrib['name'] for joint in robot.iterfind('joint') if joint.get('type') != 'fixed'}
    block = {joint.attrib['name'] for joint in ros2_control(robot).iterfind('joint')}
    assert moving == block
    assert not moving & set(TORSO)


def test_controllers_are_those_of_the_node_and_pass_its_checks():
    config = yaml.safe_load((PACKAGE / 'config' / 'controllers.yaml').read_text())
    manager = config['/**/controller_manager']['ros__parameters']
    controllers = {name: value for name, value in manager.items() if isinstance(value, dict)}
    for task in task_names():
        check_manager(manager['enforce_command_limits'], manager['update_rate'], load_task(task).command_hz)
    given = {name.removeprefix('/**/') for name in config} - {'controller_manager'}
    assert set(controllers) == given | {Controllers().states}  # the graph gives that one all it needs
    for names in (Controllers(), Controllers(stream='trajectory_controller')):
        assert {names.stream, names.hold, names.states} <= set(controllers)
        assert controllers[names.stream]['fallback_controllers'] == [names.hold]
        hold = config[f'/**/{names.hold}']['ros__parameters']
        assert hold['set_last_command_interface_value_as_state_on_activation'] is False  # the measured pose
    for name in set(controllers) - {Controllers().states}:
        assert 'joints' not in config[f'/**/{name}']['ros__parameters']  # the graph gives them
    assert config['/**/position_controller']['ros__parameters']['interface_name'] == 'position'


def test_rviz_shows_robot_markers_and_every_camera_of_the_tasks():
    config = yaml.safe_load((PACKAGE / 'config' / 'vega.rviz').read_text())
    displays = config['Visualization Manager']['Displays']
    topics = {(display.get('Topic') or display.get('Description Topic') or {}).get('Value') for display in displays}
    cameras = {f'{camera}/image' for task in task_names() for camera in load_task(task).cameras}
    assert {'robot_description', 'markers', *cameras} <= topics
    assert config['Visualization Manager']['Global Options']['Fixed Frame'] == 'base'
