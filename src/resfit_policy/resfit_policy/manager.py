"""The services of ros2_control's controller manager, each with a bounded wait, and what a start asks of them."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import Any

import rclpy
from rcl_interfaces.srv import GetParameters
from rclpy.node import Node

from resfit_policy.controllers import Controllers, check_interfaces, check_joints, check_manager
from resfit_policy.task import ConfigError, Robot, Task

try:
    from controller_manager_msgs import srv
except ImportError:  # the ROS wheels have none; the node says so
    srv = None


class Manager:
    """For the time before ``node`` is spun: every call blocks, and what is wrong is a ConfigError."""

    def __init__(self, node: Node, name: str, patience: float) -> None:
        """``name``: of the manager's node. ``patience``: s that each step may take."""
        self.node, self.name, self.patience = node, name, patience

    def check(self, task: Task) -> None:
        """The manager enforces limits, is fast enough, and commands the joints of the task and no others."""
        enforce, rate = self.parameters(self.name, ['enforce_command_limits', 'update_rate'])
        check_manager(enforce.bool_value if enforce.type else 'unset', rate.integer_value, task.command_hz)
        check_interfaces(task.robot.names, self.interfaces())

    def load(self, names: Controllers, robot: Robot) -> None:
        """Load and configure the controllers; each has the joints of every action in its order."""
        there = self.states()
        for name in (names.states, names.hold, names.stream):
            if name not in there and not self.ask('LoadController', name=name).ok:
                raise ConfigError(f'the manager could not load {name}: its log says why (is its type a parameter?)')
            if there.get(name, 'unconfigured') == 'unconfigured' and not self.ask('ConfigureController', name=name).ok:
                raise ConfigError(f'the manager could not configure {name}: its log says why')
            check_joints(name, robot.names, self.parameters(name, ['joints'])[0].string_array_value)

    def hold(self, names: Controllers, measured: Callable[[], bool]) -> None:
        """Broadcaster first; then, once the pose is ``measured``, the hold controller; the streamer's stays out."""
        there = self.states()
        if there[names.stream] == 'active':  # left behind by a predecessor
            self.switch([], [names.stream])
        if there[names.states] != 'active':
            self.switch([names.states], [])
        self.wait_for(measured, 'joint_states with finite positions: does the hardware send any?')
        if there[names.hold] != 'active':
            self.switch([names.hold], [])
        states = self.states()
        for name in (names.states, names.hold):
            if states[name] != 'active':
                raise ConfigError(f'{name} is {states[name]}, not active: the log of the controller manager says why')

    def interfaces(self) -> list[str]:
        """Command interfaces of the hardware, which needs a while to come up."""
        end = monotonic() + self.patience
        while True:
            found = self.ask('ListHardwareInterfaces').command_interfaces
            offered = [item.name for item in found if item.is_available]
            if offered or monotonic() > end:
                return offered
            rclpy.spin_once(self.node, timeout_sec=0.2)

    def states(self) -> dict[str, str]:
        """State of every loaded controller."""
        return {item.name: item.state for item in self.ask('ListControllers').controller}

    def switch(self, activate: list[str], deactivate: list[str]) -> None:
        """Switch controllers, all or none."""
        strict = srv.SwitchController.Request.STRICT
        answer = self.ask(
            'SwitchController', activate_controllers=activate, deactivate_controllers=deactivate, strictness=strict
        )
        if not answer.ok:
            raise ConfigError(f'the manager did not activate {activate} and deactivate {deactivate}: {answer.message}')

    def parameters(self, node: str, names: list[str]) -> Any:
        """Values of another node's parameters."""
        return self.call(GetParameters, f'{node}/get_parameters', names=names).values

    def ask(self, kind: str, **request: Any) -> Any:
        """The answer of one of the manager's services: SwitchController is ``switch_controller``."""
        service = ''.join(f'_{letter.lower()}' if letter.isupper() else letter for letter in kind).strip('_')
        return self.call(getattr(srv, kind), f'{self.name}/{service}', **request)

    def call(self, kind: Any, service: str, **request: Any) -> Any:
        """The answer of a service."""
        client = self.node.create_client(kind, service)
        try:
            self.wait_for(client.service_is_ready, f'service {service}: does the manager run, and have a description?')
            future = client.call_async(kind.Request(**request))
            self.wait_for(future.done, f'an answer of {service}')
            return future.result()
        finally:
            self.node.destroy_client(client)

    def wait_for(self, true: Callable[[], bool], what: str) -> None:
        """Spin until ``true()``."""
        end = monotonic() + self.patience
        while not true():
            if monotonic() > end:
                raise ConfigError(f'waited {self.patience:g} s for {what}')
            rclpy.spin_once(self.node, timeout_sec=0.1)
