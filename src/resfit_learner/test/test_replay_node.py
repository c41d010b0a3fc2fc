"""The replay log as a process: records, serves, corrects, and goes on after a kill."""

from __future__ import annotations

import resource
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from resfit_learner.bags import REWARD, read_log, read_messages
from resfit_msgs.msg import EpisodeState, PolicyStep, ReplayStatus, Reward
from resfit_msgs.srv import FetchEpisodes
from resfit_policy.convert import read_episode_messages, set_stamp, to_array
from resfit_policy.ros import EVENT, LATCHED, LOG
from resfit_policy.task import load_task
from resfit_policy.testing import NodeProcess, Probe, isolated_domain, nodes

TASK = load_task('woolly_ball')


class Run:
    """Publishes what policy and reward node publish."""

    def __init__(self, probe: Probe) -> None:
        self.probe, node = probe, probe.node
        self.steps = node.create_publisher(PolicyStep, 'policy/step', LOG)
        self.rewards = node.create_publisher(Reward, 'reward', EVENT)
        self.episode = node.create_publisher(EpisodeState, 'episode', LATCHED)
        self.status = probe.listen(ReplayStatus, 'replay/status', LATCHED)

    def connect(self) -> None:
        self.status.clear()
        self.probe.until(lambda: self.status, what='replay/status')
        ours = (self.steps, self.rewards, self.episode)
        self.probe.until(lambda: all(item.get_subscription_count() for item in ours))

    def step(self, episode_id: int, step: int, final: bool = False) -> None:
        random = np.random.default_rng((episode_id, step))
        message = PolicyStep(episode_id=episode_id, step=step, flags=PolicyStep.FINAL if final else 0)
        set_stamp(message.header.stamp, step * TASK.period_ns)
        message.state = to_array(random.normal(size=TASK.state_size).astype(np.float32))
        for name in ('base_action', 'residual', 'executed_action'):
            setattr(message, name, to_array(random.normal(size=TASK.action_size).astype(np.float32)))
        self.steps.publish(message)

    def state(self, episode_id: int, phase: int, length: int = 0) -> None:
        message = EpisodeState(episode_id=episode_id, task=TASK.name, phase=phase, step=length)
        self.episode.publish(message)

    def reward(self, episode_id: int, length: int, success: bool, revision: int = 0, operator: str = '') -> None:
        message = Reward(episode_id=episode_id, step=length - 1, success=success, revision=revision, confidence=1.0)
        message.operator_name = operator
        self.rewards.publish(message)

    def play(self, episode_id: int, length: int, success: bool = False) -> None:
        sequence = self.status[-1].sequence
        self.state(episode_id, EpisodeState.RUNNING)
        for step in range(length + 1):
            self.step(episode_id, step, final=step == length and not success)
        self.reward(episode_id, length, success)
        self.state(episode_id, EpisodeState.SUCCESS if success else EpisodeState.TIMEOUT, length)
        self.probe.until(lambda: self.status[-1].sequence == sequence + 1, what='the episode in the log')

    def fetch(self, after: int, count: int = 100) -> list:
        request = FetchEpisodes.Request(after_sequence=after, max_episodes=count)
        response = self.probe.call(FetchEpisodes, 'replay/fetch', request)
        assert response.success, response.message
        return response.episodes


@pytest.fixture
def run() -> Iterator[Run]:
    with isolated_domain():
        probe = Probe()
        yield Run(probe)
        probe.close()


def start(folder: Path) -> NodeProcess:
    return NodeProcess(folder, 'resfit_learner', 'replay_node', directory=folder / 'run', patience=1.0)


def test_episodes_are_recorded_served_and_corrected(tmp_path: Path, run: Run) -> None:
    node = start(tmp_path)
    with nodes(node):
        run.connect()
        run.play(1, 5)
        run.play(2, 4, success=True)
        newest = run.status[-1]
        assert (newest.sequence, newest.episodes, newest.transitions, newest.last_episode_id) == (2, 2, 9, 2)
        first, second = run.fetch(0)
        assert [first.sequence, second.sequence] == [1, 2]
        assert [item.step for item in first.steps] == [0, 1, 2, 3, 4, 5] and first.steps[-1].flags == PolicyStep.FINAL
        assert [item.step for item in second.steps] == [0, 1, 2, 3] and second.reward.success
        assert [item.sequence for item in run.fetch(1)] == [2] and not run.fetch(2)

        run.reward(1, 5, True, revision=1, operator='ana')
        run.probe.until(lambda: run.status[-1].sequence == 3, what='the correction')
        corrected = run.fetch(2)[0]
        assert corrected.episode.episode_id == 1 and corrected.reward.success and len(corrected.steps) == 6
        assert run.status[-1].transitions == 9
        assert node.end() == 0 and 'Traceback' not in node.output
    bags = list(read_log(tmp_path / 'run'))
    assert [(item.length, item.success) for item in bags] == [(5, True), (4, True)]
    label = read_messages(tmp_path / 'run' / 'episodes' / '000003-000001')[REWARD][-1]
    assert (label.operator_name, label.revision, label.success) == ('ana', 1, True)
    assert label.header.stamp.nanosec == first.reward.header.stamp.nanosec
    live = read_episode_messages(corrected.episode, corrected.reward, list(corrected.steps))
    assert live.state.tobytes() == bags[0].state.tobytes()
    assert live.executed_action.tobytes() == bags[0].executed_action.tobytes()


def test_an_episode_and_its_correction_in_one_answer_have_a_number_each(tmp_path: Path, run: Run) -> None:
    with nodes(start(tmp_path)):
        run.connect()
        run.play(1, 3)
        run.play(2, 3)
        run.reward(1, 3, True, revision=1)
        run.probe.until(lambda: run.status[-1].sequence == 3, what='the correction')
        run.play(3, 3)
        answer = run.fetch(0, 4)
    assert [(item.sequence, item.episode.episode_id) for item in answer] == [(1, 1), (2, 2), (3, 1), (4, 3)]
    assert [item.reward.success for item in answer] == [True, False, True, False]


def test_a_label_for_a_damaged_episode_is_refused_and_the_run_goes_on(tmp_path: Path, run: Run) -> None:
    with nodes(start(tmp_path)):
        run.connect()
        run.play(1, 3)
    bag = next((tmp_path / 'run' / 'episodes' / '000001-000001').glob('*.mcap'))
    bag.write_bytes(bag.read_bytes()[:200])
    again = start(tmp_path)
    with nodes(again):
        run.connect()
        run.reward(1, 3, True, revision=1)
        run.probe.until(lambda: 'the new label of episode 1 is not kept' in again.output, what='the refusal')
        run.play(2, 3)
        assert run.status[-1].sequence == 2 and again.end() == 0


def test_a_kill_in_mid_episode_loses_that_episode_only_and_the_log_goes_on(tmp_path: Path, run: Run) -> None:
    node = start(tmp_path)
    with nodes(node):
        run.connect()
        run.play(1, 5)
        run.state(2, EpisodeState.RUNNING)
        run.step(2, 0)
        run.probe.spin(0.5)
        node.end(signal.SIGKILL)
    again = start(tmp_path)
    with nodes(again):
        run.connect()
        assert run.status[-1].sequence == 1 and run.status[-1].last_episode_id == 2
        assert 'unfinished' in again.output
        run.play(3, 3)
        assert [item.episode.episode_id for item in run.fetch(0)] == [1, 3]
        assert again.end() == 0


def test_an_episode_with_a_missing_step_is_left_out_and_reported(tmp_path: Path, run: Run) -> None:
    node = start(tmp_path)
    with nodes(node):
        run.connect()
        run.state(1, EpisodeState.RUNNING)
        for step in (0, 2, 3):
            run.step(1, step)
        run.reward(1, 3, True)
        run.state(1, EpisodeState.SUCCESS, 3)
        run.probe.until(lambda: run.status[-1].last_episode_id == 1, what='the verdict on it')
        assert run.status[-1].sequence == 0 and 'steps [1] are missing' in node.output
        run.play(2, 2)
        assert node.end() == 0
    assert [item.episode_id for item in read_log(tmp_path / 'run')] == [2]


def test_two_replay_nodes_do_not_share_a_folder(tmp_path: Path, run: Run) -> None:
    node = start(tmp_path)
    with nodes(node):
        run.connect()
        second = NodeProcess(tmp_path / 'second', 'resfit_learner', 'replay_node', directory=tmp_path / 'run')
        assert second.wait() == 2 and 'in use' in second.output


def test_a_full_disk_holds_the_run_and_costs_no_episode(tmp_path: Path, run: Run) -> None:
    """The kernel's limit on the size of files stands for a full disk: a bag does not fit, the node's log does."""
    node = start(tmp_path)
    pid = node.process.pid
    with nodes(node):
        run.connect()
        run.play(1, 5)
        _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (12_000, hard))
        run.state(2, EpisodeState.RUNNING)
        for step in range(41):
            run.step(2, step, final=step == 40)
        run.reward(2, 40, False)
        run.state(2, EpisodeState.TIMEOUT, 40)
        run.probe.until(lambda: 'make room' in node.output, what='the complaint')
        run.reward(2, 40, True, revision=1)
        run.probe.spin(1.2)
        assert node.process.poll() is None and run.status[-1].sequence == 1
        assert run.status[-1].last_episode_id == 1, 'the next episode must wait'
        assert [item.episode.episode_id for item in run.fetch(0)] == [1], 'what is in the log is still served'

        resource.prlimit(pid, resource.RLIMIT_FSIZE, (hard, hard))
        run.probe.until(lambda: run.status[-1].sequence == 3, what='the episode and its correction in the log')
        assert run.status[-1].last_episode_id == 2
        run.play(3, 4)
        assert node.end() == 0 and 'Traceback' not in node.output and 'room again' in node.output
    assert [(item.episode_id, item.length, item.success) for item in read_log(tmp_path / 'run')] == [
        (1, 5, False), (2, 40, True), (3, 4, False),
    ]  # fmt: skip
