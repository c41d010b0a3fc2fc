"""A joystick's buttons as an operator's desk: labels, abort, ready, emergency stop."""

from __future__ import annotations

from dataclasses import dataclass
from time import monotonic

from rclpy.node import Node
from sensor_msgs.msg import Joy

from resfit_policy.desk import ACTIONS, Desk
from resfit_policy.health import Health, State
from resfit_policy.ros import SENSOR, declare, param, run_node
from resfit_policy.task import ConfigError


@dataclass(frozen=True)
class Parameters:
    """Parameters of the node. Buttons are places in Joy.buttons, -1 for none; the defaults are an Xbox pad's."""

    operator_name: str = param('joystick', 'who labels, for the record')
    success: int = param(0, 'button (A) that labels the episode a success')
    failure: int = param(1, 'button (B) that labels the episode a failure')
    abort: int = param(2, 'button (X) that ends the episode without a result')
    undo: int = param(3, 'button (Y) that takes the newest correction back')
    ready: int = param(7, 'button (start) that says that the scene is set')
    stop: int = param(5, 'button (RB) that stops the robot')
    release: int = param(-1, 'button that releases the emergency stop; none: only the service does')
    quiet: float = param(2.0, 's without a message of the joystick, once heard, until it counts as unplugged')


class JoystickNode(Node):
    """Thin shell around ``Desk``: a button acts when it goes down."""

    def __init__(self) -> None:
        super().__init__('joystick_node')
        self.parameters = parameters = declare(self, Parameters)
        self.actions = {getattr(parameters, action): action for action in ACTIONS if getattr(parameters, action) >= 0}
        self.heard: float | None = None  # s, the newest message
        used = [getattr(parameters, action) for action in ACTIONS if getattr(parameters, action) >= 0]
        if len(used) != len(set(used)):
            raise ConfigError('two actions have the same button')
        self.down: set[int] = set()
        self.desk = Desk(self, parameters.operator_name, self.say)
        self.health = Health(self, self.state, ('joy',))
        self.create_subscription(Joy, 'joy', self.on_joy, SENSOR)

    def on_joy(self, message: Joy) -> None:
        """Act on the buttons that have just gone down."""
        self.health.saw('joy')
        self.heard = monotonic()
        down = {place for place, value in enumerate(message.buttons) if value}
        for place in sorted(down - self.down):
            if place in self.actions:
                self.desk.act(self.actions[place])
        self.down = down

    def say(self, text: str) -> None:
        """What the desk has to say goes to the log."""
        self.get_logger().info(text)

    def state(self) -> State:
        """For ``diagnostics``."""
        silent = self.heard is not None and monotonic() - self.heard > self.parameters.quiet
        problem = 'the joystick fell silent: plug it in, or label with "resfit label"' if silent else ''
        return problem, self.desk.phase.name.lower(), {'buttons': len(self.actions)}


def main() -> None:
    """Entry point."""
    run_node(JoystickNode)
