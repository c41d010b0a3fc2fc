"""The simulated robot as a process: lockstep, real time, resets."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from geometry_msgs.msg import PoseArray
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import Image, JointState
from std_msgs.msg import Float64MultiArray, MultiArrayDimension

from resfit_msgs.msg import Reward
from resfit_msgs.srv import ResetScene
from resfit_policy.convert import image_to_rgb, stamp_ns
from resfit_policy.ros import COMMAND, EVENT, SENSOR
from resfit_policy.task import load_task
from resfit_policy.testing import NodeProcess, Probe, isolated_domain, nodes
from resfit_sim.rendering import _osmesa_works
from resfit_sim.simulation import Simulation

TASK = load_task('woolly_ball')
COMMANDS = 'position_controller/commands'


@pytest.fixture
def probe() -> Iterator[Probe]:
    with isolated_domain():
        made = Probe()
        yield made
        made.close()


def command(stamp: int, positions: np.ndarray) -> Float64MultiArray:
    message = Float64MultiArray(data=positions.tolist())
    message.layout.dim.append(MultiArrayDimension(label=str(stamp), size=29, stride=29))
    return message


def test_lockstep_moves_one_tick_per_command_and_equals_the_simulation_to_the_bit(tmp_path: Path, probe: Probe) -> None:
    node = NodeProcess(tmp_path, 'resfit_sim', 'sim_node', variant='unseen')
    with nodes(node):
        joints = probe.listen(JointState, 'joint_states', SENSOR)
        poses = probe.listen(PoseArray, 'object_poses', SENSOR)
        verdicts = probe.listen(Reward, 'oracle', EVENT)
        clock = probe.listen(Clock, 'clock', COMMAND)
        commands = probe.node.create_publisher(Float64MultiArray, COMMANDS, COMMAND)
        probe.until(lambda: commands.get_subscription_count())
        before = probe.call(ResetScene, 'sim/reset', ResetScene.Request(seed=5))
        response = probe.call(ResetScene, 'sim/reset', ResetScene.Request(seed=6))
        now = stamp_ns(response.stamp)
        assert response.success and now > stamp_ns(before.stamp), 'time went back'
        probe.until(lambda: joints and stamp_ns(joints[-1].header.stamp) == now, what='the tick, or its repetition')

        simulation = Simulation(TASK, 'unseen')
        simulation.reset(6)
        goal = simulation.joint_positions() + 0.05
        np.testing.assert_array_equal(joints[-1].position, simulation.joint_positions())
        assert joints[-1].name == list(TASK.robot.names)
        for _ in range(2 * TASK.ticks):
            commands.publish(command(now, goal))
            commands.publish(command(now, goal))  # answers to a tick that is over are dropped
            simulation.apply(goal)
            now += TASK.tick_ns
            probe.until(lambda now=now: stamp_ns(joints[-1].header.stamp) == now)
            np.testing.assert_array_equal(joints[-1].position, simulation.joint_positions())
        probe.spin(0.3)
        assert stamp_ns(joints[-1].header.stamp) == now, 'it moved without a command'
        boundary = {stamp_ns(item.header.stamp) for item in poses}
        assert {now, now - TASK.period_ns} <= boundary and now - TASK.tick_ns not in boundary
        stamps = (poses[-1].header.stamp, verdicts[-1].header.stamp, clock[-1].clock)
        assert [stamp_ns(stamp) for stamp in stamps] == [now] * 3
        position, quaternion = simulation.object_poses()[TASK.objects[0].name]
        seen = poses[-1].poses[0]
        np.testing.assert_array_equal([seen.position.x, seen.position.y, seen.position.z], position)
        assert seen.orientation.w == quaternion[3]
        assert not verdicts[-1].success and verdicts[-1].source == Reward.SIM

        heard = len(joints)
        probe.until(lambda: len(joints) > heard, what='the tick again for whoever missed it')
        assert stamp_ns(joints[-1].header.stamp) == now
        commands.publish(Float64MultiArray(data=[0.0] * 3))
        commands.publish(Float64MultiArray(data=[float('nan')] * 29))
        probe.spin(0.5)
        assert node.process.poll() is None, 'a bad command ended it'
        assert probe.call(ResetScene, 'sim/reset', ResetScene.Request(seed=1)).success
        assert node.end() == 0 and 'Traceback' not in node.output


def test_real_time_keeps_100_hz_and_holds_without_commands(tmp_path: Path, probe: Probe) -> None:
    node = NodeProcess(tmp_path, 'resfit_sim', 'sim_node', lockstep=False)
    with nodes(node):
        joints = probe.listen(JointState, 'joint_states', SENSOR)
        clock = probe.listen(Clock, 'clock', COMMAND)
        probe.until(lambda: len(joints) > 20 and clock)
        for _ in range(5):  # a machine with other work is late for itself, but not every time
            first, count = stamp_ns(joints[-1].header.stamp), len(joints)
            probe.spin(2.0)
            ticks, count = (stamp_ns(joints[-1].header.stamp) - first) / TASK.tick_ns, len(joints) - count
            if 120 < ticks < 220 and count > 0.8 * ticks:
                break
        else:
            raise AssertionError(f'{ticks} ticks in 2 s, {count} joint states')
        np.testing.assert_allclose(joints[-1].position, joints[0].position, atol=0.05)


def test_cameras_are_published_at_control_steps(tmp_path: Path, probe: Probe) -> None:
    node = NodeProcess(tmp_path, 'resfit_sim', 'sim_node', vision=True)
    with nodes(node):
        shots = [probe.listen(Image, f'{camera}/image', SENSOR) for camera in TASK.cameras]
        probe.until(lambda: all(shots), 40.0, 'images')
        for shot in shots:
            image = image_to_rgb(shot[-1], TASK.image_size)
            assert image.shape == (84, 84, 3) and image.std() > 5
        assert stamp_ns(shots[0][-1].header.stamp) == stamp_ns(shots[1][-1].header.stamp)
        assert node.end() == 0


@pytest.mark.skipif(_osmesa_works(), reason='OSMesa draws where EGL does not')
@pytest.mark.parametrize(
    ('variable', 'value', 'advice'),
    [('__EGL_VENDOR_LIBRARY_FILENAMES', '/nowhere', 'leave vision out'), ('MUJOCO_GL', 'osmesa', 'MUJOCO_GL=osmesa')],
)
def test_cameras_on_a_machine_that_cannot_draw_are_one_clear_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, advice: str
) -> None:
    monkeypatch.delenv('MUJOCO_GL', raising=False)
    monkeypatch.setenv(variable, value)
    with isolated_domain():
        node = NodeProcess(tmp_path, 'resfit_sim', 'sim_node', vision=True)
        assert node.wait() == 2
    assert 'Traceback' not in node.output
    assert [advice in line for line in node.output.splitlines() if line.startswith('error: ')] == [True]


def test_an_unknown_variant_is_one_clear_line(tmp_path: Path) -> None:
    with isolated_domain():
        node = NodeProcess(tmp_path, 'resfit_sim', 'sim_node', variant='no_such')
        assert node.wait() == 2
    assert node.output.startswith('error: ') and 'unseen' in node.output


def test_behind_ros2_control_it_follows_commands_by_name_once_they_come_near_its_pose(
    tmp_path: Path, probe: Probe
) -> None:
    node = NodeProcess(tmp_path, 'resfit_sim', 'sim_node', lockstep=False, ros2_control=True)
    with nodes(node):
        joints = probe.listen(JointState, 'hardware/joint_states', SENSOR)
        others = [probe.listen(JointState, 'joint_states', SENSOR), probe.listen(Clock, 'clock', COMMAND)]
        commands = probe.node.create_publisher(JointState, 'hardware/joint_commands', COMMAND)
        probe.until(lambda: commands.get_subscription_count() and joints, 30.0)
        wall = probe.node.get_clock().now().nanoseconds
        response = probe.call(ResetScene, 'sim/reset', ResetScene.Request(seed=3))
        assert stamp_ns(response.stamp) > wall, 'the episode would begin before the controllers have let go'
        names = list(TASK.robot.names)
        pose = dict(zip(names, joints[-1].position, strict=True))

        def send(offset: float, seconds: float) -> float:
            """Command the left elbow away from its pose, joints in another order; how far it got, in rad."""
            goal = {name: pose[name] + offset * (name == 'L_arm_j4') for name in reversed(names)}
            message = JointState(name=[*goal, 'L_th_j2'], position=list(goal.values()))
            for _ in range(round(seconds / 0.02)):
                commands.publish(message)
                probe.spin(0.02)
            return joints[-1].position[names.index('L_arm_j4')] - pose['L_arm_j4']

        commands.publish(JointState(name=names, position=[np.nan] * 29))
        assert abs(send(0.5, 0.6)) < 0.05, 'it followed a command from afar'
        assert abs(send(0.0, 0.2)) < 0.05
        assert send(0.3, 1.0) > 0.15
        assert abs(stamp_ns(joints[-1].header.stamp) - probe.node.get_clock().now().nanoseconds) < 2e8
        assert not any(others)
        assert node.end() == 0


def test_behind_ros2_control_there_is_no_lockstep(tmp_path: Path) -> None:
    with isolated_domain():
        node = NodeProcess(tmp_path, 'resfit_sim', 'sim_node', lockstep=True, ros2_control=True)
        assert node.wait() == 2
    assert 'set lockstep to false' in node.output
