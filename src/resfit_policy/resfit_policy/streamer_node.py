"""Interpolates targets to the controller's rate, in a process of its own.

Whatever happens to the policy's interpreter, commands stay smooth and the robot holds its measured pose.
"""

from __future__ import annotations

from dataclasses import dataclass
from time import monotonic
from typing import Any

from rclpy.clock import Clock, ClockType
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from sensor_msgs.msg import JointState
from std_msgs.msg import Bool, Float64MultiArray, MultiArrayDimension
from std_srvs.srv import SetBool
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from resfit_policy.convert import stamp_ns
from resfit_policy.health import Health, State
from resfit_policy.ros import COMMAND, LATCHED, SENSOR, autostart, cleaner, declare, param, run_node
from resfit_policy.streamer import Positions
from resfit_policy.streaming import Streamer
from resfit_policy.task import ConfigError, load_task

CONTROLLERS = 'position', 'trajectory'


@dataclass(frozen=True)
class Parameters:
    """Parameters of the streamer."""

    task: str = param('woolly_ball', 'task name, or path of a task YAML')
    lockstep: bool = param(False, 'answer every tick of a lockstep simulation instead of keeping time')
    controller: str = param(
        'position', 'what the controller takes: position (an array) or trajectory (points)', one_of=CONTROLLERS
    )
    commands: str = param('position_controller/commands', 'command topic of the controller')
    autostart: bool = param(False, 'configure and activate without being asked')


class StreamerNode(LifecycleNode):
    """Lifecycle node around ``Streamer``."""

    def __init__(self) -> None:
        super().__init__('streamer_node')
        self.parameters = declare(self, Parameters)
        if self.parameters.lockstep and self.parameters.controller != 'position':
            raise ConfigError('lockstep needs controller position: a trajectory cannot say which tick it answers')
        self.task = load_task(self.parameters.task)
        self.streamer = Streamer(self.task)
        self.active = False
        self.sent = 0.0  # wall time of the last command
        self.health = Health(self, self.state, ('joint_states', 'target', 'command'))
        self.clean = cleaner(self)

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Create the interfaces."""
        self.streamer = Streamer(self.task)
        if self.parameters.controller == 'trajectory':
            self.commands = self.create_publisher(JointTrajectory, self.parameters.commands, COMMAND)
        else:
            self.commands = self.create_publisher(Float64MultiArray, self.parameters.commands, COMMAND)
        self.create_subscription(JointState, 'joint_states', self.on_joints, SENSOR)
        self.create_subscription(JointState, 'target', self.on_target, COMMAND)
        self.stop = self.create_publisher(Bool, 'emergency_stop', LATCHED)
        self.create_subscription(Bool, 'emergency_stop', self.on_stop, LATCHED)
        self.create_service(SetBool, 'set_emergency_stop', self.on_set_stop)
        if not self.parameters.lockstep:
            steady = Clock(clock_type=ClockType.STEADY_TIME)
            self.create_timer(self.task.tick_ns * 1e-9, self.on_tick, clock=steady)
        return TransitionCallbackReturn.SUCCESS

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Start to send commands, from the pose measured now."""
        stopped = self.streamer.stopped
        self.streamer.restart()
        if stopped:
            self.streamer.stop()
        self.active = True
        return super().on_activate(state)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop. Without ros2_control the robot keeps the last command, else ``controllers_node`` makes it hold."""
        self.active = False
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Drop what ``on_configure`` made."""
        self.clean()
        return TransitionCallbackReturn.SUCCESS

    def on_joints(self, message: JointState) -> None:
        """Take the measured pose; in lockstep it is also the request for a command."""
        self.health.saw('joint_states')
        self.streamer.on_joints(stamp_ns(message.header.stamp), message.name, message.position)
        self.answer()

    def on_target(self, message: JointState) -> None:
        """Take the policy's target."""
        self.health.saw('target')
        self.streamer.on_target(stamp_ns(message.header.stamp), message.name, message.position)
        self.answer()

    def on_stop(self, message: Bool) -> None:
        """Anyone may stop the robot by publishing true. Only the service lets it go on."""
        if message.data and not self.streamer.stopped:
            self.get_logger().error('emergency stop: holding the measured pose')
            self.streamer.stop()
            self.stop.publish(Bool(data=True))  # latched, for a policy that starts anew
        elif self.streamer.stopped and not message.data:
            self.stop.publish(Bool(data=True))
            self.get_logger().error('still stopped: only the service set_emergency_stop releases the emergency stop')

    def on_set_stop(self, request: Any, response: Any) -> Any:
        """Stop, or release the stop, which takes this deliberate call."""
        if request.data:
            self.streamer.stop()
        elif self.streamer.stopped:
            self.streamer.restart()
        self.stop.publish(Bool(data=request.data))
        response.success = True
        response.message = 'holding the measured pose' if request.data else 'released: waiting for the next episode'
        self.get_logger().warning(f'emergency stop: {response.message}')
        return response

    def answer(self) -> None:
        """In lockstep, send the command of the newest tick if it is due.

        The dimension's label names the tick: the simulation drops an answer to any other one.
        """
        due = self.streamer.answer() if self.parameters.lockstep and self.active else None
        if due is not None:
            self.send(due[1], str(due[0]))

    def on_tick(self) -> None:
        """In real time, send the command for now."""
        command = self.streamer.tick() if self.active else None
        if command is not None:
            self.send(command, 'joint')

    def send(self, command: Positions, label: str) -> None:
        """Publish one command, (A,) rad in the robot's joint order."""
        if self.parameters.controller == 'trajectory':
            point = JointTrajectoryPoint(positions=command.tolist())
            point.time_from_start.nanosec = self.task.tick_ns  # there when the next point comes
            self.commands.publish(JointTrajectory(joint_names=list(self.task.robot.names), points=[point]))
        else:
            message, size = Float64MultiArray(data=command.tolist()), len(command)
            message.layout.dim.append(MultiArrayDimension(label=label, size=size, stride=size))
            self.commands.publish(message)
        now = monotonic()
        self.health.saw('command')
        if self.sent:
            self.health.took('command_period', 1e3 * (now - self.sent))
        self.sent = now

    def state(self) -> State:
        """For ``diagnostics``."""
        streamer = self.streamer
        problem = f'holding the measured pose: {streamer.why}' if streamer.holding else ''
        return problem, 'streaming', {'refused_targets': streamer.refused}


def main() -> None:
    """Entry point."""
    run_node(lambda: autostart(StreamerNode()))
