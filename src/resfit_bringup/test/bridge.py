"""A stand-in for a vendor's bridge, and the shortest one that keeps the contract of docs/ros2_control.md.

    python3 bridge.py TASK_YAML [direct]

Joint commands in, joint states out at 100 Hz; every joint follows its command within a few ticks. ``direct``: without
ros2_control, the commands are the streamer's own.
"""

from __future__ import annotations

import sys

import numpy as np
from rclpy.node import Node
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64MultiArray

from resfit_policy.ros import COMMAND, SENSOR, run_node
from resfit_policy.sampler import NotReady, match_joints
from resfit_policy.task import load_task

GAIN = 0.3  # of the way to the command, per tick


class Bridge(Node):
    """An arm that follows."""

    def __init__(self, path: str, direct: bool) -> None:
        super().__init__('bridge')
        self.robot = robot = load_task(path).robot
        self.names = list(robot.names)
        self.positions = (0.7 * robot.lower + 0.3 * robot.upper).astype(np.float64)
        self.command = self.positions.copy()
        hardware = '' if direct else 'hardware/'
        self.states = self.create_publisher(JointState, f'{hardware}joint_states', SENSOR)
        if direct:
            self.create_subscription(Float64MultiArray, 'position_controller/commands', self.on_array, COMMAND)
        else:
            self.create_subscription(JointState, 'hardware/joint_commands', self.on_command, COMMAND)
        self.create_timer(0.01, self.tick)

    def on_array(self, message: Float64MultiArray) -> None:
        self.command = np.array(message.data)

    def on_command(self, message: JointState) -> None:
        try:
            self.command = match_joints(self.names, message.name, message.position).astype(np.float64)
        except NotReady:  # not a number before the first command: stay
            pass

    def tick(self) -> None:
        before = self.positions
        self.positions = before + GAIN * (self.command - before)
        message = JointState(name=self.names, position=self.positions.tolist())
        message.velocity = ((self.positions - before) / 0.01).tolist()
        message.header.stamp = self.get_clock().now().to_msg()
        self.states.publish(message)


if __name__ == '__main__':
    run_node(lambda: Bridge(sys.argv[1], 'direct' in sys.argv[2:]))
