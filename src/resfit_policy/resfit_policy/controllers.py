"""What ros2_control must be like before the streamer may command through it, and who commands when. No ROS here.

Two controllers share the joints' command interfaces, and one of them is always active: the one that the streamer
feeds, or the hold controller, which keeps the pose measured when it was activated. The reasons to hold are all here.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from resfit_policy.observation import Float
from resfit_policy.sampler import NotReady, match_joints
from resfit_policy.streaming import jumped
from resfit_policy.task import ConfigError, Robot

QUIET = 0.2  # s without commands, or without joint states of the hardware, after which the robot holds (default)
SETTLE = 0.3  # s that a jump of the measured pose must be past
NEAR = 0.15  # rad between commanded and measured pose up to which the streamer may take over


@dataclass(frozen=True)
class Controllers:
    """Names in the controller manager."""

    stream: str = 'position_controller'  # takes the streamer's commands
    hold: str = 'hold_controller'
    states: str = 'joint_state_broadcaster'


def check_manager(enforce: object, rate: object, command_hz: float) -> None:
    """The manager's parameters ``enforce_command_limits`` and ``update_rate``. Raises ConfigError."""
    if enforce is not True:
        raise ConfigError(
            f'the controller manager has enforce_command_limits: {enforce}: it would pass on commands beyond the '
            "joints' limits; set it to true in its parameters (config/controllers.yaml has it) and start it again"
        )
    if not isinstance(rate, int) or rate < command_hz:
        raise ConfigError(
            f'the controller manager runs at {rate} Hz, slower than the commands of the task ({command_hz:g} Hz): '
            'raise update_rate in its parameters'
        )


def check_interfaces(joints: Sequence[str], offered: Collection[str]) -> None:
    """The hardware's command interfaces, such as 'head_j1/position', are those of ``joints``. Raises ConfigError."""
    wanted = {f'{joint}/position' for joint in joints}
    missing, more = sorted(wanted - set(offered)), sorted(set(offered) - wanted)
    if missing:
        raise ConfigError(
            f'the hardware has no command interface {_some(missing)}: the robot description has no <ros2_control> '
            'block, or one for other joints than the robot YAML lists'
        )
    if more:
        raise ConfigError(
            f'the hardware has command interfaces that are in no action: {_some(more)}; give them state interfaces '
            'only (mimic joints follow), or list their joints in the robot YAML'
        )


def check_joints(controller: str, wanted: Sequence[str], found: Sequence[str]) -> None:
    """A controller's parameter ``joints`` is the action's: commands go by place, not by name. Raises ConfigError."""
    if list(found) == list(wanted):
        return
    missing, unknown = [j for j in wanted if j not in found], [j for j in found if j not in wanted]
    if missing or unknown:
        what = f'lacks {_some(missing)}' if missing else f'has {_some(unknown)}, which the robot YAML does not list'
    else:
        what = 'has the joints in another order than the robot YAML: commands would reach the wrong ones'
    raise ConfigError(f'{controller} {what}; set its parameter joints to the list in the robot YAML')


def _some(names: Sequence[str]) -> str:
    return ', '.join(names[:3]) + (f' and {len(names) - 3} more' if len(names) > 3 else '')


class Switchboard:
    """Decides whether the streamer's controller may command. Times are seconds of a clock that never jumps."""

    def __init__(self, robot: Robot, controllers: Controllers, feedback: bool, quiet: float = QUIET) -> None:
        """``feedback``: the hardware speaks by topic, and its joint states must keep coming. ``quiet``: s."""
        self.robot, self.controllers, self.feedback, self.quiet = robot, controllers, feedback, quiet
        self.streaming = False  # the streamer's controller was made active
        self.fault = ''  # ends by a deliberate act alone, ``resume``
        self.stopped = False  # emergency stop
        self._active: frozenset[str] = frozenset()
        self._held = -np.inf  # when the hold controller was last activated
        self._jumped = self._fed = self._commanded = -np.inf
        self._command: Float | None = None
        self._measured: tuple[int, Float] | None = None  # ns, rad

    @property
    def pose_known(self) -> bool:
        """Every joint's position has been measured, and is a number."""
        return self._measured is not None

    def on_active(self, active: Collection[str]) -> None:
        """Names of the active controllers, as the manager says them."""
        self._active = frozenset(active)
        if self.streaming and self.controllers.stream not in self._active:
            self.streaming = False
            self.fault = (
                f'{self.controllers.stream} is not active: a command of the wrong length stops it, or somebody did; '
                'see to the cause, then call service controllers/resume'
            )

    def on_feedback(self, now: float) -> None:
        """Joint states have come from the hardware."""
        self._fed = now

    def on_command(self, now: float, positions: ArrayLike | None = None) -> None:
        """The streamer has sent a command, (A,) rad; None where only its coming matters."""
        self._commanded = now
        self._command = None if positions is None else np.asarray(positions, np.float32)

    def on_measured(self, now: float, stamp: int, names: Sequence[str], positions: ArrayLike) -> None:
        """Take ``joint_states`` of ``stamp`` ns; unusable ones are as good as none."""
        try:
            measured = match_joints(self.robot.names, names, positions)
        except NotReady:
            return
        if self._measured is not None:
            before, then = self._measured[1], self._measured[0]
            if stamp < then or jumped(before, measured, 1e-9 * (stamp - then), self.robot.velocity):
                self._jumped = now
        self._measured = (stamp, measured)

    def resume(self) -> None:
        """Somebody has looked after the fault."""
        self.fault = ''

    def obstacle(self, now: float) -> str:
        """Why the streamer may not command now; '' when it may."""
        if self.fault:
            return self.fault
        if self.stopped:
            return 'emergency stop'
        if self.feedback and now - self._fed > self.quiet:
            return 'the hardware sends no joint states'
        if self._measured is None:
            return 'no joint_states yet'
        if now - self._jumped < SETTLE:
            return 'the measured pose jumped'
        if now - self._commanded > self.quiet:
            return 'the streamer sends no commands'
        return '' if self.streaming else self._far()

    def _far(self) -> str:
        """Taking over must move nothing."""
        if self._command is None or self._measured is None:
            return 'no command yet'
        if self._command.shape != self._measured[1].shape:
            return f'commands have {self._command.size} values for {self._measured[1].size} joints'
        away = np.abs(self._command - self._measured[1])
        worst = int(away.argmax())
        if not away[worst] <= NEAR:
            return f'{self.robot.names[worst]} is commanded {away[worst]:.2f} rad away from where it is'
        return ''

    def switch(self, now: float) -> tuple[list[str], list[str]] | None:
        """Controllers to activate and to deactivate now, None when all is as it should be.

        Without feedback the broadcaster goes too: it would repeat the last pose with new stamps, and nobody could
        tell. A controller in both lists starts anew: so a hold takes the pose measured after a jump.
        """
        names = self.controllers
        wanted = {names.states, names.hold if self.obstacle(now) else names.stream}
        if self.feedback and now - self._fed > self.quiet:
            wanted.discard(names.states)
        activate = wanted - self._active
        deactivate = {names.states, names.hold, names.stream} & self._active - wanted
        if names.hold in wanted & self._active and self._held < self._jumped:
            activate.add(names.hold)
            deactivate.add(names.hold)
        return (sorted(activate), sorted(deactivate)) if activate or deactivate else None

    def switched(self, now: float, activated: Collection[str], deactivated: Collection[str]) -> None:
        """The manager has done what ``switch`` asked for."""
        if self.controllers.hold in activated:
            self._held = now
        self._active = (self._active - frozenset(deactivated)) | frozenset(activated)
        self.streaming = self.controllers.stream in self._active
