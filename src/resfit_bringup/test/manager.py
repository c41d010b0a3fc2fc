"""For tests of ros2_control: is it here, and what is active?"""

from __future__ import annotations

from typing import Any

from ament_index_python.packages import PackageNotFoundError, get_package_prefix

from resfit_policy.testing import Probe

NEEDED = (
    'controller_manager',
    'controller_manager_msgs',
    'forward_command_controller',
    'joint_state_broadcaster',
    'joint_state_topic_hardware_interface',
    'joint_trajectory_controller',
    'robot_state_publisher',
)


def missing() -> str:
    """Why no controller manager can be started here, '' where one can."""
    absent = []
    for name in NEEDED:
        try:
            get_package_prefix(name)
        except PackageNotFoundError:
            absent.append(name)
    return f'needs {", ".join(absent)} of ROS 2, which the ROS wheels lack' if absent else ''


def active(probe: Probe) -> set[str]:
    """Names of the active controllers."""
    from controller_manager_msgs.srv import ListControllers

    answer: Any = probe.call(ListControllers, 'controller_manager/list_controllers', ListControllers.Request())
    return {item.name for item in answer.controller if item.state == 'active'}
