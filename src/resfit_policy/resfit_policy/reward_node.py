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
from std_srvs.srv import Trigger

from resfit_msgs.msg import EpisodeState, LearnerStatus, PolicyStep, ReplayStatus, Reward
from resfit_msgs.srv import LabelEpisode, ResetScene
from resfit_policy.convert import set_stamp, stamp_ns
from resfit_policy.episode_log import Flag, Phase
from resfit_policy.episode_machine import EpisodeMachine, Outcome, schedule
from resfit_policy.flow import LearnerGate
from resfit_policy.health import Health, State
from resfit_policy.ros import EVENT, LATCHED, LOG, declare, param, run_node
from resfit_policy.task import ConfigError, load_task

STOP = 'the emergency stop to be released: call set_emergency_stop with data: false'


@dataclass(frozen=True)
class Parameters:
    """Parameters of the reward node."""

    task: str = param('woolly_ball', 'task name, or path of a task YAML')
    seed: int = param(0, 'seed of the first episode; each further one adds 1')
    arms: str = param('residual', 'who acts: residual, base, or alternate (both on every seed, interleaved)')
    blind: bool = param(False, 'do not say who acts, so that who labels cannot know (topic episode has it, for nodes)')
    success_source: str = param('sim', 'sim: the oracle topic decides; operator: service label decides')
    reset: str = param('sim', 'sim: service sim/reset; operator: service ready, called when the scene is set')
    max_episodes: int = param(0, 'stop when the log holds this many episodes; 0: no limit')
    max_steps: int = param(0, 'stop when the log holds this many executed steps; 0: no limit')
    max_backlog: int = param(0, 'wait while the learner owes more critic updates than this; 0: never wait')
    stall: float = param(15.0, 's of wall time without a policy step after which to abort')
    exit_when_done: bool = param(False, 'end the process when the limits are reached')


class RewardNode(Node):
    """Thin shell around ``EpisodeMachine``."""

    def __init__(self) -> None:
        super().__init__('reward_node')
        self.parameters = parameters = declare(self, Parameters)
        for name, allowed in (
            ('arms', ('residual', 'base', 'alternate')),
            ('success_source', ('sim', 'operator')),
            ('reset', ('sim', 'operator')),
        ):
            if getattr(parameters, name) not in allowed:
                raise ConfigError(f'parameter {name} must be one of {", ".join(allowed)}')
        self.task = load_task(parameters.task)
        self.machine = EpisodeMachine(needs_verdict=parameters.success_source == 'sim')
        self.log: ReplayStatus | None = None
        self.gate = LearnerGate(parameters.max_backlog, monotonic())
        self.given_id = 0  # highest episode id handed out
        self.progress = monotonic()
        self.rewards: dict[int, Reward] = {}  # newest label of each episode of this session
        self.newest = 0  # episode of the newest of them
        self.aborted: set[int] = set()
        self.who = ''  # gave the running episode's label; kept in the reward's frame_id, which has no other use
        self.done_since = 0.0
        self.stopped = False  # emergency stop

        self.health = Health(self, self.state, ('step', 'verdict', 'learner', 'replay'))
        self.states = self.create_publisher(EpisodeState, 'episode', LATCHED)
        self.reward = self.create_publisher(Reward, 'reward', EVENT)
        if parameters.success_source == 'sim':
            self.create_subscription(Reward, 'oracle', self.on_oracle, EVENT)
        self.create_subscription(PolicyStep, 'policy/step', self.on_step, LOG)
        self.create_subscription(ReplayStatus, 'replay/status', self.on_replay, LATCHED)
        self.create_subscription(LearnerStatus, 'learner/status', self.on_learner, LATCHED)
        self.create_subscription(Bool, 'emergency_stop', self.on_stop, LATCHED)
        self.create_service(LabelEpisode, 'label', self.on_label)
        self.create_service(Trigger, 'ready', self.on_ready)
        self.create_service(Trigger, 'abort', self.on_abort)
        self.reset_scene = self.create_client(ResetScene, 'sim/reset')
        self.create_timer(0.1, self.look, clock=Clock(clock_type=ClockType.STEADY_TIME))
        self.publish_state(self.get_clock().now().nanoseconds)

    def missing(self) -> str:
        """What an episode still needs, '' when it can begin."""
        if self.stopped:
            return STOP
        if self.log is None:
            return 'replay_node'
        subscribed = [item.node_name for item in self.get_subscriptions_info_by_topic('episode')]
        if 'policy_node' not in subscribed:
            return 'policy_node'
        if not self.count_subscribers('target'):
            return 'streamer_node'
        if self.parameters.reset == 'sim' and not self.reset_scene.service_is_ready():
            return 'sim_node'
        if self.log.last_episode_id < self.given_id:
            return 'replay_node to write the last episode'
        return self.gate.waits_for(monotonic())

    def look(self) -> None:
        """Begin the next episode when nothing is missing; abort one that makes no progress."""
        silent = monotonic() - self.progress
        if self.machine.phase in (Phase.RUNNING, Phase.RESETTING):
            if silent > self.parameters.stall and self.machine.phase == Phase.RUNNING:
                self.get_logger().error(f'no policy step for {silent:.0f} s: episode aborted')
                self.end(self.machine.abort())
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
        if self.finished():
            self.finish()
            return
        assert self.log is not None
        self.given_id = max(self.given_id, self.log.last_episode_id) + 1
        start = schedule(self.log.episodes, self.parameters.seed, self.parameters.arms)  # type: ignore[arg-type]
        self.machine.reset(self.given_id, start)
        self.publish_state(self.get_clock().now().nanoseconds)
        self.request_reset()

    def finished(self) -> bool:
        """The log holds all that was asked for."""
        limits, log = self.parameters, self.log
        assert log is not None
        return bool(
            (limits.max_episodes and log.episodes >= limits.max_episodes)
            or (limits.max_steps and log.transitions >= limits.max_steps)
        )

    def finish(self) -> None:
        """Be IDLE; end the process, if asked to, once the learner has used everything."""
        if self.machine.phase != Phase.IDLE or not self.done_since:
            self.machine.phase, self.done_since = Phase.IDLE, monotonic()
            self.publish_state(self.get_clock().now().nanoseconds)
        assert self.log is not None
        if not self.gate.drained(self.log.sequence, self.done_since, monotonic()):
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
        if self.stopped or self.machine.phase != Phase.RESETTING or episode_id != self.machine.episode_id:
            return
        if response is None or not response.success:
            self.get_logger().error(f'sim/reset failed: {response.message if response else "no answer"}')
            return
        self.run(stamp_ns(response.stamp))

    def on_ready(self, request: Any, response: Any) -> Any:
        """The operator has set the scene."""
        asked_for = self.parameters.reset == 'operator' and self.machine.phase == Phase.RESETTING
        response.success = asked_for and not self.stopped
        response.message = 'running' if response.success else f'not asked for: {self.machine.phase.name}'
        if asked_for and self.stopped:
            response.message = f'waiting for {STOP}'
        if response.success:
            self.run(self.get_clock().now().nanoseconds)
        return response

    def on_abort(self, request: Any, response: Any) -> Any:
        """The operator ends the running episode without a result: nothing is learned from it."""
        response.success = self.machine.phase == Phase.RUNNING
        response.message = f'episode {self.machine.episode_id} is aborted' if response.success else 'no episode runs'
        if response.success:
            self.end(self.machine.abort())
        return response

    def on_stop(self, message: Bool) -> None:
        """An emergency stop ends the episode without a result; the next one waits for the release."""
        if message.data and not self.stopped and self.machine.phase == Phase.RUNNING:
            self.get_logger().error('emergency stop: episode aborted')
            self.end(self.machine.abort())
        self.stopped = message.data
        if not self.stopped and self.machine.phase == Phase.RESETTING:
            self.request_reset()

    def run(self, stamp: int) -> None:
        """Observations from ``stamp`` ns on belong to the episode."""
        self.progress = monotonic()
        self.machine.run(stamp)
        self.publish_state(stamp)

    def on_oracle(self, message: Reward) -> None:
        """A verdict of the simulation's oracle or a classifier."""
        self.health.saw('verdict')
        outcome = self.machine.on_verdict(stamp_ns(message.header.stamp), message.success)
        if outcome:
            self.end(outcome, message.source, message.confidence)

    def on_step(self, message: PolicyStep) -> None:
        """The policy's progress."""
        self.health.saw('step')
        self.progress = monotonic()
        final = bool(message.flags & Flag.FINAL)
        stamp = stamp_ns(message.header.stamp)
        outcome = self.machine.on_step(message.episode_id, stamp, message.step, final)
        if outcome:
            self.end(outcome, Reward.SIM if self.machine.needs_verdict else Reward.HUMAN)

    def end(self, outcome: Outcome, source: int = Reward.SCRIPT, confidence: float = 1.0) -> None:
        """Publish the label, then the closing state."""
        self.progress = monotonic()
        success = outcome.phase == Phase.SUCCESS
        reward = Reward(episode_id=self.machine.episode_id, step=max(outcome.length - 1, 0), success=success)
        reward.source, reward.confidence = source, confidence
        if self.machine.labelled and outcome.phase != Phase.ABORTED:
            reward.source, reward.confidence, reward.header.frame_id = Reward.HUMAN, 1.0, self.who
        set_stamp(reward.header.stamp, outcome.stamp)
        if outcome.phase == Phase.ABORTED:
            self.aborted.add(reward.episode_id)
        else:
            self.rewards[reward.episode_id], self.newest = reward, reward.episode_id
        self.reward.publish(reward)
        self.publish_state(outcome.stamp, outcome.length)
        state = f'{outcome.phase.name}, {outcome.length} steps, seed {self.machine.start.seed}'
        who = '' if self.parameters.blind else f' {self.machine.start.arm.name}'
        self.get_logger().info(f'episode {reward.episode_id}{who}: {state}')

    def on_label(self, request: Any, response: Any) -> Any:
        """An operator's label: ends the running episode, or corrects one that is over."""
        running = self.machine.episode_id if self.machine.phase == Phase.RUNNING else 0
        episode_id = request.episode_id or running or self.newest
        if running and episode_id == running:
            self.machine.on_label(request.success)
            self.who = request.operator_name or 'an operator'
            response.success, response.message = True, 'the episode ends at the next step'
            return response
        begun = max(self.newest, self.log.last_episode_id if self.log else 0)
        waiting = self.machine.episode_id if self.machine.phase in (Phase.RUNNING, Phase.RESETTING) else 0
        if episode_id in self.aborted:
            response.message = f'episode {episode_id} was aborted: it has no result to label'
        elif not 0 < episode_id <= begun or episode_id == waiting:
            response.message = f'there is no episode {episode_id} that is over' if episode_id else 'none is over yet'
        if response.message:
            response.success = False
            return response
        old = self.rewards.get(episode_id, Reward(episode_id=episode_id))
        reward = Reward(episode_id=episode_id, step=old.step, success=request.success)
        reward.header.stamp, reward.header.frame_id = old.header.stamp, request.operator_name or 'an operator'
        reward.source, reward.confidence, reward.revision = Reward.HUMAN, 1.0, old.revision + 1
        self.rewards[episode_id] = reward
        self.reward.publish(reward)
        response.success, response.revision = True, reward.revision
        response.message = f'episode {episode_id} is now labelled by {reward.header.frame_id}'
        return response

    def on_replay(self, message: ReplayStatus) -> None:
        """The log has changed: perhaps the next episode can begin."""
        self.health.saw('replay')
        self.log = message
        self.look()

    def on_learner(self, message: LearnerStatus) -> None:
        """A heartbeat of the learner."""
        self.health.saw('learner')
        self.gate.hear(message.backlog, message.sequence, monotonic())
        self.look()

    def state(self) -> State:
        """For ``diagnostics``."""
        lacks = '' if self.done_since or self.machine.phase in (Phase.RUNNING, Phase.RESETTING) else self.missing()
        return lacks and f'waiting for {lacks}', self.machine.phase.name.lower(), {'episode': self.machine.episode_id}

    def publish_state(self, stamp: int, length: int = 0) -> None:
        """Publish the machine's state."""
        machine = self.machine
        message = EpisodeState(episode_id=machine.episode_id, task=self.task.name, phase=int(machine.phase))
        message.step, message.horizon = length, self.task.horizon
        message.arm, message.seed = int(machine.start.arm), machine.start.seed
        set_stamp(message.header.stamp, stamp)
        self.states.publish(message)


def main() -> None:
    """Entry point."""
    run_node(RewardNode)
