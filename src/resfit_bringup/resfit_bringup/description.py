"""The robot description: a URDF with its ``<ros2_control>`` block, for mock hardware, simulation and robot.

Any robot's comes from a URDF file and its robot YAML (``resfit_bringup.ros2_control``). Vega's comes from the vendor's
package: ``description/vega.urdf.xacro`` adds frames to it. What xacro cannot change in an included file is changed
here: meshes get absolute addresses, so that RViz finds them; torso (at the angles of the tasks) and wheels are fixed,
so that their frames need no joint states.
"""

from __future__ import annotations

import sys
import xml.etree.ElementTree as ET

import xacro

from resfit_bringup.ros2_control import add_ros2_control
from resfit_bringup.share import share_folder
from resfit_policy.task import ConfigError, Robot
from resfit_sim.model import TORSO, URDF, load_robot
from resfit_sim.simulation import HOME


def robot_description(hardware: str, robot: Robot | None = None, urdf: str = '') -> str:
    """The URDF as text. ``robot`` and ``urdf``, the path of its URDF or xacro file; without them, Vega's.

    Raises ConfigError for a file that cannot be read, joints that do not fit, and an unknown ``hardware``.
    """
    vega, home = load_robot(), tuple(HOME)
    if urdf:
        element, home = read_urdf(urdf), ()
    elif robot is None or robot.name == vega.name:
        element = vega_urdf()
    else:
        raise ConfigError(f'the robot {robot.name} needs the path of its URDF file: launch argument urdf')
    add_ros2_control(element, robot or vega, hardware, home)
    return ET.tostring(element, encoding='unicode')


def read_urdf(path: str) -> ET.Element:
    """A URDF or xacro file as an element. Raises ConfigError."""
    try:
        return ET.fromstring(xacro.process_file(path).toxml())
    except Exception as error:  # noqa: BLE001 (xacro's own and expat's errors have no common kind)
        raise ConfigError(f'cannot read the URDF {path}: {error}') from None


def vega_urdf() -> ET.Element:
    """Vega as the vendor describes it, with our frames, meshes found, torso and wheels fixed."""
    source = share_folder() / 'description' / 'vega.urdf.xacro'
    element = ET.fromstring(xacro.process_file(str(source), mappings={'urdf': str(URDF)}).toxml())
    for mesh in element.iter('mesh'):
        mesh.set('filename', (URDF.parent / mesh.attrib['filename']).as_uri())
    _fix_base(element)
    return element


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


if __name__ == '__main__':
    sys.stdout.write(robot_description(sys.argv[1] if len(sys.argv) > 1 else 'mock') + '\n')
