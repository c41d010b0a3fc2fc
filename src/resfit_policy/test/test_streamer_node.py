"""The streamer as a process of its own, in real time and in lockstep."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from time import monotonic

import numpy as np
import pytest
from sensor_msgs.msg import JointState
from std_msgs.msg import Bool, Float64MultiArray
from std_srvs.srv import SetBool
from trajectory_msgs.msg import JointTrajectory

from resfit_policy.convert import set_stamp
from resfit_policy.ros import COMMAND, LATCHED, SENSOR
from resfit_policy.task import load_task
from resfit_policy.testing import NodeProcess, Probe, isolated_domain, nodes

TASK = load_task('woolly_ball')
NAMES = list(TASK.robot.names)
HOME = np.clip(np.zeros(29), TASK.robot.lower, TASK.robot.upper)
COMMANDS = 'position_controller/commands'


@pytest.fixture
def probe() -> Iterator[Probe]:
    with isolated_domain():
        made = Probe()
        yield made
        made.close()


def joints(stamp: int, positions: np.ndarray) -> JointState:
    message = JointState(name=NAMES, position=positions.tolist())
    set_stamp(message.header.stamp, stamp)
    return message


def test_real_time_commands_keep_their_rate_and_hold_when_targets_stop(tmp_path: Path, probe: Probe) -> None:
    node = NodeProcess(tmp_path, 'resfit_policy', 'streamer_node', autostart=True)
    with nodes(node):
        heard = probe.listen(Float64MultiArray, COMMANDS, 100)
        states = probe.node.create_publisher(JointState, 'joint_states', SENSOR)
        targets = probe.node.create_publisher(JointState, 'target', COMMAND)
        probe.until(lambda: states.get_subscription_count() and targets.get_subscription_count())
        probe.spin(0.2)
        assert not heard, 'it commands before it knows the pose'
        elsewhere = np.clip(HOME + 0.05, TASK.robot.lower, TASK.robot.upper)
        probe.until(lambda: states.publish(joints(TASK.period_ns, HOME)) or heard)
        targets.publish(joints(TASK.period_ns, elsewhere))
        for _ in range(5):  # a machine with other work is late for itself, but not every time
            heard.clear()
            begun = monotonic()
            probe.until(lambda: len(heard) >= 100)
            took = monotonic() - begun
            if 0.7 < took < 2.0:
                break
        else:
            raise AssertionError(f'not 100 Hz: 100 in {took:.2f} s')
        np.testing.assert_allclose(heard[-1].data, elsewhere, atol=1e-9)
        slack = np.clip(HOME + 0.03, TASK.robot.lower, TASK.robot.upper).astype(np.float32)
        late = joints(4 * TASK.period_ns, slack)  # three periods later, and no new target
        probe.insist(lambda: states.publish(late), lambda: np.allclose(heard[-1].data, slack, atol=1e-6), what='hold')
        targets.publish(joints(4 * TASK.period_ns, np.full(29, np.nan)))
        heard.clear()
        probe.until(lambda: len(heard) >= 20)
        np.testing.assert_allclose(heard[-1].data, slack, atol=1e-6)
        assert node.end(signal.SIGTERM) == 0
        assert 'Traceback' not in node.output


def test_a_trajectory_controller_gets_a_point_per_tick(tmp_path: Path, probe: Probe) -> None:
    topic = 'trajectory_controller/joint_trajectory'
    parameters = {'controller': 'trajectory', 'commands': topic, 'autostart': True}
    node = NodeProcess(tmp_path, 'resfit_policy', 'streamer_node', **parameters)
    pose = ((TASK.robot.lower + TASK.robot.upper) / 2).astype(np.float32)
    with nodes(node):
        heard = probe.listen(JointTrajectory, topic, 100)
        states = probe.node.create_publisher(JointState, 'joint_states', SENSOR)
        probe.until(lambda: states.publish(joints(TASK.period_ns, pose)) or heard)
        (point,) = heard[-1].points
        assert list(heard[-1].joint_names) == NAMES
        np.testing.assert_allclose(point.positions, pose, atol=1e-6)
        assert point.time_from_start.nanosec == TASK.tick_ns and point.time_from_start.sec == 0
        assert node.end() == 0


def test_lockstep_gives_every_tick_one_command_that_names_it(tmp_path: Path, probe: Probe) -> None:
    node = NodeProcess(tmp_path, 'resfit_policy', 'streamer_node', autostart=True, lockstep=True)
    with nodes(node):
        heard = probe.listen(Float64MultiArray, COMMANDS, 100)
        states = probe.node.create_publisher(JointState, 'joint_states', SENSOR)
        targets = probe.node.create_publisher(JointState, 'target', COMMAND)
        probe.until(lambda: states.get_subscription_count() and targets.get_subscription_count())
        probe.until(lambda: probe.node.count_publishers(COMMANDS))
        now = 5 * TASK.period_ns
        targets.publish(joints(now, HOME))
        for tick in range(TASK.ticks):
            stamp = now + tick * TASK.tick_ns
            probe.until(lambda stamp=stamp: states.publish(joints(stamp, HOME)) or heard)
            assert {int(item.layout.dim[0].label) for item in heard} == {stamp}
            probe.spin(0.1)
            heard.clear()
        states.publish(joints(now + TASK.period_ns, HOME))
        probe.spin(0.5)
        assert not heard, 'a command without a target'
        assert node.end() == 0


@pytest.mark.parametrize(
    ('parameters', 'said'),
    [
        ({'task': 'no_such_task'}, 'woolly_ball'),
        ({'tusk': 'woolly_ball'}, 'unknown parameter "tusk"'),
        ({'lockstep': 3}, 'expected bool'),
        ({'controller': 'effort'}, 'position, trajectory'),
        ({'controller': 'trajectory', 'lockstep': True}, 'lockstep needs controller position'),
    ],
)
def test_a_bad_parameter_is_one_clear_line_and_a_failure(tmp_path: Path, parameters: dict, said: str) -> None:
    with isolated_domain():
        node = NodeProcess(tmp_path, 'resfit_policy', 'streamer_node', **parameters)
        assert node.wait() == 2
    lines = [line for line in node.output.splitlines() if line.strip()]
    assert len(lines) == 1 and lines[0].startswith('error: ') and said in lines[0]


def test_only_the_service_releases_an_emergency_stop(tmp_path: Path, probe: Probe) -> None:
    node = NodeProcess(tmp_path, 'resfit_policy', 'streamer_node', autostart=True)
    with nodes(node):
        heard = probe.listen(Float64MultiArray, COMMANDS, 100)
        states = probe.node.create_publisher(JointState, 'joint_states', SENSOR)
        targets = probe.node.create_publisher(JointState, 'target', COMMAND)
        stop = probe.node.create_publisher(Bool, 'emergency_stop', LATCHED)
        told = probe.listen(Bool, 'emergency_stop', LATCHED)
        probe.until(lambda: all(item.get_subscription_count() for item in (states, targets, stop)))
        goal = np.clip(HOME + 0.1, TASK.robot.lower, TASK.robot.upper)

        def try_to_move(now: int) -> bool:
            heard.clear()
            for k in range(now, now + 10):
                states.publish(joints(k * TASK.period_ns, HOME))
                targets.publish(joints(k * TASK.period_ns, goal))
                probe.spin(0.05)
            return bool(np.abs(np.array(heard[-1].data) - HOME).max() > 0.02)

        assert try_to_move(1)
        stop.publish(Bool(data=True))
        probe.until(lambda: len(told) == 2, 3.0, 'the streamer to repeat the stop, for whoever starts anew')
        assert told[-1].data and not try_to_move(11)
        stop.publish(Bool(data=False))  # a button that is let go: no deliberate act
        told.clear()
        probe.until(lambda: told and told[-1].data, 3.0, 'the streamer to say that the stop stays')
        assert not try_to_move(21)
        assert probe.call(SetBool, 'set_emergency_stop', SetBool.Request(data=False)).success
        assert try_to_move(31)
        assert probe.call(SetBool, 'set_emergency_stop', SetBool.Request(data=True)).success
        assert not try_to_move(41)
