"""The robot description (URDF with its ``<ros2_control>`` block) for mock hardware, simulation and robot.

``description/vega.urdf.xacro`` adds the block to the vendor's URDF. What xacro cannot change in an included
file is changed here: meshes get absolute addresses, so that RViz finds them; torso (at the angles of the
tasks) and wheels are fixed, so that their frames need no joint states; limits become the tighter of the
vendor's and the robot YAML's.
"""

from __future__ import annotations

import sys
import xml.etree.ElementTree as ET
from typing import Literal, get_args

import xacro

from resfit_bringup.share import share_folder
from resfit_policy.task import Robot
from resfit_sim.model import ROBOT_YAML, TORSO, URDF, load_robot
from resfit_sim.simulation import HOME

Hardware = Literal['mock', 'sim', 'robot']


def robot_description(hardware: str) -> str:
    """The URDF as text. Raises ValueError for a hardware that is none of mock, sim and robot."""
    if hardware not in get_args(Hardware):
        raise ValueError(f'hardware "{hardware}" is not known; use one of {", ".join(get_args(Hardware))}')
    arguments = {
        'urdf': str(URDF),
        'joints': str(ROBOT_YAML),
        'home': ' '.join(f'{angle:g}' for angle in HOME),
        'hardware': hardware,
    }
    source = share_folder() / 'description' / 'vega.urdf.xacro'
    robot = ET.fromstring(xacro.process_file(str(source), mappings=arguments).toxml())
    _find_meshes(robot)
    _fix_base(robot)
    _tighten_limits(robot, load_robot())
    return ET.tostring(robot, encoding='unicode')


def _find_meshes(robot: ET.Element) -> None:
    for mesh in robot.iter('mesh'):
        mesh.set('filename', (URDF.parent / mesh.attrib['filename']).as_uri())


def _fix_base(robot: ET.Element) -> None:
    """Turn torso and wheel joints into fixed ones. The torso joints turn about y, one way or the other."""
    for joint in robot.iterfind('joint'):
        name = joint.attrib['name']
        origin, axis = joint.find('origin'), joint.find('axis')
        if name in TORSO:
            direction = {'0 1 0': 1.0, '0 -1 0': -1.0}.get('' if axis is None else axis.attrib['xyz'])
            if direction is None or origin is None or origin.attrib['rpy'] != '0 0 0':
                raise ValueError(f'{URDF}: {name} does not turn about y; install dexmate-urdf 0.8.4')
            origin.set('rpy', f'0 {direction * TORSO[name]:.6f} 0')
        elif '_wheel_' not in name:
            continue
        joint.set('type', 'fixed')
        for part in ('axis', 'limit'):
            for child in joint.findall(part):
                joint.remove(child)


def _tighten_limits(robot: ET.Element, task_robot: Robot) -> None:
    limits = {joint.attrib['name']: joint.find('limit') for joint in robot.iterfind('joint')}
    for joint in task_robot.joints:
        limit = limits.get(joint.name)
        if limit is None:
            raise ValueError(f'{URDF}: no limits for {joint.name}, which {ROBOT_YAML} lists')
        limit.set('lower', f'{max(float(limit.attrib["lower"]), joint.lower):g}')
        limit.set('upper', f'{min(float(limit.attrib["upper"]), joint.upper):g}')
        limit.set('velocity', f'{min(float(limit.attrib["velocity"]), joint.velocity):g}')


if __name__ == '__main__':
    sys.stdout.write(robot_description(sys.argv[1] if len(sys.argv) > 1 else 'mock') + '\n')
