"""The episode's owner as a process, with an operator instead of a simulation."""

from __future__ import annotations

from pathlib import Path

import pytest
from diagnostic_msgs.msg import DiagnosticArray
from sensor_msgs.msg import JointState
from std_msgs.msg import Bool, String
from std_srvs.srv import Trigger

from resfit_msgs.msg import EpisodeState, PolicyStep, ReplayStatus, Reward
from resfit_msgs.srv import LabelEpisode, ResetScene
from resfit_policy.convert import set_stamp, stamp_ns
from resfit_policy.ros import COMMAND, EVENT, LATCHED, LOG
from resfit_policy.task import load_task
from resfit_policy.testing import NodeProcess, Probe, isolated_domain, nodes

TASK = load_task('woolly_ball')


class Others:
    """Policy, streamer and replay log, as far as the reward node hears of them."""

    def __init__(self, probe: Probe) -> None:
        self.probe = probe
        self.states = probe.listen(EpisodeState, 'episode', LATCHED)
        self.rewards = probe.listen(Reward, 'reward', EVENT)
        probe.listen(JointState, 'target', COMMAND)
        self.log = probe.node.create_publisher(ReplayStatus, 'replay/status', LATCHED)
        self.steps = probe.node.create_publisher(PolicyStep, 'policy/step', LOG)
        self.stored = ReplayStatus()
        self.log.publish(self.stored)

    def phase(self, wanted: int) -> EpisodeState:
        self.probe.until(lambda: self.states and self.states[-1].phase == wanted, what=f'phase {wanted}')
        return self.states[-1]

    def step(self, state: EpisodeState, step: int, final: bool = False) -> None:
        message = PolicyStep(episode_id=state.episode_id, step=step, flags=PolicyStep.FINAL if final else 0)
        set_stamp(message.header.stamp, stamp_ns(state.header.stamp) + step * TASK.period_ns)
        self.steps.publish(message)
        self.probe.spin(0.05)

    def store(self, episode_id: int, length: int) -> None:
        self.stored.last_episode_id = episode_id
        self.stored.episodes += 1
        self.stored.sequence += 1
        self.stored.transitions += length
        self.log.publish(self.stored)

    def begin(self) -> EpisodeState:
        self.phase(EpisodeState.RESETTING)
        assert self.probe.ready()
        return self.phase(EpisodeState.RUNNING)

    def label(self, success: bool, episode_id: int = 0, operator: str = '') -> LabelEpisode.Response:
        request = LabelEpisode.Request(success=success, episode_id=episode_id, operator_name=operator)
        return self.probe.call(LabelEpisode, 'label', request)


def test_an_operator_sets_the_scene_labels_and_corrects(tmp_path: Path, probe: Probe) -> None:
    node = NodeProcess(
        tmp_path,
        'resfit_policy',
        'reward_node',
        reset='operator',
        success_source='operator',
        seed=7,
        max_episodes=2,
        exit_when_done=True,
    )
    with nodes(node):
        others = Others(probe)
        state = others.begin()
        assert (state.episode_id, state.seed, state.horizon) == (1, 7, TASK.horizon)
        assert not probe.call(Trigger, 'ready', Trigger.Request()).success, 'ready in mid-episode'
        for step in range(3):
            others.step(state, step)
        assert others.label(False).success
        others.step(state, 3)
        closing = others.phase(EpisodeState.FAILURE)
        assert closing.step == 3 and closing.episode_id == 1
        probe.until(lambda: others.rewards)
        assert (others.rewards[0].step, others.rewards[0].success, others.rewards[0].revision) == (2, False, 0)

        answer = others.label(True, episode_id=1)
        assert answer.success and answer.revision == 1
        probe.until(lambda: len(others.rewards) == 2)
        corrected = others.rewards[1]
        assert (corrected.step, corrected.success, corrected.source) == (2, True, Reward.HUMAN)
        assert not others.label(True, episode_id=9).success
        assert others.label(True).revision == 2, 'without an id it is the newest that is over'

        probe.spin(0.5)
        assert others.states[-1].phase == EpisodeState.FAILURE, 'it did not wait for the log'
        others.store(1, 3)
        others.phase(EpisodeState.RESETTING)
        assert 'no episode 2 that is over' in others.label(True, episode_id=2).message
        second = others.begin()
        assert (second.episode_id, second.seed) == (2, 8)
        others.step(second, 0)
        others.step(second, 1, final=True)
        assert others.phase(EpisodeState.TIMEOUT).step == 1
        others.store(2, 1)
        assert others.phase(EpisodeState.IDLE)
        assert node.wait() == 0 and 'Traceback' not in node.output


def test_two_operators_at_once_the_newest_wins_and_each_is_kept_by_name(tmp_path: Path, probe: Probe) -> None:
    node = NodeProcess(tmp_path, 'resfit_policy', 'reward_node', reset='operator', success_source='operator')
    with nodes(node):
        others = Others(probe)
        state = others.begin()
        others.step(state, 0)
        assert others.label(True, operator='ana').success and others.label(False, state.episode_id, 'bo').success
        others.step(state, 1)
        assert others.phase(EpisodeState.FAILURE).step == 1
        assert others.label(False, operator='bo').revision == 2 and others.label(True, operator='ana').revision == 3
        probe.until(lambda: len(others.rewards) == 4)
    kept = [(item.operator_name, item.success, item.revision) for item in others.rewards]
    assert kept == [('ana', True, 0), ('bo', False, 1), ('bo', False, 2), ('ana', True, 3)]
    assert {item.step for item in others.rewards} == {0} and {item.source for item in others.rewards} == {Reward.HUMAN}


def test_a_scene_that_nobody_asked_for_starts_nothing(tmp_path: Path, probe: Probe) -> None:
    node = NodeProcess(tmp_path, 'resfit_policy', 'reward_node', reset='sim', success_source='operator')
    with nodes(node):
        others = Others(probe)
        assert 'not asked for: IDLE' in probe.call(Trigger, 'ready', Trigger.Request()).message
        probe.node.create_service(ResetScene, 'sim/reset', lambda request, response: response)  # and it fails
        others.phase(EpisodeState.RESETTING)
        answer = probe.call(Trigger, 'ready', Trigger.Request())
        assert not answer.success and 'not asked for: RESETTING' in answer.message, 'the simulation sets the scene'
        probe.spin(0.3)
        assert others.states[-1].phase == EpisodeState.RESETTING


class Judge:
    """A classifier's word, and what the reward node asks of an operator."""

    def __init__(self, probe: Probe) -> None:
        self.verdicts = probe.node.create_publisher(Reward, 'classifier/verdict', EVENT)
        self.asked = probe.listen(String, 'attention', LATCHED)

    def say(self, state: EpisodeState, step: int, success: bool, confidence: float) -> None:
        message = Reward(success=success, confidence=confidence, source=Reward.CLASSIFIER)
        set_stamp(message.header.stamp, stamp_ns(state.header.stamp) + step * TASK.period_ns)
        self.verdicts.publish(message)


def test_a_sure_classifier_labels_and_an_operator_who_corrects_it_wins(tmp_path: Path, probe: Probe) -> None:
    node = NodeProcess(tmp_path, 'resfit_policy', 'reward_node', reset='operator', success_source='classifier')
    with nodes(node):
        others = Others(probe)
        others.phase(EpisodeState.IDLE)
        probe.spin(0.5)
        assert others.states[-1].phase == EpisodeState.IDLE, 'it began without a classifier'
        judge = Judge(probe)
        state = others.begin()
        for step in range(3):
            others.step(state, step)
            judge.say(state, step, step == 2, 0.75)
        assert others.phase(EpisodeState.SUCCESS).step == 2
        probe.until(lambda: others.rewards)
        label = others.rewards[0]
        assert (label.success, label.source, label.confidence, label.step) == (True, Reward.CLASSIFIER, 0.75, 1)
        assert others.label(False, operator='ana').revision == 1
        probe.until(lambda: len(others.rewards) == 2)
        corrected = others.rewards[1]
        assert (corrected.success, corrected.source, corrected.confidence) == (False, Reward.HUMAN, 1.0)

        others.store(1, 2)
        state = others.begin()
        others.step(state, 0)
        others.step(state, 1, final=True)
        judge.say(state, 1, False, 0.5)
        others.phase(EpisodeState.TIMEOUT)
        probe.until(lambda: len(others.rewards) == 3)
        assert not others.rewards[2].success and others.rewards[2].source == Reward.CLASSIFIER


@pytest.mark.parametrize('silent', [False, True])
def test_in_doubt_it_waits_for_an_operator_and_says_so(silent: bool, tmp_path: Path, probe: Probe) -> None:
    parameters = {'reset': 'operator', 'success_source': 'classifier', 'stall': 3.0}
    node = NodeProcess(tmp_path, 'resfit_policy', 'reward_node', **parameters)
    with nodes(node):
        judge, others = Judge(probe), Others(probe)
        problems = probe.listen(DiagnosticArray, 'diagnostics', 10)
        state = others.begin()
        others.step(state, 0)
        judge.say(state, 0, False, 0.9)
        others.step(state, 1, final=True)
        if not silent:
            judge.say(state, 1, False, 0.0)
        probe.until(lambda: judge.asked and 'episode 1 is doubtful' in judge.asked[-1].data)
        probe.until(lambda: problems and 'episode 1 is doubtful' in problems[-1].status[0].message)
        judge.say(state, 2, True, 1.0)
        probe.spin(4.0)  # longer than it takes for a stall
        assert others.states[-1].phase == EpisodeState.RUNNING and not others.rewards, 'it decided by itself'
        assert others.label(True, operator='ana').message == 'it is over: SUCCESS'
        assert others.phase(EpisodeState.SUCCESS).step == 1
        probe.until(lambda: others.rewards and not judge.asked[-1].data)
        label = others.rewards[0]
        assert (label.source, label.operator_name, label.step) == (Reward.HUMAN, 'ana', 0)
        others.store(1, 1)
        others.begin()
        assert 'Traceback' not in node.output and 'the episode is over' not in node.output


def test_an_aborted_episode_has_no_label_and_is_run_again(tmp_path: Path, probe: Probe) -> None:
    node = NodeProcess(tmp_path, 'resfit_policy', 'reward_node', reset='operator', success_source='operator', seed=4)
    with nodes(node):
        others = Others(probe)
        others.phase(EpisodeState.RESETTING)
        assert not probe.call(Trigger, 'abort', Trigger.Request()).success
        assert 'none is over yet' in others.label(True).message
        state = others.begin()
        others.step(state, 0)
        assert probe.call(Trigger, 'abort', Trigger.Request()).success
        assert others.phase(EpisodeState.ABORTED).episode_id == 1
        assert 'was aborted' in others.label(True, episode_id=1).message
        others.stored.last_episode_id = 1
        others.log.publish(others.stored)
        again = others.begin()
        assert (again.episode_id, again.seed) == (2, 4)


def test_an_episode_without_a_step_is_aborted_and_run_again_whatever_the_oracle_says(
    tmp_path: Path, probe: Probe
) -> None:
    parameters = {'reset': 'operator', 'success_source': 'sim', 'stall': 3.0, 'seed': 3}
    node = NodeProcess(tmp_path, 'resfit_policy', 'reward_node', **parameters)
    with nodes(node):
        others = Others(probe)
        oracle = probe.node.create_publisher(Reward, 'oracle', EVENT)
        probe.node.create_timer(0.1, lambda: oracle.publish(Reward()))
        state = others.begin()
        others.step(state, 0)
        assert others.phase(EpisodeState.ABORTED).episode_id == 1
        others.stored.last_episode_id = 1  # kept out of the log's count
        others.log.publish(others.stored)
        again = others.begin()
        assert (again.episode_id, again.seed) == (2, 3)
        assert node.end() == 0
        assert 'the episode is over' in node.output


@pytest.mark.parametrize('stopped', [False, True])
def test_a_label_counts_though_the_robot_holds_and_no_step_comes_any_more(
    tmp_path: Path, probe: Probe, stopped: bool
) -> None:
    parameters = {'reset': 'operator', 'success_source': 'operator', 'stall': 60.0 if stopped else 8.0}
    node = NodeProcess(tmp_path, 'resfit_policy', 'reward_node', **parameters)
    with nodes(node):
        others = Others(probe)
        stop = probe.node.create_publisher(Bool, 'emergency_stop', LATCHED)
        others.label(True, operator='ana')  # of no episode: the service is found now, not while the stall lasts
        state = others.begin()
        others.step(state, 0)
        others.step(state, 1)
        assert others.label(True, operator='ana').message == 'the episode ends at the next step'
        if stopped:
            stop.publish(Bool(data=True))
        assert others.phase(EpisodeState.SUCCESS).step == 2
        probe.until(lambda: others.rewards)
        label = others.rewards[0]
        assert (label.source, label.operator_name, label.step, label.success) == (Reward.HUMAN, 'ana', 1, True)


def test_it_says_what_it_waits_for(tmp_path: Path) -> None:
    with isolated_domain():
        node = NodeProcess(tmp_path, 'resfit_policy', 'reward_node', arms='both')
        assert node.wait() == 2 and 'residual, base, alternate' in node.output


def test_an_emergency_stop_aborts_the_episode_and_the_next_waits_for_the_release(tmp_path: Path, probe: Probe) -> None:
    node = NodeProcess(tmp_path, 'resfit_policy', 'reward_node', reset='operator', success_source='operator')
    with nodes(node):
        others = Others(probe)
        stop = probe.node.create_publisher(Bool, 'emergency_stop', LATCHED)
        state = others.begin()
        others.step(state, 0)
        stop.publish(Bool(data=True))
        assert others.phase(EpisodeState.ABORTED).episode_id == state.episode_id
        others.store(state.episode_id, 1)
        probe.spin(1.0)
        assert others.states[-1].phase == EpisodeState.ABORTED, 'it went on'
        stop.publish(Bool(data=False))
        others.phase(EpisodeState.RESETTING)
        stop.publish(Bool(data=True))
        probe.spin(0.3)
        refused = probe.call(Trigger, 'ready', Trigger.Request())
        assert not refused.success and 'set_emergency_stop' in refused.message
        stop.publish(Bool(data=False))
        probe.spin(0.3)
        others.begin()
