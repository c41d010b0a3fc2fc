"""Replay online: what a policy does now in what a played bag saw, and whether it is what was recorded.

It hears the bag under `recorded/`, and says what it does under `now/`: nothing of it reaches a robot.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

import rclpy
from rclpy.duration import Duration
from rclpy.node import Node
from sensor_msgs.msg import JointState

from resfit_learner.played import Played
from resfit_learner.reacting import Reacting, as_recorded, load_policy
from resfit_msgs.msg import EpisodeState, PolicyStep
from resfit_policy.convert import fill_step, read_step
from resfit_policy.episode_log import Arm, Phase, StepRecord
from resfit_policy.files import write_atomically
from resfit_policy.health import Health, State
from resfit_policy.ros import COMMAND, PLAYED, declare, param, run_node
from resfit_policy.task import ConfigError, load_task

QUIET, LAST = 0.3, 3.5  # s without a message after which there is no more, and at most, at the end
ARRIVE = 1.0  # s that what was published has to arrive; with LAST less than the 5 s that launch has patience


@dataclass(frozen=True)
class Parameters:
    """Parameters of the node."""

    task: str = param('woolly_ball', 'task name, or path of a task YAML')
    base: str = param('', 'frozen base, see docs/bases.md; empty: base actions as they were recorded')
    weights: str = param('', 'actor.safetensors of the residual; empty: none')
    seed: int = param(0, 'seed of the run, for its exploration')
    explore: bool = param(False, 'the run explored')
    result: str = param('', 'JSON file to write at the end; empty: none')


class BagEvalNode(Node):
    """Thin shell around ``Played``."""

    def __init__(self) -> None:
        super().__init__('bag_eval_node')
        self.parameters = declare(self, Parameters)
        self.task = load_task(self.parameters.task)
        self.played = Played(self.task.robot.names, self.policy, self.act, self.get_logger().info)

        self.health = Health(self, self.state, ('step', 'episode'))
        self.now = self.create_publisher(PolicyStep, 'now/policy/step', PLAYED)
        self.target = self.create_publisher(JointState, 'now/target', COMMAND)
        self.joints = self.create_publisher(JointState, 'recorded/joint_states', COMMAND)
        self.create_subscription(EpisodeState, 'recorded/episode', self.on_episode, PLAYED)
        self.create_subscription(PolicyStep, 'recorded/policy/step', self.on_step, PLAYED)

    def policy(self, step: StepRecord) -> Reacting:
        """The policy for steps like this one. Raises ConfigError where it does not fit them."""
        given, weights = self.parameters, self.parameters.weights
        task = as_recorded(self.task, len(step.state))
        runtime = load_policy(task, given.base, Path(weights) if weights else None, given.seed, len(step.features))
        self.get_logger().info(f'base: {given.base or "as recorded"}; weights: version {runtime.version}')
        return Reacting(runtime, given.explore)

    def on_episode(self, message: EpisodeState) -> None:
        """An episode begins or ends."""
        self.health.saw('episode')
        if message.episode_id and message.task != self.task.name:
            raise ConfigError(f'the bag is of task {message.task}, not {self.task.name}: give its task')
        self.played.on_episode(message.episode_id, Phase(message.phase), message.step, Arm(message.arm))

    def on_step(self, message: PolicyStep) -> None:
        """What was seen, and done."""
        self.health.saw('step')
        self.played.on_step(message.episode_id, read_step(message))

    def act(self, episode_id: int, step: StepRecord) -> None:
        """Show what the policy does now."""
        self.health.took('step', step.compute_ms)
        message = fill_step(PolicyStep(), episode_id, step, [])
        self.now.publish(message)
        names = list(self.task.robot.names)
        for publisher, positions in ((self.target, step.executed_action), (self.joints, step.state[: len(names)])):
            publisher.publish(JointState(header=message.header, name=names, position=positions.tolist()))

    def state(self) -> State:
        """For ``diagnostics``."""
        played = self.played
        problem = f'{len(played.differences)} episodes differ' if played.differences else ''
        values = {'episodes': played.episodes, 'equal': played.equal, 'differences': len(played.differences)}
        return problem, f'episode {played.episode_id}', values

    def catch_up(self) -> None:
        """Hear what has been played and not been looked at yet."""
        heard, end = self.played.heard, monotonic() + LAST
        until = monotonic() + QUIET
        while monotonic() < min(until, end):
            rclpy.spin_once(self, timeout_sec=QUIET)
            if self.played.heard != heard:
                heard, until = self.played.heard, monotonic() + QUIET

    def close(self) -> None:
        """Say what came of it all."""
        try:
            self.catch_up()
        except ConfigError:  # again the one that ended the node
            return
        self.played.finish()
        self.get_logger().info(self.played.summary())
        if self.parameters.result:
            write_atomically(Path(self.parameters.result), json.dumps(self.played.as_dict(), indent=2).encode())
        self.now.wait_for_all_acked(Duration(seconds=ARRIVE))  # who records it gets the last steps, too


def main() -> None:
    """Entry point."""
    run_node(BagEvalNode, BagEvalNode.close)
