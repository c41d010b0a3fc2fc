"""From a robot's YAML and URDF to what a controller manager needs: a ``<ros2_control>`` block, and limits in the URDF.

The block's joints are those of every action, in its order; joints that follow one of them (``<mimic>``) have state
interfaces only, and come last: the topic-based hardware sends more names than positions, in this order.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Sequence
from typing import Literal, get_args

from resfit_policy.controllers import check_interfaces
from resfit_policy.task import ConfigError, Robot

Hardware = Literal['mock', 'sim', 'robot']
MOCK = 'mock_components/GenericSystem'
TOPICS = 'joint_state_topic_hardware_interface/JointStateTopicSystem'
# Parameters of the topic-based hardware. A threshold below zero makes it send in every cycle: by default only
# commands that differ from the state go out, and a bridge could not tell a still robot from a dead manager.
PARAMETERS = {
    'joint_commands_topic': 'hardware/joint_commands',
    'joint_states_topic': 'hardware/joint_states',
    'trigger_joint_command_threshold': '-1',
}


def add_ros2_control(urdf: ET.Element, robot: Robot, hardware: str, home: Sequence[float] = ()) -> None:
    """Make ``urdf`` one for a controller manager, in place.

    A block that is there already is the vendor's way to its own hardware: on a robot it stays, and must command the
    joints of ``robot``; mock and simulated hardware take its place. ``home``: (A,) rad, where mock and simulated
    joints begin, 0 by default. Raises ConfigError for joints that do not fit, and for an unknown hardware.
    """
    if hardware not in get_args(Hardware):
        raise ConfigError(f'hardware "{hardware}" is not known; use one of {", ".join(get_args(Hardware))}')
    tighten_limits(urdf, robot)
    blocks = urdf.findall('ros2_control')
    if blocks and hardware == 'robot':
        offered = [
            f'{joint.attrib["name"]}/{interface.attrib["name"]}'
            for block in blocks
            for joint in block.iterfind('joint')
            for interface in joint.iterfind('command_interface')
        ]
        check_interfaces(robot.names, offered)
        return
    for block in blocks:
        urdf.remove(block)
    urdf.append(make_block(urdf, robot, hardware, home))


def make_block(urdf: ET.Element, robot: Robot, hardware: str, home: Sequence[float]) -> ET.Element:
    """The ``<ros2_control>`` element."""
    block = ET.Element('ros2_control', name=robot.name, type='system')
    plugin = ET.SubElement(block, 'hardware')
    ET.SubElement(plugin, 'plugin').text = MOCK if hardware == 'mock' else TOPICS
    for name, value in {} if hardware == 'mock' else PARAMETERS.items():
        ET.SubElement(plugin, 'param', name=name).text = value
    limits = {joint.attrib['name']: joint.find('limit') for joint in urdf.iterfind('joint')}
    for place, joint in enumerate(robot.joints):
        element = ET.SubElement(block, 'joint', name=joint.name)
        command = ET.SubElement(element, 'command_interface', name='position')
        state = ET.SubElement(element, 'state_interface', name='position')
        ET.SubElement(element, 'state_interface', name='velocity')
        if hardware != 'mock':  # the topic-based hardware fails where it is sent what no interface is there for
            ET.SubElement(element, 'state_interface', name='effort')
        limit = limits[joint.name]
        assert limit is not None  # tighten_limits has seen it
        for end, name in (('min', 'lower'), ('max', 'upper')):
            ET.SubElement(command, 'param', name=end).text = limit.attrib[name]
        start = min(max(home[place] if len(home) else 0.0, joint.lower), joint.upper)
        # A robot has no initial value: its command is not a number until the first one comes, so that starting
        # moves nothing. Only mock joints have an initial state: others are not known until they are heard of.
        for interface in {'mock': (command, state), 'sim': (command,)}.get(hardware, ()):
            ET.SubElement(interface, 'param', name='initial_value').text = f'{start:g}'
    for follower in followers(urdf, robot):
        element = ET.SubElement(block, 'joint', name=follower, mimic='true')
        for name in ('position', 'velocity'):
            ET.SubElement(element, 'state_interface', name=name)
    return block


def offered_states(description: str, robot: Robot) -> list[str]:
    """Of position, velocity and effort what every joint of ``robot`` has a state interface for: what is broadcast.

    ``description``: a URDF with its ``<ros2_control>`` block. A broadcaster that is told of others fails to start.
    """
    offered: dict[str, set[str]] = {name: set() for name in robot.names}
    for joint in ET.fromstring(description).iterfind('ros2_control/joint'):
        states = (item.attrib['name'] for item in joint.iterfind('state_interface'))
        offered.setdefault(joint.attrib['name'], set()).update(states)
    common = set.intersection(*(offered[name] for name in robot.names))
    return [name for name in ('position', 'velocity', 'effort') if name in common]


def followers(urdf: ET.Element, robot: Robot) -> list[str]:
    """Joints that follow one of the robot's. Raises ConfigError where an action would command one of them."""
    found = []
    for joint in urdf.iterfind('joint'):
        mimic, name = joint.find('mimic'), joint.attrib['name']
        if mimic is not None and name in robot.names:
            raise ConfigError(f'{name} follows {mimic.attrib["joint"]} in the URDF: take it out of the robot YAML')
        if mimic is not None and mimic.attrib['joint'] in robot.names:
            found.append(name)
    return found


def tighten_limits(urdf: ET.Element, robot: Robot) -> None:
    """The URDF's limits become the tighter of its own and the robot YAML's. Raises ConfigError."""
    joints = {joint.attrib['name']: joint for joint in urdf.iterfind('joint')}
    for joint in robot.joints:
        if joint.name not in joints:
            raise ConfigError(f'the URDF has no joint {joint.name}, which the robot YAML lists')
        limit = joints[joint.name].find('limit')
        if limit is None or not {'lower', 'upper', 'velocity'} <= set(limit.attrib):
            raise ConfigError(f'the URDF gives {joint.name} no <limit> with lower, upper and velocity')
        lower = max(float(limit.attrib['lower']), joint.lower)
        upper = min(float(limit.attrib['upper']), joint.upper)
        if not lower < upper:
            raise ConfigError(f'{joint.name}: the limits of URDF and robot YAML have no position in common')
        limit.set('lower', f'{lower:g}')
        limit.set('upper', f'{upper:g}')
        limit.set('velocity', f'{min(float(limit.attrib["velocity"]), joint.velocity):g}')
