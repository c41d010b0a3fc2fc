"""Brings up the controllers of ros2_control, refuses to act where they are not what they must be, and makes the
robot hold its measured pose whenever the streamer may not command.

It starts no process: the controller manager must run, with its hardware and ``config/controllers.yaml``.
"""

from __future__ import annotations

from dataclasses import dataclass
from time import monotonic
from typing import Any

import rclpy
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import JointState
from std_msgs.msg import Bool, Float64MultiArray
from std_srvs.srv import Trigger
from trajectory_msgs.msg import JointTrajectory

from resfit_policy.controllers import Controllers, Switchboard
from resfit_policy.convert import stamp_ns
from resfit_policy.health import Health, State
from resfit_policy.manager import Manager
from resfit_policy.ros import COMMAND, LATCHED, SENSOR, declare, param, run_node
from resfit_policy.task import ConfigError, load_task

try:
    from controller_manager_msgs.srv import ListControllers, SwitchController
except ImportError:  # the ROS wheels have none
    SwitchController = None

ANSWER = 5.0  # s within which the manager answers
LOOK = 0.25  # s between two looks at what is active


@dataclass(frozen=True)
class Parameters:
    """Parameters of the node."""

    task: str = param('woolly_ball', 'task name, or path of a task YAML')
    controller: str = param('position', 'which controller the streamer commands: position or trajectory')
    manager: str = param('controller_manager', 'name of the controller manager')
    feedback: str = param('hardware/joint_states', 'joint states of topic-based hardware, watched; empty: no watch')
    emergency_stop: str = param('emergency_stop', 'latched topic (std_msgs/Bool) at whose true the robot holds')
    quiet: float = param(0.2, 's without commands, or without joint states of the hardware, after which it holds')
    patience: float = param(30.0, 's to wait at start for the manager, and again for joint states')


class ControllersNode(Node):
    """Thin shell around ``Switchboard``."""

    def __init__(self) -> None:
        super().__init__('controllers_node')
        self.parameters = parameters = declare(self, Parameters)
        if parameters.controller not in ('position', 'trajectory'):
            raise ConfigError('parameter controller must be position or trajectory')
        if SwitchController is None:
            raise ConfigError('the package controller_manager_msgs is not installed here: it comes with ros2_control')
        self.task = load_task(parameters.task)
        self.names = Controllers(stream=f'{parameters.controller}_controller')
        self.switchboard = Switchboard(self.task.robot, self.names, bool(parameters.feedback), parameters.quiet)
        self.pending: Any = None  # the one request that the manager has not answered yet
        self.asked = self.looked = 0.0  # s, monotonic
        self.why = ''
        self.health = Health(self, self.state, ('joint_states', 'command'))
        self.create_subscription(JointState, 'joint_states', self.on_joints, SENSOR)
        manager = Manager(self, parameters.manager, parameters.patience)
        manager.check(self.task)
        manager.load(self.names, self.task.robot)
        manager.hold(self.names, lambda: self.switchboard.pose_known)
        self.switchboard.on_feedback(monotonic())
        self.switchboard.switched(monotonic(), {self.names.states, self.names.hold}, {self.names.stream})
        self.get_logger().info('holding the measured pose; limits are enforced')
        if parameters.controller == 'position':
            self.create_subscription(
                Float64MultiArray, 'position_controller/commands', self.on_command, COMMAND, raw=True
            )
        else:
            self.create_subscription(
                JointTrajectory, 'trajectory_controller/joint_trajectory', self.on_command, COMMAND, raw=True
            )
        if parameters.feedback:
            self.create_subscription(JointState, parameters.feedback, self.on_feedback, SENSOR, raw=True)
        self.create_subscription(Bool, parameters.emergency_stop, self.on_stop, LATCHED)
        self.create_service(Trigger, 'controllers/resume', self.on_resume)
        self.switch = self.create_client(SwitchController, f'{parameters.manager}/switch_controller')
        self.list = self.create_client(ListControllers, f'{parameters.manager}/list_controllers')
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(0.02, self.look, clock=steady)

    def on_joints(self, message: JointState) -> None:
        """The broadcaster's joint states."""
        self.health.saw('joint_states')
        stamp = stamp_ns(message.header.stamp)
        self.switchboard.on_measured(monotonic(), stamp, message.name, message.position)

    def on_feedback(self, message: bytes) -> None:
        """The hardware's joint states; the broadcaster has what is in them."""
        self.switchboard.on_feedback(monotonic())

    def on_command(self, data: bytes) -> None:
        """A command of the streamer; looked into only while it has no effect."""
        self.health.saw('command')
        positions = None
        if not self.switchboard.streaming:
            if self.parameters.controller == 'position':
                positions = deserialize_message(data, Float64MultiArray).data
            else:
                points = deserialize_message(data, JointTrajectory).points
                positions = points[-1].positions if points else []
        self.switchboard.on_command(monotonic(), positions)

    def on_stop(self, message: Bool) -> None:
        """Emergency stop."""
        self.switchboard.stopped = message.data

    def on_resume(self, request: Any, response: Any) -> Any:
        """Somebody says that the cause of the fault is gone."""
        response.success, response.message = bool(self.switchboard.fault), self.switchboard.fault or 'there is no fault'
        self.switchboard.resume()
        return response

    def look(self) -> None:
        """Ask the manager for one thing at a time: four times a second what is active, else to switch if due."""
        now = monotonic()
        why = self.switchboard.obstacle(now)
        if why != self.why:
            self.get_logger().info(f'holding: {why}' if why else 'the streamer may command')
            self.why = why
        if self.pending is not None:
            if now - self.asked > ANSWER:
                self.switchboard.fault = 'the controller manager does not answer'
                self.pending.cancel()
                self.pending = None
            return
        if now - self.looked > LOOK:
            self.looked = self.asked = now
            self.pending = self.list.call_async(ListControllers.Request())
            self.pending.add_done_callback(self.on_list)
            return
        wanted = self.switchboard.switch(now)
        if wanted is not None:
            activate, deactivate = wanted
            request = SwitchController.Request(activate_controllers=activate, deactivate_controllers=deactivate)
            request.strictness = SwitchController.Request.STRICT
            self.pending, self.asked = self.switch.call_async(request), now
            self.pending.add_done_callback(lambda future: self.on_switched(future, activate, deactivate))

    def on_switched(self, future: Any, activated: list[str], deactivated: list[str]) -> None:
        """The manager's answer; after a refusal it is asked what is active, before anything else."""
        self.pending, self.looked = None, 0.0
        if future.cancelled():
            return
        if future.result().ok:
            self.switchboard.switched(monotonic(), activated, deactivated)
        else:
            self.get_logger().error(f'no switch to {activated} from {deactivated}: {future.result().message}')

    def on_list(self, future: Any) -> None:
        """What is active."""
        self.pending = None
        if not future.cancelled():
            self.switchboard.on_active([item.name for item in future.result().controller if item.state == 'active'])

    def state(self) -> State:
        """For ``diagnostics``."""
        why = self.switchboard.obstacle(monotonic())
        problem = f'holding the measured pose: {why}' if why else ''
        return (
            problem,
            'streaming',
            {'controller': self.names.stream if self.switchboard.streaming else self.names.hold},
        )


def hold_at_end(node: ControllersNode) -> None:
    """The streamer's controller goes before its manager does."""
    node.switchboard.stopped = True
    end = monotonic() + 2.0  # the manager may be gone already
    while node.switchboard.streaming and monotonic() < end:
        rclpy.spin_once(node, timeout_sec=0.1)


def main() -> None:
    """Entry point."""
    run_node(ControllersNode, hold_at_end)
