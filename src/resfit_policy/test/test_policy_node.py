"""The policy as a process: acts on fresh observations, and on nothing else."""

from __future__ import annotations

import hashlib
import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import Point, Pose, PoseArray
from lifecycle_msgs.srv import GetState
from sensor_msgs.msg import JointState
from std_msgs.msg import Bool

from resfit_msgs.msg import AuthorityState, EpisodeState, LearnerStatus, PolicyStep, PolicyWeights
from resfit_msgs.srv import SetAuthority
from resfit_policy.actor import ActorConfig, Exploration, ResidualActor, config_hash, pack_actor
from resfit_policy.convert import read_step, set_stamp, stamp_ns, to_array
from resfit_policy.ros import COMMAND, LATCHED, LOG, SENSOR
from resfit_policy.task import load_task
from resfit_policy.testing import NodeProcess, Probe, isolated_domain, nodes

TASK = load_task('woolly_ball')
HOME = ((TASK.robot.lower + TASK.robot.upper) / 2).astype(np.float32)
START = 10 * TASK.period_ns


class Robot:
    """Publishes what the policy listens to, and hears what it says."""

    def __init__(self, probe: Probe) -> None:
        self.probe, node = probe, probe.node
        self.joints = node.create_publisher(JointState, 'joint_states', SENSOR)
        self.objects = node.create_publisher(PoseArray, 'object_poses', SENSOR)
        self.episode = node.create_publisher(EpisodeState, 'episode', LATCHED)
        self.weights = node.create_publisher(PolicyWeights, 'learner/weights', LATCHED)
        self.targets = probe.listen(JointState, 'target', COMMAND)
        self.steps = probe.listen(PolicyStep, 'policy/step', LOG)
        self.authority = probe.listen(AuthorityState, 'policy/authority', LATCHED)
        self.ready()

    def ready(self) -> None:
        ours = (self.joints, self.objects, self.episode, self.weights)
        self.probe.until(lambda: all(item.get_subscription_count() for item in ours), 30.0, 'the policy')
        self.probe.until(lambda: self.probe.node.count_publishers('target'))
        self.probe.spin(0.3)

    def begin(self, episode_id: int, stamp: int) -> None:
        message = EpisodeState(episode_id=episode_id, task=TASK.name, phase=EpisodeState.RUNNING)
        message.horizon, message.arm = TASK.horizon, EpisodeState.RESIDUAL
        set_stamp(message.header.stamp, stamp)
        self.episode.publish(message)
        self.probe.spin(0.1)

    def see(self, stamp: int, positions: np.ndarray = HOME, height: float = 0.5, poses: bool = True) -> None:
        if poses:
            seen = PoseArray(poses=[Pose(position=Point(x=0.1, y=0.2, z=height))] * len(TASK.objects))
            set_stamp(seen.header.stamp, stamp)
            self.objects.publish(seen)
        message = JointState(name=list(TASK.robot.names), position=positions.tolist())
        set_stamp(message.header.stamp, stamp)
        self.joints.publish(message)

    def act(self, stamp: int, positions: np.ndarray = HOME) -> PolicyStep:
        """Show one observation, as often as the simulation would, and return the step it led to."""
        before = len(self.steps)
        self.probe.insist(lambda: self.see(stamp, positions), lambda: len(self.steps) > before, 30.0, f'step {stamp}')
        return self.steps[-1]

    @property
    def commanded(self) -> set[int]:
        """Stamps of the targets; that of an observation which is shown again is sent again."""
        return {stamp_ns(target.header.stamp) for target in self.targets}


@pytest.fixture(scope='module')
def policy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[NodeProcess, Robot]]:
    os.environ['PYTHONPATH'] = f'{Path(__file__).parent}{os.pathsep}{os.environ.get("PYTHONPATH", "")}'
    folder = tmp_path_factory.mktemp('policy')
    with isolated_domain():
        parameters = {'base': 'toy_bases:Hold', 'max_age': 0.0, 'autostart': True}
        node = NodeProcess(folder, 'resfit_policy', 'policy_node', **parameters)
        probe = Probe()
        with nodes(node):
            yield node, Robot(probe)
        probe.close()


def weights(version: int, value: float = 1.0) -> PolicyWeights:
    actor = ResidualActor(ActorConfig(TASK.state_size, TASK.action_size, TASK.action_size, (8,)))
    torch.nn.init.constant_(actor.net[-1].bias, value)
    data = pack_actor(actor, Exploration(), version)
    message = PolicyWeights(version=version, config_hash=config_hash(actor.config))
    message.sha256, message.data = hashlib.sha256(data).hexdigest(), to_array(np.frombuffer(data, np.uint8), 'B')
    return message


def test_one_step_per_period_with_all_that_the_learner_needs(policy: tuple[NodeProcess, Robot]) -> None:
    robot = policy[1]
    robot.see(START - TASK.tick_ns)
    robot.begin(1, START)
    assert not robot.steps, 'it acted before the episode'
    first = robot.act(START)
    for tick in range(1, TASK.ticks):
        robot.see(START + tick * TASK.tick_ns, poses=False)
    robot.probe.spin(0.3)
    assert len(robot.steps) == 1 and robot.commanded == {START}
    assert len({tuple(target.position) for target in robot.targets}) == 1
    second = robot.act(START + TASK.period_ns)
    assert [first.step, second.step] == [0, 1] and first.episode_id == 1
    record = read_step(first)
    np.testing.assert_array_equal(record.state[:29], HOME)
    np.testing.assert_array_equal(record.base_action, HOME)
    np.testing.assert_array_equal(record.executed_action, record.base_action)
    assert record.stamp == START and record.authority == 0.0 and record.weights_version == 0
    np.testing.assert_array_equal(np.float32(robot.targets[0].position), record.executed_action)
    assert stamp_ns(robot.targets[0].header.stamp) == START and robot.targets[0].name == list(TASK.robot.names)


def test_it_waits_for_a_late_stream_and_never_makes_one_up(policy: tuple[NodeProcess, Robot]) -> None:
    robot = policy[1]
    stamp = 100 * TASK.period_ns
    robot.begin(2, stamp)
    before = len(robot.steps)
    robot.see(stamp, poses=False)
    robot.probe.spin(0.4)
    assert len(robot.steps) == before, 'it acted on object poses of another time'
    robot.act(stamp)


def test_an_action_that_is_not_finite_is_not_sent(policy: tuple[NodeProcess, Robot]) -> None:
    robot = policy[1]
    stamp = 200 * TASK.period_ns
    robot.begin(3, stamp)
    robot.see(stamp, height=-1.0)
    robot.probe.spin(0.4)
    assert stamp not in robot.commanded
    robot.act(stamp)


def test_weights_act_from_the_next_step_and_bad_ones_are_refused(policy: tuple[NodeProcess, Robot]) -> None:
    node, robot = policy
    stamp = 300 * TASK.period_ns
    robot.begin(4, stamp)
    assert robot.act(stamp).weights_version == 0
    heard = robot.probe.listen(DiagnosticArray, 'diagnostics', 10)
    robot.weights.publish(weights(1))
    taken = ('weights_version', '1')
    robot.probe.until(lambda: heard and taken in [(item.key, item.value) for item in heard[-1].status[0].values])
    step = robot.act(stamp + TASK.period_ns)
    assert step.weights_version == 1 and np.abs(np.array(step.residual)).max() > 0.01
    assert step.authority == pytest.approx(0.05), 'within an episode the residual ramps in, over a second'
    wrong_hash, not_finite, other_shape = weights(2), weights(2, np.nan), weights(2)
    wrong_hash.sha256 = 'f' * 64
    other_shape.config_hash = 'other'
    for count, message in enumerate((wrong_hash, not_finite, other_shape, PolicyWeights(version=2)), 1):
        robot.weights.publish(message)
        robot.probe.until(lambda count=count: node.output.count('refused, 1 stay') == count, what='the refusal')
    assert robot.act(stamp + 2 * TASK.period_ns).weights_version == 1
    assert node.output.count('refused') >= 4
    robot.probe.until(lambda: robot.authority and robot.authority[-1].reason, what='the fall-back')
    state = robot.authority[-1]
    assert state.authority == 0.0 and 'refused 3 times in a row' in state.reason
    assert robot.probe.call(SetAuthority, 'set_authority', SetAuthority.Request(authority=1.0)).success
    robot.probe.until(lambda: not robot.authority[-1].reason)
    assert robot.authority[-1].authority == 1.0


def test_a_diverging_critic_a_silent_learner_or_failures_take_the_residual_away(tmp_path: Path) -> None:
    parameters = {'base': 'toy_bases:Hold', 'learner_silence': 5.0, 'base_successes': 45, 'base_episodes': 50}
    with isolated_domain():
        probe = Probe()
        node = NodeProcess(tmp_path, 'resfit_policy', 'policy_node', autostart=True, **parameters)
        with nodes(node):
            robot = Robot(probe)
            learner = probe.node.create_publisher(LearnerStatus, 'learner/status', LATCHED)
            probe.until(lambda: learner.get_subscription_count() and robot.authority)
            assert robot.authority[-1].authority == 1.0

            def falls(why: str, act: Callable[[], None] = lambda: None) -> None:
                probe.insist(act, lambda: why in robot.authority[-1].reason, what=why)
                assert robot.authority[-1].authority == 0.0
                assert probe.call(SetAuthority, 'set_authority', SetAuthority.Request(authority=0.5)).success
                probe.until(lambda: robot.authority[-1].authority == 0.5)

            def fail() -> None:
                for number in range(20):
                    over = EpisodeState(episode_id=number, task=TASK.name, phase=EpisodeState.FAILURE)
                    over.arm = EpisodeState.RESIDUAL
                    robot.episode.publish(over)
                    probe.spin(0.05)

            # Of what comes faster than the policy looks, it hears only the newest.
            falls('the critic diverges: mean Q 3.00', lambda: learner.publish(LearnerStatus(updates=10, q_mean=3.0)))
            learner.publish(LearnerStatus(updates=10, q_mean=0.5))
            falls('nothing was heard of the learner for')
            falls('the last 20 episodes succeeded at 0%', fail)
        probe.close()


def test_a_stop_ends_the_episode_for_the_policy_and_the_next_one_waits_for_the_release(
    policy: tuple[NodeProcess, Robot],
) -> None:
    robot = policy[1]
    stop = robot.probe.node.create_publisher(Bool, 'emergency_stop', LATCHED)
    robot.probe.until(lambda: stop.get_subscription_count())
    stamp = 350 * TASK.period_ns
    robot.begin(7, stamp)
    robot.act(stamp)
    stop.publish(Bool(data=True))
    robot.probe.until(lambda: robot.authority[-1].stopped, what='the stop')
    before = len(robot.steps)
    robot.see(stamp + TASK.period_ns)
    robot.begin(8, stamp + 2 * TASK.period_ns)
    robot.see(stamp + 2 * TASK.period_ns)
    robot.probe.spin(0.3)
    assert len(robot.steps) == before
    stop.publish(Bool(data=False))
    robot.probe.until(lambda: not robot.authority[-1].stopped)
    robot.see(stamp + 3 * TASK.period_ns)
    robot.probe.spin(0.2)
    assert len(robot.steps) == before, 'it went on in the middle of an episode'
    robot.begin(9, stamp + 4 * TASK.period_ns)
    assert robot.act(stamp + 4 * TASK.period_ns).step == 0


def test_what_would_collide_is_not_executed(tmp_path: Path) -> None:
    with isolated_domain():
        probe = Probe()
        node = NodeProcess(tmp_path, 'resfit_policy', 'policy_node', base='toy_bases:Fold', max_age=0.0, autostart=True)
        with nodes(node):
            robot = Robot(probe)
            robot.begin(1, START)
            at, held = HOME, False
            for k in range(60):
                step = robot.act(START + k * TASK.period_ns, at)
                at, held = np.array(step.executed_action, np.float32), bool(step.flags & PolicyStep.HELD)
                if held:
                    break
            assert held and k > 3, 'the way to the lower limits of all joints leads through the arm itself'
            assert (at > TASK.robot.lower.astype(np.float32) + 0.1).any()
        probe.close()


def test_authority_zero_is_the_base_to_the_bit(policy: tuple[NodeProcess, Robot]) -> None:
    robot = policy[1]
    refused = robot.probe.call(SetAuthority, 'set_authority', SetAuthority.Request(authority=1.5))
    assert not refused.success
    assert robot.probe.call(SetAuthority, 'set_authority', SetAuthority.Request(authority=0.0)).success
    stamp = 400 * TASK.period_ns
    robot.begin(5, stamp)
    step = robot.act(stamp)
    assert step.authority == 0.0 and bytes(step.executed_action) == bytes(step.base_action)


def test_the_step_after_the_horizon_is_final_and_commands_nothing(policy: tuple[NodeProcess, Robot]) -> None:
    robot = policy[1]
    stamp = 500 * TASK.period_ns
    robot.begin(6, stamp)
    for k in range(TASK.horizon):
        step = robot.act(stamp + k * TASK.period_ns)
    assert step.step == TASK.horizon - 1 and not step.flags & PolicyStep.FINAL
    robot.probe.until(lambda: stamp + k * TASK.period_ns in robot.commanded, what='the last target')
    commanded = robot.commanded
    final = robot.act(stamp + TASK.horizon * TASK.period_ns)
    robot.probe.spin(0.2)
    assert final.step == TASK.horizon and final.flags & PolicyStep.FINAL and robot.commanded == commanded


def test_the_control_step_is_quick(policy: tuple[NodeProcess, Robot]) -> None:
    times = [item.compute_ms for item in policy[1].steps]
    assert len(times) > 100
    # A machine with other work is slow for itself, but not all the time: the best of five stretches.
    assert min(np.percentile(stretch, 90) for stretch in np.array_split(times, 5)) < 10.0


def test_it_is_a_lifecycle_node_and_ends_cleanly(policy: tuple[NodeProcess, Robot]) -> None:
    node, robot = policy
    state = robot.probe.call(GetState, 'policy_node/get_state', GetState.Request())
    assert state.current_state.label == 'active'
    assert node.end(signal.SIGINT) == 0
    assert 'Traceback' not in node.output


@pytest.mark.parametrize('base', ['', '/nowhere', 'no_such_module:factory'])
def test_without_a_base_it_says_so_and_fails(tmp_path: Path, base: str) -> None:
    with isolated_domain():
        parameters = {'base': base} if base else {}
        node = NodeProcess(tmp_path, 'resfit_policy', 'policy_node', autostart=True, **parameters)
        assert node.wait() == 2
    assert 'error: ' in node.output and 'Traceback' not in node.output


@pytest.mark.parametrize(
    ('parameters', 'said'),
    [
        ({'residual_limit': -0.1}, 'parameter residual_limit is -0.1: it must lie in [0, inf]'),
        ({'authority': 1.5}, 'parameter authority is 1.5: it must lie in [0, 1]'),
        ({'base_successes': 50, 'base_episodes': 20}, 'base_successes is above base_episodes'),
        ({'base': 'toy_bases:broken'}, "KeyError: 'no model'"),
    ],
)
def test_what_it_cannot_be_told_is_refused_with_the_reason(tmp_path: Path, parameters: dict, said: str) -> None:
    with isolated_domain(), pytest.MonkeyPatch.context() as patch:
        patch.setenv('PYTHONPATH', str(Path(__file__).parent), prepend=':')
        parameters = {'base': 'toy_bases:Hold', 'autostart': True} | parameters
        node = NodeProcess(tmp_path, 'resfit_policy', 'policy_node', **parameters)
        assert node.wait() == 2
    assert f'error: {said}' in node.output


def test_weights_that_are_judged_are_out_of_reach_of_a_learner_of_another_run(tmp_path: Path) -> None:
    file = tmp_path / 'actor.safetensors'
    file.write_bytes(bytes(weights(7).data))
    with isolated_domain(), pytest.MonkeyPatch.context() as patch:
        patch.setenv('PYTHONPATH', str(Path(__file__).parent), prepend=':')
        parameters = {'base': 'toy_bases:Hold', 'weights': str(file), 'autostart': True}
        node = NodeProcess(tmp_path, 'resfit_policy', 'policy_node', **parameters)
        probe = Probe()
        with nodes(node):
            probe.until(lambda: probe.node.count_subscribers('episode') and probe.node.count_publishers('diagnostics'))
            probe.spin(0.5)
            assert not probe.node.count_subscribers('learner/weights')
            assert not probe.node.count_subscribers('learner/status')
        probe.close()


def test_weights_with_an_encoder_of_their_own_do_without_the_features_of_the_base(tmp_path: Path) -> None:
    config = ActorConfig(TASK.state_size, TASK.action_size, 4, (8,), encoder='cnn', cameras=2)
    file = tmp_path / 'actor.safetensors'
    file.write_bytes(pack_actor(ResidualActor(config), Exploration(), 1))
    with isolated_domain(), pytest.MonkeyPatch.context() as patch:
        patch.setenv('PYTHONPATH', str(Path(__file__).parent), prepend=':')
        parameters = {'base': 'toy_bases:Eyes', 'weights': str(file), 'autostart': True}
        blind = NodeProcess(tmp_path, 'resfit_policy', 'policy_node', **parameters)
        assert blind.wait() and 'see images: set vision to true' in blind.output
        node, probe = NodeProcess(tmp_path, 'resfit_policy', 'policy_node', **parameters, vision=True), Probe()
        with nodes(node):
            probe.until(lambda: probe.node.count_subscribers('episode'), what='the policy')
        probe.close()


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize('after', [0.1, 0.9, 1.7])
def test_a_signal_while_it_starts_ends_it_quietly(tmp_path: Path, after: float, number: signal.Signals) -> None:
    with isolated_domain():
        node = NodeProcess(tmp_path, 'resfit_policy', 'policy_node', autostart=True, base='toy_bases:Hold')
        until_caught(node, signal.SIGTERM)  # Python itself takes a while to start
        time.sleep(after)
        assert node.end(number) == 0
    assert node.output == ''


def until_caught(node: NodeProcess, number: signal.Signals) -> None:
    """Wait until the process has a handler for the signal."""
    status, end = Path(f'/proc/{node.process.pid}/status'), time.monotonic() + 60
    while not int(re.findall(r'SigCgt:\s*(\w+)', status.read_text())[0], 16) >> (number - 1) & 1:
        assert time.monotonic() < end and node.process.poll() is None, node.output
        time.sleep(0.01)
