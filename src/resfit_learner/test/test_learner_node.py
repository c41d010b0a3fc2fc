"""The learner as a node, with a replay node that has something to tell it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import rclpy
from test_learner import make_learner
from test_replay_log import add

from resfit_learner import learner_node
from resfit_learner.learner import Learner
from resfit_learner.learner_node import LearnerNode
from resfit_learner.replay_log import ReplayLog
from resfit_policy.ros import make_executor
from resfit_policy.task import ConfigError
from resfit_policy.testing import NodeProcess, isolated_domain, nodes


def made_small(node: LearnerNode) -> Learner:
    node.checkpoint = None
    return make_learner()


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LearnerNode]:
    monkeypatch.setattr(LearnerNode, 'make_learner', made_small)
    monkeypatch.setattr(learner_node, 'DISCOVERY', 0.0)
    with isolated_domain():
        rclpy.init(args=['--ros-args', '-p', f'directory:={tmp_path}'])
        node = LearnerNode()
        yield node
        node.destroy_node()
        rclpy.shutdown()


def spin(node: LearnerNode, true: Callable[[], object]) -> None:
    executor, end = make_executor(), time.monotonic() + 60.0
    executor.add_node(node)
    try:
        while not true():
            assert time.monotonic() < end, (node.learner.counters, node.state())
            executor.spin_once(0.05)
    finally:
        executor.remove_node(node)


def test_at_a_damaged_bag_learning_stops_says_why_and_goes_on_once_it_is_restored(
    tmp_path: Path, node: LearnerNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = ReplayLog(tmp_path / 'episodes')
    for number in (1, 2, 3):
        add(log, number)
    log.close()
    bag = next((tmp_path / 'episodes' / '000002-000002').glob('*.mcap'))
    whole = bag.read_bytes()
    bag.write_bytes(whole[:200])  # with an index that does not know
    with nodes(NodeProcess(tmp_path / 'log', 'resfit_learner', 'replay_node', directory=tmp_path)):
        spin(node, lambda: node.problem)
        assert node.learner.counters.sequence == 1, 'what comes before it is learned from'
        problem, *_ = node.state()
        assert '000002-000002 is damaged' in problem and 'remove it, or restore it' in problem
        with monkeypatch.context() as impatient:
            impatient.setattr(learner_node, 'PATIENCE', 0.0)
            with pytest.raises(ConfigError, match='cannot go on: .*000002-000002 is damaged.*start the run again'):
                spin(node, lambda: False)
        bag.write_bytes(whole)
        spin(node, lambda: node.learner.counters.sequence == 3)
        assert not node.state()[0]


def test_a_learner_that_was_left_running_does_not_act_in_another_run(tmp_path: Path, node: LearnerNode) -> None:
    log = ReplayLog(tmp_path / 'episodes')
    add(log, 1)
    log.close()
    with nodes(NodeProcess(tmp_path / 'log', 'resfit_learner', 'replay_node', directory=tmp_path)):
        spin(node, lambda: node.learner.counters.sequence == 1)
    another = NodeProcess(tmp_path / 'log', 'resfit_learner', 'replay_node', directory=tmp_path / 'another')
    with nodes(another), pytest.raises(ConfigError, match='another.* is not the one that .* has learned from'):
        spin(node, lambda: False)
