"""The simulated robot as a node: commands in; joint states, object poses, cameras, clock and verdicts out."""

from __future__ import annotations

from dataclasses import dataclass
from time import monotonic
from typing import Any

import numpy as np
from geometry_msgs.msg import Point, Pose, PoseArray, Quaternion
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rosgraph_msgs.msg import Clock as ClockMessage
from sensor_msgs.msg import Image, JointState
from std_msgs.msg import Float64MultiArray

from resfit_msgs.msg import Reward
from resfit_msgs.srv import ResetScene
from resfit_policy.convert import set_stamp, to_array
from resfit_policy.health import Health, State
from resfit_policy.ros import COMMAND, EVENT, SENSOR, declare, param, run_node
from resfit_policy.sampler import NotReady, match_joints
from resfit_policy.task import ConfigError, load_task
from resfit_sim.rendering import RenderError
from resfit_sim.simulation import Simulation, SimulationError

ENGAGE = 0.1  # rad between a command and the pose that it may take over
RESET_TIME = 1_000_000_000  # ns that a reset takes: whoever holds something from before sees that it is old


@dataclass(frozen=True)
class Parameters:
    """Parameters of the simulation."""

    task: str = param('woolly_ball', 'task name, or path of a task YAML')
    variant: str = param('unseen', 'objects: demonstrated (those of the demonstrations) or unseen')
    lockstep: bool = param(True, 'advance one tick per command, as fast as commands come; off: real time')
    vision: bool = param(False, 'render the cameras of the task at every control step')
    commands: str = param('position_controller/commands', 'command topic to listen to')
    ros2_control: bool = param(False, 'be the hardware behind ros2_control: hardware/joint_commands, in real time')


class SimNode(Node):
    """Thin shell around ``Simulation``."""

    def __init__(self) -> None:
        super().__init__('sim_node')
        self.parameters = parameters = declare(self, Parameters)
        if parameters.ros2_control and parameters.lockstep:
            raise ConfigError('ros2_control keeps its own time: set lockstep to false')
        self.task = load_task(parameters.task)
        self.simulation = Simulation(self.task, parameters.variant)
        self.names = list(self.task.robot.names)
        self.now = self.time() if parameters.ros2_control else RESET_TIME  # ns, stamp of the current tick
        self.engaged = False  # with ros2_control: commands have come near the measured pose since the last reset
        self.tick = 0  # since the last reset
        self.broken = False  # unstable: stands still until the next reset
        self.command = self.simulation.joint_positions().copy()
        self.advanced = monotonic()

        self.health = Health(self, self.state, ('command', 'tick', 'image'))
        self.clock = self.create_publisher(ClockMessage, 'clock', COMMAND)
        self.poses = self.create_publisher(PoseArray, 'object_poses', SENSOR)
        self.oracle = self.create_publisher(Reward, 'oracle', EVENT)
        cameras = self.task.cameras if parameters.vision else ()
        self.cameras = {camera: self.create_publisher(Image, f'{camera}/image', SENSOR) for camera in cameras}
        if parameters.ros2_control:
            self.joints = self.create_publisher(JointState, 'hardware/joint_states', SENSOR)
            self.create_subscription(JointState, 'hardware/joint_commands', self.on_hardware_command, COMMAND)
        else:
            self.joints = self.create_publisher(JointState, 'joint_states', SENSOR)
            self.create_subscription(Float64MultiArray, parameters.commands, self.on_command, COMMAND)
        self.create_service(ResetScene, 'sim/reset', self.on_reset)
        period = 0.25 if parameters.lockstep else self.task.tick_ns * 1e-9
        look = self.repeat if parameters.lockstep else self.advance
        self.create_timer(period, look, clock=Clock(clock_type=ClockType.STEADY_TIME))
        try:
            self.publish()
        except RenderError as error:
            raise ConfigError(f'{error}; or leave vision out') from None

    def on_command(self, message: Float64MultiArray) -> None:
        """Take a command; in lockstep it moves time on, unless it answers another tick than this one."""
        if len(message.data) != len(self.names) or not np.isfinite(message.data).all():
            self.get_logger().error(f'commands must be {len(self.names)} finite values; ignored', once=True)
            return
        label = message.layout.dim[0].label if message.layout.dim else ''
        if self.parameters.lockstep and label.isdigit() and int(label) != self.now:
            return
        self.health.saw('command')
        self.command[:] = message.data
        if self.parameters.lockstep:
            self.advance()

    def on_hardware_command(self, message: JointState) -> None:
        """Take a command of ros2_control. Like a drive that is switched on, it first waits for one near its pose."""
        try:
            command = match_joints(self.names, message.name, message.position)
        except NotReady:  # not a number before the first command
            return
        self.engaged |= bool(np.abs(command - self.simulation.joint_positions()).max() < ENGAGE)
        if self.engaged:
            self.command[:] = command

    def advance(self) -> None:
        """One tick."""
        if self.broken:
            return
        try:
            self.simulation.apply(self.command)
        except (SimulationError, ValueError) as error:
            self.broken = True
            self.get_logger().error(f'{error}; standing still until the next reset')
            return
        self.health.saw('tick')
        self.tick += 1
        self.now = self.time() if self.parameters.ros2_control else self.now + self.task.tick_ns
        self.publish()

    def time(self) -> int:
        """ns, of the node's clock: with ros2_control, whose joint states have that, there is no clock of its own."""
        return int(self.get_clock().now().nanoseconds)

    def repeat(self) -> None:
        """Publish the tick again when nobody has answered it: a sample was lost, or a node has just come."""
        if monotonic() - self.advanced > 1.0:
            self.publish()

    def on_reset(self, request: Any, response: Any) -> Any:
        """Put the scene into the start of a seed; time goes on."""
        self.simulation.reset(request.seed)
        self.broken, self.tick, self.engaged = False, 0, False
        self.now = self.time() if self.parameters.ros2_control else self.now + RESET_TIME
        self.command[:] = self.simulation.joint_positions()
        # With ros2_control the controllers need that time to let go of the old pose.
        set_stamp(response.stamp, self.now + (RESET_TIME if self.parameters.ros2_control else 0))
        response.success = True
        self.publish()
        return response

    def publish(self) -> None:
        """Publish the tick: everything that belongs to a control step first, joint states last."""
        self.advanced = monotonic()
        boundary = self.tick % self.task.ticks == 0
        if (boundary or not self.parameters.lockstep) and not self.parameters.ros2_control:
            clock = ClockMessage()
            set_stamp(clock.clock, self.now)
            self.clock.publish(clock)
        if boundary:
            self.publish_scene()
        simulation = self.simulation
        message = JointState(name=self.names)
        set_stamp(message.header.stamp, self.now)
        positions = simulation.joint_positions()
        if self.parameters.ros2_control:  # a joint 0.5 degrees beyond its limits ends the controller manager
            positions = np.clip(positions, self.task.robot.lower, self.task.robot.upper)
        message.position = to_array(positions, 'd')
        message.velocity = to_array(simulation.joint_velocities(), 'd')
        message.effort = to_array(simulation.joint_efforts(), 'd')
        self.joints.publish(message)

    def publish_scene(self) -> None:
        """Object poses, cameras and the oracle's verdict."""
        found = self.simulation.object_poses()
        poses = PoseArray()
        poses.header.frame_id = 'world'
        set_stamp(poses.header.stamp, self.now)
        for item in self.task.objects:
            (x, y, z), (i, j, k, w) = found[item.name]
            poses.poses.append(Pose(position=Point(x=x, y=y, z=z), orientation=Quaternion(x=i, y=j, z=k, w=w)))
        self.poses.publish(poses)
        size = self.task.image_size
        for name, publisher in self.cameras.items():
            image = Image(height=size, width=size, encoding='rgb8', step=3 * size)
            image.header.frame_id = name
            set_stamp(image.header.stamp, self.now)
            image.data = to_array(self.simulation.render(name, size, size), 'B')
            publisher.publish(image)
            self.health.saw('image')
        verdict = Reward(success=self.simulation.success(), source=Reward.SIM, confidence=1.0)
        set_stamp(verdict.header.stamp, self.now)
        self.oracle.publish(verdict)

    def state(self) -> State:
        """For ``diagnostics``."""
        return 'unstable: standing still until the next reset' if self.broken else '', 'simulating', {'tick': self.tick}

    def close(self) -> None:
        """Free the renderers."""
        self.simulation.close()


def main() -> None:
    """Entry point."""
    run_node(SimNode, SimNode.close)
