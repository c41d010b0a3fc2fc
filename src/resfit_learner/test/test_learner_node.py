"""The learner as a node, with a replay node that has something to tell it."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import rclpy
from test_learner import make_learner
from test_replay_log import add

from resfit_learner import learner_node
from resfit_learner.checkpoint import latest_checkpoint, load_checkpoint
from resfit_learner.learner import Learner
from resfit_learner.learner_node import LearnerNode
from resfit_learner.replay_log import ReplayLog
from resfit_policy import ros
from resfit_policy.ros import make_executor
from resfit_policy.task import ConfigError
from resfit_policy.testing import NodeProcess, isolated_domain, nodes


def made_small(node: LearnerNode) -> Learner:
    learner, node.checkpoint = make_learner(), latest_checkpoint(node.folder / 'checkpoints')
    if node.checkpoint is not None:
        load_checkpoint(learner, node.checkpoint)
    return learner


@contextmanager
def started(folder: Path) -> Iterator[LearnerNode]:
    rclpy.init(args=['--ros-args', '-p', f'directory:={folder}'])
    node = LearnerNode()
    try:
        yield node
    finally:
        node.lock.close()
        node.destroy_node()
        rclpy.shutdown()


@pytest.fixture
def domain(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(LearnerNode, 'make_learner', made_small)
    monkeypatch.setattr(ros, 'DISCOVERY', 0.0)
    with isolated_domain():
        yield


@pytest.fixture
def node(tmp_path: Path, domain: None) -> Iterator[LearnerNode]:
    with started(tmp_path) as node:
        yield node


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
    assert node.published is None, 'it does not know yet in which run its weights would act'
    with nodes(NodeProcess(tmp_path / 'log', 'resfit_learner', 'replay_node', directory=tmp_path)) as (replay,):
        spin(node, lambda: node.learner.counters.sequence == 1)
        assert node.published is not None
        assert replay.end() == 0
        spin(node, lambda: node.published is None)
    with nodes(NodeProcess(tmp_path / 'log', 'resfit_learner', 'replay_node', directory=tmp_path)) as (replay,):
        spin(node, lambda: node.published)  # its own log is there again
        assert replay.end() == 0
        spin(node, lambda: node.published is None)
    another = NodeProcess(tmp_path / 'log', 'resfit_learner', 'replay_node', directory=tmp_path / 'another')
    with nodes(another), pytest.raises(ConfigError, match='another.* is not the one that .* has learned from'):
        spin(node, lambda: node.published)


def test_a_learner_that_is_started_again_does_not_act_in_another_run_in_the_same_folder(
    tmp_path: Path, domain: None
) -> None:
    def run(episodes: int, done: Callable[[LearnerNode], bool]) -> None:
        log = ReplayLog(tmp_path / 'run' / 'episodes')
        for number in range(log.sequence + 1, episodes + 1):
            add(log, number)
        log.close()
        replay = NodeProcess(tmp_path / 'log', 'resfit_learner', 'replay_node', directory=tmp_path / 'run')
        with nodes(replay), started(tmp_path / 'learner') as node:
            spin(node, lambda: done(node))
            node.save()

    run(1, lambda node: node.learner.counters.sequence == 1)
    run(2, lambda node: node.learner.counters.sequence == 2)
    shutil.rmtree(tmp_path / 'run')
    with pytest.raises(ConfigError, match='episodes is not the one that .*learner has learned from'):
        run(2, lambda node: node.published is not None)
