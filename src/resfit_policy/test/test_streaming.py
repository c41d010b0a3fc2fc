"""The streamer's decisions: bounds, holds, and one answer per tick."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resfit_policy.streaming import Streamer
from resfit_policy.task import load_task

TASK = load_task('woolly_ball')
NAMES = list(TASK.robot.names)
TICK, PERIOD = TASK.tick_ns, TASK.period_ns
HOME = np.clip(np.zeros(TASK.action_size), TASK.robot.lower, TASK.robot.upper)


def streamer(at: int = 0) -> Streamer:
    made = Streamer(TASK)
    made.on_joints(at, NAMES, HOME)
    return made


def test_commands_stay_within_speed_and_position_limits_whatever_the_targets_are() -> None:
    random = np.random.default_rng(0)
    made, last, now = streamer(), HOME, 0
    step = TASK.robot.velocity * TICK * 1e-9
    for _ in range(200):
        made.on_target(now, NAMES, random.normal(0, 100, TASK.action_size))
        for _ in range(TASK.ticks):
            made.on_joints(now, NAMES, HOME)
            command = made.tick()
            assert command is not None and np.isfinite(command).all()
            assert (np.abs(command - last) <= step + 1e-12).all()
            assert (command >= TASK.robot.lower).all() and (command <= TASK.robot.upper).all()
            last, now = command, now + TICK


@pytest.mark.parametrize(
    ('names', 'positions'),
    [
        (NAMES, np.full(29, np.nan)),
        (NAMES, np.append(np.zeros(28), np.inf)),
        (NAMES[:-1], np.zeros(28)),
        (NAMES, np.zeros(28)),
        (['other', *NAMES[1:]], np.zeros(29)),
    ],
)
def test_an_unusable_target_means_hold_the_measured_pose(names: list[str], positions: np.ndarray) -> None:
    made = streamer()
    made.on_target(0, NAMES, HOME + 0.1)
    made.tick()
    measured = HOME + 0.02
    made.on_joints(TICK, NAMES, np.clip(measured, TASK.robot.lower, TASK.robot.upper))
    made.on_target(TICK, names, positions)
    command = made.tick()
    assert made.holding and made.refused == 1
    np.testing.assert_allclose(command, np.clip(measured, TASK.robot.lower, TASK.robot.upper), atol=1e-6)


def test_when_targets_stop_the_measured_pose_is_latched_and_held() -> None:
    made = streamer()
    made.on_target(0, NAMES, HOME + 0.05)
    for k in range(1, 11):
        made.on_joints(k * TICK, NAMES, HOME)
        made.tick()
        assert not made.holding
    slack = np.clip(HOME + 0.03, TASK.robot.lower, TASK.robot.upper)
    for k in range(11, 20):
        made.on_joints(k * TICK, NAMES, slack if k == 11 else HOME)  # the pose drifts; the hold does not follow
        held = made.tick()
        assert made.holding
    np.testing.assert_allclose(held, slack, atol=1e-6)


def test_a_stale_target_is_not_begun() -> None:
    made = streamer(at=10 * PERIOD)
    made.on_target(10 * PERIOD - 2 * PERIOD - 1, NAMES, HOME + 0.1)
    np.testing.assert_array_equal(made.tick(), made.tick())
    assert made.holding


def test_after_a_hold_the_ramp_starts_from_the_measured_pose() -> None:
    made = streamer()
    made.on_target(0, NAMES, HOME + 0.1)
    made.tick()
    elsewhere = np.clip(HOME + 0.2, TASK.robot.lower, TASK.robot.upper)
    made.on_joints(100 * PERIOD, NAMES, elsewhere)
    made.tick()
    made.on_target(100 * PERIOD, NAMES, elsewhere)
    np.testing.assert_allclose(made.tick(), elsewhere, atol=1e-6)


def test_lockstep_answers_every_tick_once_and_waits_for_the_next_target() -> None:
    made = streamer()
    assert made.answer() is None  # no target yet: the simulation stands still
    made.on_target(0, NAMES, HOME + 0.01)
    answers = []
    for k in range(TASK.ticks):
        made.on_joints(k * TICK, NAMES, HOME)
        due = made.answer()
        assert due is not None and due[0] == k * TICK
        answers.append(due[1])
    np.testing.assert_allclose(answers[-1], np.clip(HOME + 0.01, TASK.robot.lower, TASK.robot.upper), atol=1e-6)
    made.on_joints(PERIOD, NAMES, HOME)
    assert made.answer() is None
    made.on_target(PERIOD, NAMES, HOME)
    assert made.answer() is not None


def test_lockstep_gives_a_repeated_tick_the_same_command() -> None:
    made = streamer()
    made.on_target(0, NAMES, HOME + 0.05)
    first = made.answer()
    made.on_joints(0, NAMES, HOME)
    again = made.answer()
    assert first is not None and again is not None and first[0] == again[0]
    np.testing.assert_array_equal(first[1], again[1])


def test_a_reset_in_the_middle_of_a_ramp_ends_the_ramp() -> None:
    made = streamer()
    made.on_target(0, NAMES, HOME + 0.1)
    made.answer()
    made.on_joints(1_000_000_000, NAMES, HOME)  # the scene was reset: time has jumped
    assert made.answer() is None and made.holding


def test_joints_are_matched_by_name() -> None:
    made = Streamer(TASK)
    order = np.random.default_rng(1).permutation(TASK.action_size)
    values = np.linspace(0.0, 0.1, TASK.action_size)
    made.on_joints(0, [NAMES[i] for i in order] + ['mimic'], values[order])
    np.testing.assert_allclose(made.tick() if not made.on_target(0, NAMES, values) else None, values, atol=1e-6)


def test_time_that_goes_back_starts_afresh() -> None:
    made = streamer(at=100 * PERIOD)
    made.on_target(100 * PERIOD, NAMES, HOME)
    assert made.answer() is not None
    made.on_joints(0, NAMES, HOME)
    made.on_target(0, NAMES, HOME)
    assert made.answer() is not None


def test_an_emergency_stop_holds_the_measured_pose_until_it_is_released() -> None:
    made = streamer()
    made.on_target(0, NAMES, HOME + 0.1)
    made.tick()
    made.on_joints(TICK, NAMES, HOME + 0.005)
    made.stop()
    for k in range(1, 20):
        made.on_joints(k * TICK, NAMES, HOME + 0.02)
        made.on_target(k * TICK, NAMES, HOME + 0.1)
        held = made.tick()
        assert made.holding and made.why == 'emergency stop'
    np.testing.assert_allclose(held, np.clip(HOME + 0.005, None, TASK.robot.upper), atol=1e-6)
    sagged = np.clip(HOME - 0.3, TASK.robot.lower, TASK.robot.upper)
    made.on_joints(20 * TICK, NAMES, sagged)
    made.restart()
    np.testing.assert_allclose(made.tick(), sagged, atol=1e-6)
    made.on_target(20 * TICK, NAMES, HOME)
    assert made.tick() is not None and not made.holding


def test_every_command_is_finite_within_limits_and_near_the_last_one_or_the_measured_pose() -> None:
    robot, calls = TASK.robot, 0
    step = robot.velocity * TICK * 1e-9 + 1e-6

    @settings(max_examples=300, deadline=None, derandomize=True, database=None)
    @given(seed=st.integers(0, 2**32 - 1))
    def drive(seed: int) -> None:
        nonlocal calls
        random, made, now, last = np.random.default_rng(seed), Streamer(TASK), 0, None
        measured = random.uniform(robot.lower, robot.upper)
        made.on_joints(now, NAMES, measured)
        landed = measured
        for _ in range(400):
            before, kind = landed, random.integers(12)
            values = random.normal(0, 10.0 ** random.integers(-2, 3), 29)
            if random.random() < 0.1:
                values[random.integers(29)] = random.choice([np.nan, np.inf, -np.inf])
            order = random.permutation(29)
            names, values = [NAMES[i] for i in order], values[order]
            names, values = (names[:-1], values) if random.random() < 0.05 else (names, values)
            if kind < 5:
                made.on_target(now - int(random.integers(0, 5)) * TICK, names, values)
            elif kind == 5:
                made.on_joints(now, names, values)  # garbage, which is refused, or a pose beyond the limits
                if len(names) == 29 and np.isfinite(values).all():
                    landed = np.clip(values[np.argsort(order)], robot.lower, robot.upper)
            elif kind == 6:
                now += int(random.choice([-50, 3, 60])) * TICK
            elif kind == 7:
                made.stop() if random.random() < 0.5 else made.restart()
            now += TICK
            if kind != 5:
                measured = np.clip(measured + random.normal(0, 0.01, 29), robot.lower, robot.upper)
                made.on_joints(now, NAMES, measured)
                landed = measured
            command = made.tick()
            assert command is not None and np.isfinite(command).all()
            assert (robot.lower <= command).all() and (command <= robot.upper).all()
            near = last is not None and (np.abs(command - last) <= step).all()
            assert near or any((np.abs(command - pose) <= step).all() for pose in (before, landed))
            last, calls = command, calls + 1

    drive()
    assert calls >= 100_000


def test_before_the_first_target_the_measured_pose_is_commanded_and_not_zero() -> None:
    made, pose = Streamer(TASK), ((TASK.robot.lower + TASK.robot.upper) / 2).astype(np.float32)
    made.on_joints(0, NAMES, pose)
    command = made.tick()
    assert command is not None and made.why == 'no target yet'
    np.testing.assert_allclose(command, pose, atol=1e-6)


def test_a_jump_of_the_measured_pose_is_not_undone() -> None:
    made = streamer()
    made.on_target(0, NAMES, HOME + 0.01)
    made.tick()
    there = np.clip(HOME + 0.4, TASK.robot.lower, TASK.robot.upper)
    made.on_joints(TICK, NAMES, there)
    assert made.holding and made.why == 'the measured pose jumped'
    np.testing.assert_allclose(made.tick(), np.float32(there), atol=1e-6)


def test_motion_at_the_speed_limit_is_no_jump_also_when_joint_states_were_lost() -> None:
    made = streamer()
    made.on_target(0, NAMES, HOME + 0.2)
    made.tick()
    for tick in (1, 2, 12, 13):
        made.on_joints(tick * TICK, NAMES, HOME + tick * 1e-9 * TICK * TASK.robot.velocity)
    assert not made.holding
