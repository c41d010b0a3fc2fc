"""Owns the episode: asks for resets, hears the success sources, says how each episode ended."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from time import monotonic
from typing import Any

import rclpy
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from std_msgs.msg import Bool

from resfit_msgs.msg import EpisodeState, LearnerStatus, PolicyStep, ReplayStatus, Reward
from resfit_msgs.srv import ResetScene
from resfit_policy.convert import fill_reward, set_stamp, stamp_ns
from resfit_policy.episode_log import Flag, Phase
from resfit_policy.episode_machine import EpisodeMachine, Outcome, schedule
from resfit_policy.flow import LearnerGate, Limits
from resfit_policy.health import Health, State
from resfit_policy.labels import Label, Labels, Source
from resfit_policy.operators import STOP, Operators
from resfit_policy.ros import EVENT, LATCHED, LOG, declare, param, run_node
from resfit_policy.task import load_task

SOURCES = {'sim': Source.SIM, 'operator': Source.HUMAN, 'classifier': Source.CLASSIFIER}
ARMS, RESETS = ('residual', 'base', 'alternate'), ('sim', 'operator')


@dataclass(frozen=True)
class Parameters:
    """Parameters of the reward node."""

    task: str = param('woolly_ball', 'task name, or path of a task YAML')
    seed: int = param(0, 'seed of the first episode; each further one adds 1')
    arms: str = param('residual', 'who acts: residual, base, or alternate (both on every seed, in turn)', one_of=ARMS)
    blind: bool = param(False, 'do not say who acts, so that who labels cannot know (topic episode has it, for nodes)')
    success_source: str = param(
        'sim', 'sim: topic oracle; operator: service label; classifier: topic classifier/verdict, and label in doubt',
        one_of=SOURCES,
    )  # fmt: skip
    reset: str = param('sim', 'sim: service sim/reset; operator: service ready, once the scene is set', one_of=RESETS)
    max_episodes: int = param(0, 'stop when the log holds this many episodes; 0: no limit', least=0)
    max_steps: int = param(0, 'stop when the log holds this many executed steps; 0: no limit', least=0)
    max_backlog: int = param(0, 'wait while the learner owes more critic updates than this; 0: never wait', least=0)
    stall: float = param(15.0, 's of wall time without a policy step until an episode is over as it is', least=0)
    exit_when_done: bool = param(False, 'end the process when the limits are reached')


class RewardNode(Node):
    """Thin shell around ``EpisodeMachine``."""

    def __init__(self) -> None:
        super().__init__('reward_node')
        self.parameters = parameters = declare(self, Parameters)
        self.task = load_task(parameters.task)
        self.source = SOURCES[parameters.success_source]
        self.machine = EpisodeMachine(needs_verdict=self.source != Source.HUMAN)
        self.log: ReplayStatus | None = None
        self.gate = LearnerGate(parameters.max_backlog, monotonic())
        self.limits = Limits(parameters.max_episodes, parameters.max_steps)
        self.given_id = 0  # highest episode id handed out
        self.progress = monotonic()
        self.labels = Labels()
        self.confidence = 1.0  # of the newest verdict
        self.done_since = 0.0

        self.health = Health(self, self.state, ('step', 'verdict', 'learner', 'replay'))
        self.states = self.create_publisher(EpisodeState, 'episode', LATCHED)
        self.reward = self.create_publisher(Reward, 'reward', EVENT)
        by_hand = parameters.reset == 'operator'
        self.operators = Operators(self, self.machine, self.labels, by_hand, self.run, self.end, self.publish_label)
        if self.source == Source.SIM:
            self.create_subscription(Reward, 'oracle', self.on_verdict, EVENT)
        elif self.source == Source.CLASSIFIER:
            self.create_subscription(Reward, 'classifier/verdict', self.on_verdict, EVENT)
        self.create_subscription(PolicyStep, 'policy/step', self.on_step, LOG)
        self.create_subscription(ReplayStatus, 'replay/status', self.on_replay, LATCHED)
        self.create_subscription(LearnerStatus, 'learner/status', self.on_learner, LATCHED)
        self.create_subscription(Bool, 'emergency_stop', self.on_stop, LATCHED)
        self.reset_scene = self.create_client(ResetScene, 'sim/reset')
        self.create_timer(0.1, self.look, clock=Clock(clock_type=ClockType.STEADY_TIME))
        self.publish_state(self.get_clock().now().nanoseconds)

    def missing(self) -> str:
        """What an episode still needs, '' when it can begin."""
        if self.operators.stopped:
            return STOP
        if self.log is None:
            return 'replay_node'
        subscribed = [item.node_name for item in self.get_subscriptions_info_by_topic('episode')]
        if 'policy_node' not in subscribed:
            return 'policy_node'
        if not self.count_subscribers('target'):
            return 'streamer_node'
        if self.source == Source.CLASSIFIER and not self.count_publishers('classifier/verdict'):
            return 'classifier_node'
        if self.parameters.reset == 'sim' and not self.reset_scene.service_is_ready():
            return 'sim_node'
        if self.log.last_episode_id < self.given_id:
            return 'replay_node to write the last episode'
        return self.gate.waits_for(monotonic())

    def look(self) -> None:
        """Begin the next episode when nothing is missing; end one that makes no progress."""
        silent = monotonic() - self.progress
        if self.machine.phase in (Phase.RUNNING, Phase.RESETTING):
            if self.machine.doubtful:
                return
            if silent > self.parameters.stall and self.machine.awaits_verdict and self.source == Source.CLASSIFIER:
                self.get_logger().error(f'no verdict of the classifier for {silent:.0f} s')
                self.machine.doubt()
                self.operators.ask()
            elif silent > self.parameters.stall and self.machine.phase == Phase.RUNNING:
                self.get_logger().error(f'no policy step for {silent:.0f} s: the episode is over')
                self.end(self.machine.stall())
            elif silent > 2 * self.parameters.stall and self.parameters.reset == 'sim':
                self.get_logger().error('sim/reset did not answer: asking again')
                self.request_reset()
            return
        waits_for = self.missing()
        if waits_for:
            if silent > 10:
                self.get_logger().warning(f'waiting for {waits_for}')
                self.progress = monotonic()
            return
        assert self.log is not None
        if self.limits.reached(self.log.episodes, self.log.transitions):
            self.finish()
            return
        self.given_id = max(self.given_id, self.log.last_episode_id) + 1
        start = schedule(self.log.episodes, self.parameters.seed, self.parameters.arms)  # type: ignore[arg-type]
        self.machine.reset(self.given_id, start)
        self.publish_state(self.get_clock().now().nanoseconds)
        self.request_reset()

    def finish(self) -> None:
        """Be IDLE; end the process, if asked to, once the learner has used everything."""
        if self.machine.phase != Phase.IDLE or not self.done_since:
            self.machine.phase, self.done_since = Phase.IDLE, monotonic()
            self.publish_state(self.get_clock().now().nanoseconds)
        assert self.log is not None
        if not self.gate.drained(self.log.sequence, self.done_since, monotonic()):
            self.get_logger().info('waiting for the learner to use the last episodes', throttle_duration_sec=10.0)
            return
        if self.parameters.exit_when_done and monotonic() - self.done_since > 1.0:
            rclpy.try_shutdown()

    def request_reset(self) -> None:
        """Ask the simulation, or wait for the operator."""
        self.progress = monotonic()
        if self.parameters.reset == 'sim':
            future = self.reset_scene.call_async(ResetScene.Request(seed=self.machine.start.seed))
            future.add_done_callback(partial(self.on_reset, self.machine.episode_id))

    def on_reset(self, episode_id: int, future: Any) -> None:
        """The scene is set: run."""
        response = future.result()
        if self.operators.stopped or self.machine.phase != Phase.RESETTING or episode_id != self.machine.episode_id:
            return
        if response is None or not response.success:
            self.get_logger().error(f'sim/reset failed: {response.message if response else "no answer"}')
            return
        self.run(stamp_ns(response.stamp))

    def on_stop(self, message: Bool) -> None:
        """An emergency stop ends the episode, with a result only where it had one; the next waits for the release."""
        if message.data and not self.operators.stopped and self.machine.phase == Phase.RUNNING:
            self.get_logger().error('emergency stop: the episode is over')
            self.end(self.machine.stall())
        self.operators.stopped = message.data
        if not self.operators.stopped and self.machine.phase == Phase.RESETTING:
            self.request_reset()

    def run(self, stamp: int) -> None:
        """Observations from ``stamp`` ns on belong to the episode."""
        self.progress = monotonic()
        self.machine.run(stamp)
        self.publish_state(stamp)

    def on_verdict(self, message: Reward) -> None:
        """A verdict of the simulation's oracle or of the classifier, whose denials in doubt have no confidence."""
        self.health.saw('verdict')
        self.confidence, sure = message.confidence, self.source == Source.SIM or message.confidence > 0
        self.end(self.machine.on_verdict(stamp_ns(message.header.stamp), message.success, sure))

    def on_step(self, message: PolicyStep) -> None:
        """The policy's progress."""
        self.health.saw('step')
        self.progress = monotonic()
        stamp, final = stamp_ns(message.header.stamp), bool(message.flags & Flag.FINAL)
        self.end(self.machine.on_step(message.episode_id, stamp, message.step, final))

    def end(self, outcome: Outcome | None) -> None:
        """Publish the labels, then the closing state, once there is an outcome."""
        if outcome is None:
            self.operators.ask()
            return
        self.progress = monotonic()
        episode_id, start = self.machine.episode_id, self.machine.start
        for label in self.labels.close(episode_id, outcome, self.source, self.confidence):
            self.publish_label(label)
        self.publish_state(outcome.stamp, outcome.length)
        who = '' if self.parameters.blind else f' {start.arm.name}'
        self.get_logger().info(
            f'episode {episode_id}{who}: {outcome.phase.name}, {outcome.length} steps, seed {start.seed}'
        )

    def publish_label(self, label: Label) -> None:
        """Publish a label as a Reward."""
        self.reward.publish(fill_reward(Reward(), label))

    def on_replay(self, message: ReplayStatus) -> None:
        """The log has changed: perhaps the next episode can begin."""
        self.health.saw('replay')
        self.log, self.operators.last = message, message.last_episode_id
        self.look()

    def on_learner(self, message: LearnerStatus) -> None:
        """A heartbeat of the learner."""
        self.health.saw('learner')
        self.gate.hear(message.backlog, message.sequence, monotonic())
        self.look()

    def state(self) -> State:
        """For ``diagnostics``."""
        busy = self.done_since or self.machine.phase in (Phase.RUNNING, Phase.RESETTING)
        lacks = '' if busy else self.missing()
        problem = self.operators.asked_for or (lacks and f'waiting for {lacks}')
        return problem, self.machine.phase.name.lower(), {'episode': self.machine.episode_id}

    def publish_state(self, stamp: int, length: int = 0) -> None:
        """Publish the machine's state."""
        machine = self.machine
        message = EpisodeState(episode_id=machine.episode_id, task=self.task.name, phase=int(machine.phase))
        message.step, message.horizon = length, self.task.horizon
        message.arm, message.seed = int(machine.start.arm), machine.start.seed
        message.joints = list(self.task.robot.names)
        set_stamp(message.header.stamp, stamp)
        self.states.publish(message)
        self.operators.ask()


def main() -> None:
    """Entry point."""
    run_node(RewardNode)
