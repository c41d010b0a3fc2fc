"""A real controller manager: mock hardware, the simulation and a bridge behind it; skipped where there is none."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from manager import active, missing
from sensor_msgs.msg import JointState
from std_msgs.msg import Bool, Float64MultiArray
from std_srvs.srv import SetBool, Trigger

from resfit_bringup.graph import Graph, Options, collect_graph
from resfit_bringup.runner import GraphError, Runner
from resfit_learner.bags import read_log
from resfit_policy.convert import set_stamp, stamp_ns
from resfit_policy.ros import COMMAND, LATCHED, SENSOR
from resfit_policy.task import load_task
from resfit_policy.testing import Probe, isolated_domain
from resfit_sim.simulation import HOME

pytestmark = pytest.mark.skipif(bool(missing()), reason=missing())
TASK = load_task('woolly_ball')
NAMES = list(TASK.robot.names)
HERE = Path(__file__).parent
ARM = HERE / 'data' / 'small_arm'
HOLDING = {'joint_state_broadcaster', 'hold_controller'}
PATIENCE = 60.0  # s, for a manager to come up on a busy machine


@pytest.fixture
def probe() -> Iterator[Probe]:
    with isolated_domain():
        made = Probe()
        yield made
        made.close()


def body(folder: Path, **options: Any) -> Graph:
    """What stands for the robot: description, manager, its watch, and the streamer."""
    graph = collect_graph(Options(run_dir=folder, base='none', **options))
    ours = ('sim_node', 'robot_state_publisher', 'controller_manager', 'controllers_node', 'streamer_node')
    return Graph(graph.options, tuple(process for process in graph.processes if process.name in ours))


class Policy:
    """Publishes targets, and hears what becomes of them."""

    def __init__(self, probe: Probe, runner: Runner) -> None:
        self.probe, self.runner = probe, runner
        self.states = probe.listen(JointState, 'joint_states', SENSOR)
        self.targets = probe.node.create_publisher(JointState, 'target', COMMAND)

    def until(self, true: Callable[[], Any], what: str, timeout: float = PATIENCE) -> None:
        self.probe.until(lambda: (self.runner.check(), true())[1], timeout, what)

    def until_active(self, *names: str) -> None:
        self.until(lambda: active(self.probe) == {'joint_state_broadcaster', *names}, f'{names} active')

    @property
    def measured(self) -> np.ndarray:
        now = dict(zip(self.states[-1].name, self.states[-1].position, strict=True))
        return np.array([now[name] for name in self.names])

    names = NAMES

    def go(self, goal: np.ndarray, seconds: float) -> None:
        """Targets at 20 Hz."""
        for _ in range(round(20 * seconds)):
            message = JointState(name=self.names, position=goal.tolist())
            set_stamp(message.header.stamp, self.probe.node.get_clock().now().nanoseconds)
            self.targets.publish(message)
            self.probe.spin(0.05)


@pytest.mark.parametrize('controller', ['position', 'trajectory'])
def test_targets_reach_the_hardware_and_silence_means_hold(tmp_path: Path, probe: Probe, controller: str) -> None:
    with Runner(body(tmp_path, hardware='mock', controller=controller)) as runner:
        policy = Policy(probe, runner)
        policy.until_active(f'{controller}_controller')
        np.testing.assert_allclose(policy.measured, HOME, atol=1e-3)
        goal = np.clip(HOME + 0.2, TASK.robot.lower, TASK.robot.upper)
        policy.go(goal, 2.0)
        np.testing.assert_allclose(policy.measured, goal, atol=5e-3)
        assert list(policy.states[-1].name) == NAMES, 'the broadcaster has sorted the joints'
        subprocess.run(['kill', '-STOP', str(runner.pid('streamer_node'))], check=True)
        policy.until_active('hold_controller')
        np.testing.assert_allclose(policy.measured, goal, atol=5e-3)
        subprocess.run(['kill', '-CONT', str(runner.pid('streamer_node'))], check=True)
        policy.until_active(f'{controller}_controller')


def test_the_manager_clamps_position_and_speed_where_a_command_breaks_them(tmp_path: Path, probe: Probe) -> None:
    graph = body(tmp_path, hardware='mock')
    graph = replace(graph, processes=tuple(item for item in graph.processes if item.name != 'streamer_node'))
    with Runner(graph) as runner:
        policy = Policy(probe, runner)
        commands = probe.node.create_publisher(Float64MultiArray, 'position_controller/commands', COMMAND)
        policy.until_active('hold_controller')
        policy.until(lambda: commands.publish(Float64MultiArray(data=HOME.tolist())) or policy.states, 'states')
        policy.until(
            lambda: commands.publish(Float64MultiArray(data=HOME.tolist())) or 'position_controller' in active(probe),
            'the position controller',
        )
        wild = HOME.copy()
        wild[NAMES.index('head_j1')] = 2.0  # its limit is 1.483
        begun = len(policy.states)
        for _ in range(150):
            commands.publish(Float64MultiArray(data=wild.tolist()))
            probe.spin(0.01)
        states = policy.states[begun:]
        head = np.array([state.position[NAMES.index('head_j1')] for state in states])
        passed = np.diff([1e-9 * stamp_ns(state.header.stamp) for state in states])  # s; states may be lost
        assert head.max() == pytest.approx(1.483, abs=1e-6)
        assert (np.diff(head) < 2.8 * (passed + 0.02)).all(), 'faster than the limit, give or take two cycles'


@pytest.mark.parametrize('length', [28, 30])
def test_a_command_of_the_wrong_length_ends_in_a_hold_until_somebody_resumes(
    tmp_path: Path, probe: Probe, length: int
) -> None:
    with Runner(body(tmp_path, hardware='mock')) as runner:
        policy = Policy(probe, runner)
        policy.until_active('position_controller')
        wrong = probe.node.create_publisher(Float64MultiArray, 'position_controller/commands', COMMAND)
        probe.until(lambda: wrong.get_subscription_count() >= 1)
        before = policy.measured
        message = Float64MultiArray(data=[0.0] * length)  # between two of the streamer's, so not always seen
        policy.until(lambda: wrong.publish(message) or active(probe) == HOLDING, 'the hold')
        probe.spin(1.0)
        assert active(probe) == HOLDING, 'it took over again by itself'
        np.testing.assert_allclose(policy.measured, before, atol=0.03)
        assert probe.call(Trigger, 'controllers/resume', Trigger.Request()).success
        policy.until_active('position_controller')


def test_an_emergency_stop_holds_until_the_service_releases_it(tmp_path: Path, probe: Probe) -> None:
    with Runner(body(tmp_path, hardware='mock')) as runner:
        policy = Policy(probe, runner)
        policy.until_active('position_controller')
        stop = probe.node.create_publisher(Bool, 'emergency_stop', LATCHED)
        stop.publish(Bool(data=True))
        policy.until_active('hold_controller')
        stop.publish(Bool(data=False))  # may stop, and not release
        probe.spin(1.0)
        assert active(probe) == HOLDING
        assert probe.call(SetBool, 'set_emergency_stop', SetBool.Request(data=False)).success
        policy.until_active('position_controller')


def parameters(folder: Path, node: str, **values: Any) -> str:
    file = folder / 'params.yaml'
    file.write_text(yaml.safe_dump({node: {'ros__parameters': values}}))
    return str(file)


@pytest.mark.parametrize(
    ('node', 'values', 'said'),
    [
        ('controller_manager', {'enforce_command_limits': False}, 'enforce_command_limits: False'),
        ('controller_manager', {'update_rate': 50}, 'raise update_rate'),
        ('position_controller', {'joints': sorted(NAMES)}, 'in another order'),
        ('position_controller', {'joints': NAMES[1:]}, 'lacks R_arm_j1'),
    ],
)
def test_a_manager_that_is_not_what_it_must_be_is_refused(
    tmp_path: Path, probe: Probe, node: str, values: dict[str, Any], said: str
) -> None:
    given = parameters(tmp_path, node, **values)
    refused(body(tmp_path, hardware='mock', params_file=given), said)


def test_a_controller_that_cannot_be_activated_is_refused(tmp_path: Path, probe: Probe) -> None:
    given = parameters(tmp_path, 'joint_state_broadcaster', interfaces=['effort'])
    refused(body(tmp_path, hardware='mock', params_file=given), 'joint_state_broadcaster')


def test_a_description_without_the_block_is_refused(tmp_path: Path, probe: Probe) -> None:
    graph = body(tmp_path, hardware='mock')
    text = graph.named('robot_state_publisher').parameters['robot_description']
    bare = text[: text.index('<ros2_control')] + text[text.index('</ros2_control>') + len('</ros2_control>') :]
    refused(with_parameters(graph, {'robot_state_publisher': {'robot_description': bare}}), 'have a description')


def with_parameters(graph: Graph, more: dict[str, dict[str, Any]]) -> Graph:
    """The graph with other parameters, and a watch that does not wait long."""
    more = {'controllers_node': {'patience': 15.0}} | more
    processes = (replace(item, parameters={**item.parameters, **more.get(item.name, {})}) for item in graph.processes)
    return replace(graph, processes=tuple(processes))


def refused(graph: Graph, said: str) -> None:
    """The graph ends by itself, and says why in one line."""
    ended = pytest.raises(GraphError, match='controllers_node ended with exit code 2')
    with ended as error, Runner(with_parameters(graph, {})) as runner:
        runner.wait()
    assert said in str(error.value)


def test_without_a_bridge_nothing_moves_and_a_lost_one_stops_the_joint_states(tmp_path: Path, probe: Probe) -> None:
    options = {'hardware': 'robot', 'task': str(ARM / 'task.yaml'), 'urdf': str(ARM / 'small_arm.urdf')}
    commands = probe.listen(JointState, 'hardware/joint_commands', COMMAND)
    run = [sys.executable, str(HERE / 'bridge.py'), str(ARM / 'task.yaml')]
    bridge = None
    with Runner(body(tmp_path, **options)) as runner:
        try:
            policy = Policy(probe, runner)
            policy.names = list(load_task(str(ARM / 'task.yaml')).robot.names)
            policy.until(lambda: len(commands) > 20, 'commands of the manager')
            assert not np.isfinite(commands[-1].position).any(), 'a command, and nobody knows where the arm is'
            bridge = subprocess.Popen(run)
            policy.until_active('position_controller')
            bridge.send_signal(signal.SIGKILL)
            policy.until(lambda: active(probe) == {'hold_controller'}, 'a hold without joint states')
            count = len(policy.states)
            probe.spin(0.5)
            assert len(policy.states) == count, 'old joint states with new stamps'
            bridge = subprocess.Popen(run)
            policy.until_active('position_controller')
        finally:
            if bridge is not None:
                bridge.kill()


def test_an_expert_succeeds_through_the_manager_with_the_simulation_behind_it(tmp_path: Path, probe: Probe) -> None:
    options = Options(run_dir=tmp_path, base='resfit_sim.experts:unseen', hardware='sim', seed=40, max_episodes=3)
    states = probe.listen(JointState, 'joint_states', SENSOR)
    with Runner(collect_graph(options)) as runner:
        probe.until(lambda: not runner.check(), 180.0, 'the end of three episodes')
    episodes = list(read_log(tmp_path))
    assert len(episodes) == 3 and sum(episode.success for episode in episodes) >= 2
    for episode in episodes:
        np.testing.assert_allclose(episode.state[0, :29], HOME, atol=0.1)  # it began where the reset put it
    assert len(states) > 1000
    assert np.isfinite(states[-1].effort).all() and len(states[-1].effort) == 29  # what the effort limit looks at
