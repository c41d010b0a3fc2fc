"""What is refused at start, and the one reason to let the streamer command: that nothing speaks against it."""

from __future__ import annotations

import numpy as np
import pytest

from resfit_policy.controllers import (
    NEAR,
    QUIET,
    SETTLE,
    Controllers,
    Switchboard,
    check_interfaces,
    check_joints,
    check_manager,
)
from resfit_policy.task import ConfigError, load_task

ROBOT = load_task('woolly_ball').robot
NAMES = list(ROBOT.names)
HOME = ((ROBOT.lower + ROBOT.upper) / 2).astype(np.float64)
STREAM, HOLD, STATES = 'position_controller', 'hold_controller', 'joint_state_broadcaster'
OFFERED = [f'{name}/position' for name in NAMES]


@pytest.mark.parametrize('enforce', [False, 'unset', None, 1])
def test_a_manager_that_enforces_no_limits_is_refused(enforce: object) -> None:
    with pytest.raises(ConfigError, match='enforce_command_limits'):
        check_manager(enforce, 100, 100.0)
    check_manager(True, 100, 100.0)


def test_a_manager_slower_than_the_commands_is_refused() -> None:
    with pytest.raises(ConfigError, match='raise update_rate'):
        check_manager(True, 50, 100.0)
    check_manager(True, 500, 100.0)


@pytest.mark.parametrize(
    ('offered', 'said'),
    [
        ([], 'no <ros2_control> block'),
        (OFFERED[:-1], 'head_j3/position'),
        ([*OFFERED[:-1], 'head_j3/velocity'], 'head_j3/position'),
        ([*OFFERED, 'R_th_j2/position'], 'R_th_j2/position'),
    ],
)
def test_hardware_with_other_command_interfaces_than_the_action_has_joints_is_refused(
    offered: list[str], said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        check_interfaces(NAMES, offered)
    check_interfaces(NAMES, sorted(OFFERED))


@pytest.mark.parametrize(
    ('found', 'said'),
    [
        (NAMES[:-1], 'lacks head_j3'),
        ([], 'lacks R_arm_j1, R_arm_j2, R_arm_j3 and 26 more'),
        ([*NAMES, 'tail'], 'has tail'),
        ([*NAMES[:-1], 'tail'], 'lacks head_j3'),
        (sorted(NAMES), 'another order'),
    ],
)
def test_a_controller_of_other_joints_or_in_another_order_is_refused(found: list[str], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        check_joints(STREAM, NAMES, found)
    check_joints(STREAM, NAMES, tuple(NAMES))


class Robot:
    """A switchboard with everything as it should be; each call lets 10 ms pass, and does what it asks for."""

    def __init__(self, feedback: bool = True) -> None:
        self.switchboard = Switchboard(ROBOT, Controllers(), feedback)
        self.now = 100.0
        self.pose, self.command, self.fed = HOME.copy(), HOME.copy(), True
        self.switches: list[tuple[list[str], list[str]]] = []
        self.switchboard.switched(self.now, {HOLD, STATES}, set())

    def run(self, seconds: float, streamer: bool = True, manager: bool = True) -> Robot:
        for _ in range(round(seconds / 0.01)):
            self.now += 0.01
            if self.fed:
                self.switchboard.on_feedback(self.now)
            if STATES in self.switchboard._active:
                self.switchboard.on_measured(self.now, round(self.now * 1e9), NAMES, self.pose)
            if streamer:
                self.switchboard.on_command(self.now, self.command)
            wanted = self.switchboard.switch(self.now)
            if wanted is not None and manager:
                self.switches.append(wanted)
                self.switchboard.switched(self.now, *wanted)
        return self

    @property
    def why(self) -> str:
        return self.switchboard.obstacle(self.now)


def test_the_streamer_takes_over_when_it_commands_the_measured_pose() -> None:
    robot = Robot().run(0.5)
    assert robot.switches == [([STREAM], [HOLD])] and robot.switchboard.streaming and not robot.why


def test_it_does_not_take_over_from_afar() -> None:
    robot = Robot()
    robot.command[3] += NEAR + 0.01
    robot.run(1.0)
    assert not robot.switches and 'R_arm_j4 is commanded 0.16 rad away' in robot.why
    robot.command[3] -= 0.02
    assert robot.run(0.1).switchboard.streaming


@pytest.mark.parametrize('command', [np.full(29, np.nan), np.zeros(28), np.zeros(0)])
def test_it_does_not_take_over_with_a_command_that_is_none(command: np.ndarray) -> None:
    robot = Robot()
    robot.command = command
    assert not robot.run(1.0).switches and robot.why


def test_while_it_streams_a_command_may_be_far_as_when_a_hand_squeezes() -> None:
    robot = Robot().run(0.5)
    robot.command[20] += 1.0
    assert robot.run(1.0).switchboard.streaming


def test_a_silent_streamer_makes_the_robot_hold_and_a_speaking_one_takes_over_again() -> None:
    robot = Robot().run(0.5).run(QUIET + 0.05, streamer=False)
    assert robot.switches[-1] == ([HOLD], [STREAM]) and robot.why == 'the streamer sends no commands'
    assert robot.run(0.1).switchboard.streaming


def test_no_joint_states_from_the_hardware_stop_the_broadcaster_too_so_that_nobody_acts_on_old_ones() -> None:
    robot = Robot().run(0.5)
    robot.fed = False
    robot.run(QUIET + 0.05)
    assert robot.switches[-1] == ([HOLD], [STATES, STREAM])
    robot.fed = True
    assert robot.run(0.2).switchboard.streaming and STATES in robot.switchboard._active


def test_mock_hardware_has_no_feedback_to_wait_for() -> None:
    robot = Robot(feedback=False)
    robot.fed = False
    assert robot.run(0.5).switchboard.streaming


def test_a_jump_of_the_measured_pose_makes_it_hold_the_new_one_for_a_while() -> None:
    robot = Robot().run(0.5)
    robot.pose = robot.pose + 0.4
    robot.run(0.02)
    assert robot.switches[-1] == ([HOLD], [STREAM]) and robot.why == 'the measured pose jumped'
    robot.run(SETTLE + 0.1)
    assert 'away from where it is' in robot.why
    robot.pose = robot.pose + 0.4  # while it holds: it must let go of the old pose
    robot.run(0.02)
    assert robot.switches[-1] == ([HOLD], [HOLD])
    robot.command = robot.pose.copy()
    assert robot.run(SETTLE + 0.1).switchboard.streaming


def test_the_fastest_motion_is_no_jump() -> None:
    robot = Robot().run(0.5)
    for _ in range(30):
        robot.pose = np.clip(robot.pose + ROBOT.velocity * 0.01, ROBOT.lower, ROBOT.upper)
        robot.run(0.01)
    assert robot.switchboard.streaming


@pytest.mark.parametrize('active', [{HOLD, STATES}, {STATES}, set()])
def test_a_controller_that_somebody_else_stopped_stays_out_until_a_deliberate_act(active: set[str]) -> None:
    robot = Robot().run(0.5)
    robot.switchboard.on_active(active)
    robot.run(1.0)
    assert f'{STREAM} is not active' in robot.why and not robot.switchboard.streaming
    assert robot.switchboard._active == {HOLD, STATES}
    robot.switchboard.resume()
    assert robot.run(0.1).switchboard.streaming


def test_the_emergency_stop_holds_until_it_is_taken_back() -> None:
    robot = Robot().run(0.5)
    robot.switchboard.stopped = True
    robot.run(1.0)
    assert robot.switches[-1] == ([HOLD], [STREAM]) and robot.why == 'emergency stop'
    robot.switchboard.stopped = False
    assert robot.run(0.1).switchboard.streaming


def test_a_manager_that_refuses_is_asked_again_and_nothing_is_taken_for_done() -> None:
    robot = Robot().run(0.5, manager=False)
    assert not robot.switchboard.streaming and robot.switchboard.switch(robot.now) == ([STREAM], [HOLD])


def test_unusable_joint_states_count_as_none() -> None:
    switchboard = Switchboard(ROBOT, Controllers(), feedback=False)
    for names, positions in ((NAMES[1:], HOME[1:]), (NAMES, np.full(29, np.nan)), (['other'] * 29, HOME)):
        switchboard.on_measured(0.0, 0, names, positions)
        assert switchboard.obstacle(0.0) == 'no joint_states yet' and not switchboard.pose_known
    switchboard.on_measured(0.0, 0, NAMES[::-1], HOME[::-1])
    assert switchboard.pose_known
