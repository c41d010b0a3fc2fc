"""Another robot needs a task YAML and a URDF: the small arm of test/data, through the same description and graph."""

from __future__ import annotations

import os
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from manager import active, missing
from sensor_msgs.msg import JointState

from resfit_bringup.description import robot_description
from resfit_bringup.graph import Graph, Options, collect_graph
from resfit_bringup.runner import Runner
from resfit_learner.bags import read_log
from resfit_policy.ros import SENSOR
from resfit_policy.task import ConfigError, Joint, load_task
from resfit_policy.testing import Probe, isolated_domain

HERE = Path(__file__).parent
ARM = HERE / 'data' / 'small_arm'
TASK, URDF = load_task(str(ARM / 'task.yaml')), str(ARM / 'small_arm.urdf')
ROBOT = TASK.robot
WITH_MANAGER = pytest.mark.skipif(bool(missing()), reason=missing())


def block(urdf: str) -> ET.Element:
    (found,) = ET.fromstring(urdf).iterfind('ros2_control')
    return found


@pytest.mark.parametrize('hardware', ['mock', 'sim', 'robot'])
def test_a_urdf_without_the_block_gets_one_for_the_joints_of_every_action(hardware: str) -> None:
    joints = block(robot_description(hardware, ROBOT, URDF)).findall('joint')
    assert [joint.attrib['name'] for joint in joints] == [*ROBOT.names, 'finger_right']
    assert [len(joint.findall('command_interface')) for joint in joints] == [1] * 7 + [0]
    assert joints[-1].get('mimic') == 'true' and len(joints[-1].findall('state_interface')) == 2


def test_the_tighter_limit_of_urdf_and_yaml_holds() -> None:
    wide = replace(ROBOT, joints=(Joint('joint_1', -9.0, 9.0, 9.0), *ROBOT.joints[1:]))
    limits = {
        joint.attrib['name']: joint.find('limit').attrib
        for joint in ET.fromstring(robot_description('robot', wide, URDF)).iterfind('joint')
    }
    assert [float(limits['joint_1'][key]) for key in ('lower', 'upper', 'velocity')] == [-2.9, 2.9, 3.1]
    assert [float(limits['joint_2'][key]) for key in ('lower', 'upper', 'velocity')] == [-1.8, 1.8, 1.5]


@pytest.fixture
def own_block(tmp_path: Path) -> Path:
    """The arm's URDF with a block of its vendor's."""
    urdf = ET.parse(URDF)
    made = ET.SubElement(urdf.getroot(), 'ros2_control', name='vendor', type='system')
    ET.SubElement(ET.SubElement(made, 'hardware'), 'plugin').text = 'vendor/Hardware'
    for name in ROBOT.names:
        ET.SubElement(ET.SubElement(made, 'joint', name=name), 'command_interface', name='position')
    urdf.write(tmp_path / 'arm.urdf')
    return tmp_path / 'arm.urdf'


def test_a_vendors_own_block_stays_on_the_robot_and_makes_room_for_mock_hardware(own_block: Path) -> None:
    plugins = {
        hardware: block(robot_description(hardware, ROBOT, str(own_block))).findtext('hardware/plugin')
        for hardware in ('robot', 'mock')
    }
    assert plugins == {'robot': 'vendor/Hardware', 'mock': 'mock_components/GenericSystem'}


def test_a_vendors_own_block_for_other_joints_is_refused(own_block: Path) -> None:
    fewer = replace(ROBOT, joints=ROBOT.joints[:-1])
    with pytest.raises(ConfigError, match='finger_left/position'):
        robot_description('robot', fewer, str(own_block))


@pytest.mark.parametrize(
    ('before', 'after', 'said'),
    [
        ('name="joint_3"', 'name="elbow"', 'no joint joint_3'),
        ('<limit lower="0"', '<range lower="0"', 'finger_left no <limit>'),
        ('lower="-2.9" upper="2.9"', 'lower="2.5" upper="2.9"', 'no position in common'),
        ('<joint name="finger_left" type="prismatic">', '<joint name="finger_left" type="prismatic">'
         '<mimic joint="joint_6"/>', 'finger_left follows joint_6'),
        ('</robot>', '', 'cannot read the URDF'),
    ],
)  # fmt: skip
def test_a_urdf_that_does_not_fit_the_robot_yaml_is_refused(tmp_path: Path, before: str, after: str, said: str) -> None:
    text = Path(URDF).read_text()
    assert before in text
    (tmp_path / 'arm.urdf').write_text(text.replace(before, after))
    with pytest.raises(ConfigError, match=said):
        robot_description('mock', ROBOT, str(tmp_path / 'arm.urdf'))


@pytest.mark.parametrize('hardware', ['real', 'direct'])
def test_unknown_hardware_is_refused(hardware: str) -> None:
    with pytest.raises(ConfigError, match='mock, sim, robot'):
        robot_description(hardware)


def test_a_robot_that_is_not_vega_needs_its_urdf(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match='launch argument urdf'):
        collect_graph(Options(run_dir=tmp_path, task=str(ARM / 'task.yaml'), base='b', hardware='robot'))


@pytest.fixture(autouse=True)
def bases_on_the_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('PYTHONPATH', f'{HERE}{os.pathsep}{os.environ.get("PYTHONPATH", "")}')


@contextmanager
def bridge(*arguments: str) -> Iterator[None]:
    child = subprocess.Popen([sys.executable, str(HERE / 'bridge.py'), str(ARM / 'task.yaml'), *arguments])
    try:
        yield
    finally:
        child.kill()
        child.wait()


def graph(folder: Path, hardware: str) -> Graph:
    """Policy, streamer, rewards and log; with ``direct``, without what ros2_control puts between."""
    options = Options(
        run_dir=folder,
        task=str(ARM / 'task.yaml'),
        base='arm_bases:ToMiddle',
        hardware='robot' if hardware == 'direct' else hardware,  # type: ignore[arg-type]
        urdf=URDF,
        max_episodes=1,
    )
    made = collect_graph(options)
    absent = ('robot_state_publisher', 'controller_manager', 'controllers_node') if hardware == 'direct' else ()
    return Graph(options, tuple(process for process in made.processes if process.name not in absent))


@pytest.mark.parametrize(
    'hardware', ['direct', pytest.param('mock', marks=WITH_MANAGER), pytest.param('robot', marks=WITH_MANAGER)]
)
def test_an_episode_of_the_small_arm_runs_through_the_graph(tmp_path: Path, hardware: str) -> None:
    with isolated_domain(), bridge(*(['direct'] if hardware == 'direct' else [])):
        probe = Probe()
        states = probe.listen(JointState, 'joint_states', SENSOR)
        with Runner(graph(tmp_path, hardware)) as runner:
            probe.until(lambda: runner.check() and states, 60.0, 'joint states')
            start = dict(zip(states[-1].name, states[-1].position, strict=True))
            if hardware != 'direct':
                expected = {'joint_state_broadcaster', 'position_controller'}
                probe.until(lambda: active(probe) == expected, 60.0, 'the position controller')

            def ready() -> bool:
                runner.check()
                return probe.ready()

            probe.until(ready, 60.0, 'the start of the episode')
            probe.until(lambda: not runner.check(), 120.0, 'the end of the graph')
        end = dict(zip(states[-1].name, states[-1].position, strict=True))
        probe.close()
    (episode,) = read_log(tmp_path)
    assert episode.task == 'small_arm_reach' and episode.length == TASK.horizon
    assert episode.executed_action.shape == (TASK.horizon + 1, 7)
    middle = (ROBOT.lower + ROBOT.upper) / 2
    before = np.abs([start[name] for name in ROBOT.names] - middle)
    after = np.abs([end[name] for name in ROBOT.names] - middle)
    assert (before > 0.005).all() or hardware == 'mock'
    assert after.max() < 0.1, 'the arm has not followed'
