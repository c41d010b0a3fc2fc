"""A base behind a service, and a slow one in the policy's own process, over real processes."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from test_policy_node import HOME, TASK, Robot

from resfit_msgs.srv import PredictChunk
from resfit_policy.convert import read_step, to_array
from resfit_policy.observation import Observation
from resfit_policy.remote_base import waiting_base
from resfit_policy.testing import NodeProcess, Probe, isolated_domain, nodes

START = 10 * TASK.period_ns
REMOTE = 'ros:predict_chunk'


@contextmanager
def graph(folder: Path, base: str, served: str = '', **parameters: Any) -> Iterator[Robot]:
    """A policy node, and a base server where ``served`` names a base."""
    path = f'{Path(__file__).parent}{os.pathsep}{os.environ.get("PYTHONPATH", "")}'
    with pytest.MonkeyPatch.context() as patch, isolated_domain():
        patch.setenv('PYTHONPATH', path)
        policy = NodeProcess(folder, 'resfit_policy', 'policy_node', base=base, autostart=True, **parameters)
        made = [policy]
        if served:
            made.append(NodeProcess(folder, 'resfit_policy', 'base_server_node', base=served))
        probe = Probe()
        with nodes(*made):
            probe.until(lambda: probe.node.count_subscribers('episode'), 120.0, 'the policy')
            robot = Robot(probe)
            robot.why = probe.listen(DiagnosticArray, 'diagnostics', 10)  # type: ignore[attr-defined]
            yield robot
            for node in made:
                assert node.end(signal.SIGINT) == 0 and 'Traceback' not in node.output, node.output
        probe.close()


@pytest.mark.parametrize('ahead', [0, 6])
def test_a_quick_remote_base_acts_as_it_would_in_this_process(tmp_path: Path, ahead: int) -> None:
    with graph(tmp_path, REMOTE, 'toy_bases:Ramp', base_ahead=ahead, max_age=0.0) as robot:
        robot.begin(1, START)
        seen = [(HOME + np.float32(1e-3 * k)).astype(np.float32) for k in range(25)]
        for k, positions in enumerate(seen):
            for _ in range(20):  # a tick is repeated when nobody answers, as the simulation does
                robot.see(START + k * TASK.period_ns, positions)
                with suppress(AssertionError):
                    robot.probe.until(lambda count=k: len(robot.steps) > count, 1.0)
                    break
        assert len(robot.steps) == len(seen)
        for k, step in enumerate(robot.steps):
            asked = max(k - ahead, 0) // 10 * 10
            expected = seen[asked] + np.float32(1e-4) * np.float32(k - asked)
            np.testing.assert_array_equal(read_step(step).base_action, expected)
            assert step.chunk_age == k - asked and step.step == k


@pytest.mark.parametrize('where', ['in the same process', 'remote'])
def test_300_ms_per_chunk_do_not_stall_the_loop(tmp_path: Path, where: str) -> None:
    base, served = (REMOTE, 'toy_bases:slow') if where == 'remote' else ('toy_bases:slow', '')
    with graph(tmp_path, base, served, base_ahead=9) as robot:
        for episode in (1, 2, 3):  # a machine with other work stalls for itself, but not every time
            begin = START + episode * 1000 * TASK.period_ns
            robot.begin(episode, begin)
            started = time.monotonic()
            for tick in range(400):  # 4 s of 100 Hz
                robot.see(begin + tick * TASK.tick_ns, poses=tick % TASK.ticks == 0)
                time.sleep(max(0.0, started + (tick + 1) * TASK.tick_ns * 1e-9 - time.monotonic()))
            robot.probe.spin(0.5)
            steps = [step for step in robot.steps if step.episode_id == episode]
            stamps = np.array([read_step(step).stamp - begin for step in steps]) * 1e-6  # ms
            longest = np.diff(stamps).max(initial=0.0)
            if len(steps) > 60 and longest <= 60:
                break
        else:
            raise AssertionError(f'{len(steps)} steps, the longest gap {longest} ms')
        assert stamps[0] >= 290, 'the first chunk takes 300 ms, and nothing is made up before it'
        ages = [step.chunk_age for step in steps]
        assert ages[:19] == list(range(19)) and set(ages[19:]) == set(range(9, 19))


class Server:
    """A server in the test's process that answers as it is told to."""

    def __init__(self, probe: Probe) -> None:
        self.mode, self.asked = 'good', []
        self.service = probe.node.create_service(PredictChunk, 'predict_chunk', self.answer)

    def answer(self, request: Any, response: Any) -> Any:
        self.asked.append(request)
        chunk = np.tile(np.array(request.state[:29], np.float32), (20, 1))
        names = list(request.joint_names)
        if self.mode == 'nan':
            chunk[7, 3] = np.nan
        response.success = self.mode != 'refused'
        response.message = '' if response.success else 'the model is still loading'
        response.joint_names = names[::-1] if self.mode == 'joints' else names
        response.actions = to_array(chunk)[:-1] if self.mode == 'shape' else to_array(chunk)
        return response


@pytest.fixture(scope='module')
def robot(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Robot]:
    with graph(tmp_path_factory.mktemp('remote'), REMOTE, base_deadline=0.5, max_age=0.0) as made:
        yield made


def see_until_said(robot: Any, stamp: int, why: str) -> None:
    """Show one observation again and again until the diagnostics name the reason."""
    end = time.monotonic() + 15
    while True:
        said = {status.message for message in robot.why for status in message.status}
        if any(why in message for message in said):
            return
        assert time.monotonic() < end, said
        robot.see(stamp)
        robot.probe.spin(0.2)


def test_without_a_server_it_does_not_act_and_says_so(robot: Any) -> None:
    robot.begin(1, START)
    robot.why.clear()
    see_until_said(robot, START, 'there is no server of predict_chunk')
    assert not robot.steps and not robot.targets
    server = Server(robot.probe)
    robot.probe.until(lambda: (robot.see(START), robot.probe.spin(0.1), robot.steps)[-1], 10.0, 'a step')
    robot.probe.node.destroy_service(server.service)
    robot.probe.spin(0.5)


@pytest.mark.parametrize(
    ('mode', 'why'),
    [
        ('nan', 'base: a chunk is not finite'),
        ('joints', 'base: a chunk is for other joints, or in another order'),
        ('shape', 'base: a chunk has 579 numbers'),
        ('refused', 'base: the server says: the model is still loading'),
    ],
)
def test_it_does_not_act_on_a_bad_answer_and_says_why_and_recovers(robot: Any, mode: str, why: str) -> None:
    server = Server(robot.probe)
    server.mode = mode
    begin = robot.sent = getattr(robot, 'sent', START) + 1000 * TASK.period_ns
    robot.probe.spin(0.5)  # for discovery
    steps, targets = len(robot.steps), len(robot.targets)
    robot.why.clear()
    robot.begin(begin // TASK.period_ns, begin)
    see_until_said(robot, begin, why)
    assert len(robot.steps) == steps and len(robot.targets) == targets
    server.mode = 'good'
    robot.probe.until(lambda: (robot.see(begin), robot.probe.spin(0.1), len(robot.steps) > steps)[-1], 10.0, 'a step')
    request = server.asked[-1]
    assert list(request.joint_names) == list(TASK.robot.names) and len(request.state) == TASK.state_size
    assert request.episode_id == begin // TASK.period_ns and request.step == 0 and request.instruction == TASK.name
    robot.probe.node.destroy_service(server.service)
    robot.probe.spin(0.5)


def test_it_does_not_act_on_an_answer_after_the_deadline(tmp_path: Path) -> None:
    with graph(tmp_path, REMOTE, 'toy_bases:stuck', base_deadline=0.5) as robot:  # 1.5 s
        robot.begin(1, START)
        see_until_said(robot, START, 'base: no answer within 0.5 s')
        for _ in range(20):
            robot.see(START)
            robot.probe.spin(0.1)
        assert not robot.steps and not robot.targets


def test_it_ends_quietly_in_the_middle_of_a_prediction(tmp_path: Path) -> None:
    with graph(tmp_path, 'toy_bases:stuck', base_ahead=5) as robot:  # whose end asserts it
        robot.begin(1, START)
        robot.see(START)
        robot.probe.spin(0.3)
        assert not robot.steps


def test_who_has_time_waits_for_each_answer(tmp_path: Path) -> None:
    path = f'{Path(__file__).parent}{os.pathsep}{os.environ.get("PYTHONPATH", "")}'
    with pytest.MonkeyPatch.context() as patch, isolated_domain():
        patch.setenv('PYTHONPATH', path)
        with nodes(NodeProcess(tmp_path, 'resfit_policy', 'base_server_node', base='toy_bases:slow')):
            rclpy.init()
            node = rclpy.create_node('learner')
            base = waiting_base(node, REMOTE, TASK)
            try:
                for _ in range(2):  # episodes
                    base.reset()
                    state = np.concatenate([HOME, np.full(TASK.state_size - 29, 0.5, np.float32)])
                    for k in range(12):
                        seen = state + np.float32(k)
                        asked = state[:29] + np.float32(k // 10 * 10)
                        expected = asked + np.float32(1e-4) * np.float32(k % 10)
                        np.testing.assert_array_equal(base.act(Observation(seen)), expected)
            finally:
                node.destroy_node()
                rclpy.shutdown()
