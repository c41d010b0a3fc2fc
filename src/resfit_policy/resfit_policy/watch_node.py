"""Shows a run to RViz, from the messages that the others send anyway: nothing of it is in the robot's control loop.

It works on a played bag of ``policy/step``, ``reward`` and ``episode`` as well.
"""

from __future__ import annotations

from dataclasses import dataclass

from geometry_msgs.msg import PoseArray
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import JointState
from visualization_msgs.msg import Marker, MarkerArray

from resfit_msgs.msg import AuthorityState, EpisodeState, PolicyStep, Reward
from resfit_policy import markers
from resfit_policy.episode_log import Arm, Flag, Phase
from resfit_policy.health import Health, State
from resfit_policy.ros import COMMAND, EVENT, LATCHED, SENSOR, declare, param, run_node
from resfit_policy.task import ConfigError, load_task
from resfit_policy.watching import JUDGED, Hands, Score

PERIOD = 0.1  # s between two pictures
# Latched for an RViz that starts later; deeper than one, so that no picture overtakes the deletion before it.
PICTURES = QoSProfile(depth=10, durability=DurabilityPolicy.TRANSIENT_LOCAL)


@dataclass(frozen=True)
class Parameters:
    """Parameters of the watcher."""

    task: str = param('woolly_ball', 'task name, or path of a task YAML')


class WatchNode(Node):
    """Keeps the newest message of each topic and draws it."""

    def __init__(self) -> None:
        super().__init__('watch_node')
        self.task = load_task(declare(self, Parameters).task)
        self.hands: Hands | None = None
        try:
            self.hands = Hands(self.task.robot)
        except ConfigError as error:
            self.get_logger().warning(f'no arrows at the hands: {error}')
        self.score = Score()
        self.episode = EpisodeState()
        self.step: PolicyStep | None = None
        self.poses: PoseArray | None = None
        self.reason = ''  # why the residual, or the whole policy, does not act
        self.changed = True

        self.health = Health(self, self.state, ('step', 'episode', 'picture'))
        self.pictures = self.create_publisher(MarkerArray, 'markers', PICTURES)
        self.base_target = self.create_publisher(JointState, 'base_target', COMMAND)
        self.create_subscription(PolicyStep, 'policy/step', self.on_step, COMMAND)
        self.create_subscription(EpisodeState, 'episode', self.on_episode, LATCHED)
        self.create_subscription(Reward, 'reward', self.on_reward, EVENT)
        self.create_subscription(AuthorityState, 'policy/authority', self.on_authority, LATCHED)
        if self.task.objects:
            self.create_subscription(PoseArray, 'object_poses', self.on_objects, SENSOR)
        self.create_timer(PERIOD, self.draw, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def on_step(self, message: PolicyStep) -> None:
        """What base and residual want now."""
        self.health.saw('step')
        if len(message.base_action) == len(message.executed_action) == self.task.action_size:
            self.step, self.changed = message, True

    def on_episode(self, message: EpisodeState) -> None:
        """A new phase; a new scene deletes all that was drawn of the last one."""
        self.health.saw('episode')
        self.episode, self.changed = message, True
        if message.phase in JUDGED:
            self.score.close(message.episode_id, Arm(message.arm), Phase(message.phase))
        if message.phase == Phase.RESETTING:
            self.step = self.poses = None
            self.publish([markers.delete_all()])

    def on_reward(self, message: Reward) -> None:
        """A label, or a corrected one."""
        self.score.label(message.episode_id, message.success)
        self.changed = True

    def on_authority(self, message: AuthorityState) -> None:
        """The dial, and why it fell."""
        self.reason, self.changed = message.reason, True

    def on_objects(self, message: PoseArray) -> None:
        """Where the objects are."""
        self.poses, self.changed = message, True

    def draw(self) -> None:
        """Publish what has changed since the last picture."""
        if not self.changed:
            return
        self.changed = False
        step, drawn = self.step, [self.text()]
        if self.poses is not None:
            drawn += markers.objects((at.position.x, at.position.y, at.position.z) for at in self.poses.poses)
        if step is not None and not step.flags & Flag.FINAL:
            ghost = JointState(header=step.header, name=list(self.task.robot.names), position=list(step.base_action))
            self.base_target.publish(ghost)
            if self.hands is not None:
                drawn += markers.arrows(self.hands.at(step.base_action), self.hands.at(step.executed_action))
        self.publish(drawn)

    def text(self) -> Marker:
        """Phase, authority and success."""
        episode, step = self.episode, self.step
        phase, arm = Phase(episode.phase), Arm(episode.arm)
        lines = [f'{self.task.name}  episode {episode.episode_id}  {arm.name}  {phase.name}']
        if step is not None:
            flags = (Flag.INTERVENTION, Flag.CLIPPED, Flag.HELD)
            said = [str(flag.name).lower() for flag in flags if step.flags & flag]
            lines.append('  '.join([f'authority {step.authority:.2f}', f'weights {step.weights_version}', *said]))
        lines += [self.reason] if self.reason else []
        return markers.text([*lines, f'success: {self.score}'], phase)

    def publish(self, drawn: list[Marker]) -> None:
        """Send markers."""
        self.health.saw('picture')
        self.pictures.publish(MarkerArray(markers=drawn))

    def state(self) -> State:
        """For ``diagnostics``."""
        doing = 'drawing' if self.step is not None else 'waiting for steps'
        return '', doing, {'viewers': int(self.pictures.get_subscription_count())}


def main() -> None:
    """Entry point."""
    run_node(WatchNode)
