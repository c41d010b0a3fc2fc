"""What the supervisor lets through: nothing outside the limits, whatever comes in."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from resfit_policy.actor import ActorConfig, Exploration, ResidualActor
from resfit_policy.episode_log import Arm, Flag
from resfit_policy.observation import Float, Observation
from resfit_policy.runtime import PolicyRuntime
from resfit_policy.supervisor import Supervisor
from resfit_policy.task import Joint, Robot, Task, load_task

TASK = load_task('woolly_ball')
A = TASK.action_size
HOME = ((TASK.robot.lower + TASK.robot.upper) / 2).astype(np.float32)
NOTHING = np.zeros(A, np.float32)
ROUNDING = 1e-6  # rad; float32 is exact to 1.2e-7 of these positions
STEPS = 500  # per example
HUGE = np.finfo(np.float32).max


def with_acceleration(acceleration: float) -> Task:
    joints = tuple(replace(joint, acceleration=acceleration, effort=10.0) for joint in TASK.robot.joints)
    return replace(TASK, robot=replace(TASK.robot, joints=joints))


def wanted_actions(rng: np.random.Generator) -> Float:
    """(STEPS, A): stretches of smooth motion, of noise, and of wishes near to, at and far beyond the limits."""
    lower, upper = TASK.robot.lower, TASK.robot.upper
    time, actions = np.arange(STEPS)[:, None] / 20, np.empty((STEPS, A))
    start = 0
    while start < STEPS:
        part = slice(start, start + int(rng.integers(1, 60)))
        start, shape = part.stop, actions[part].shape
        kind = rng.integers(6)
        if kind == 0:
            swing = 0.5 * (upper - lower) * rng.uniform(0, 1.2, A)
            actions[part] = HOME + swing * np.sin(rng.uniform(0, 8, A) * time[part] + rng.uniform(0, 6, A))
        elif kind == 1:
            actions[part] = np.cumsum(rng.normal(0, 0.05, shape), 0) + rng.uniform(lower, upper)
        elif kind == 2:
            actions[part] = rng.normal(0, 10.0 ** rng.integers(-3, 4), shape)
        elif kind == 3:
            actions[part] = np.where(rng.random(A) < 0.5, lower, upper)
        elif kind == 4:
            actions[part] = np.where(rng.random(shape) < 0.5, lower, upper)
        else:
            actions[part] = rng.choice([-HUGE, -10, 0, 10, HUGE], A)
    return actions.astype(np.float32)


def spoiled(action: Float, how: str) -> object:
    """The action with what is wrong with it."""
    bad = action.astype(np.float64)
    if how in ('nan', 'inf', '-inf', '1e300'):
        bad[len(bad) // 2] = float(how)
        return bad
    return {'short': action[1:], 'matrix': action[None], 'empty': [], 'text': ['x'] * A, 'none': None}[how]


BAD = ('nan', 'inf', '-inf', '1e300', 'short', 'matrix', 'empty', 'text', 'none')
EVENTS = st.one_of(
    st.tuples(st.just('base'), st.sampled_from(BAD)),
    st.tuples(st.just('residual'), st.sampled_from(BAD)),
    st.tuples(st.just('reset'), st.sampled_from(('', 'outside', *BAD))),
    st.tuples(
        st.just('authority'),
        st.one_of(st.floats(0, 1), st.sampled_from([0.0, 1.0, -0.1, 1.1, np.nan, np.inf, -np.inf])),
    ),
    st.tuples(st.just('feel'), st.sampled_from(('', 'outside', *BAD))),
    st.tuples(st.just('effort'), st.sampled_from([0.0, 7.9, -8.1, 10.1, -1e9, np.nan, np.inf])),
)


class Course:
    """Drives one supervisor through inputs, and checks each action against the last two."""

    def __init__(self, acceleration: float, ramp_steps: int, touching: float, seed: int) -> None:
        self.task, self.rng = with_acceleration(acceleration), np.random.default_rng(seed)
        self.ramp_steps, self.touching = ramp_steps, touching
        self.supervisor = Supervisor(self.task, ramp_steps=ramp_steps, hits=self.hits)
        robot = self.task.robot
        self.lower, self.upper = robot.lower.astype(np.float32), robot.upper.astype(np.float32)
        self.max_step, self.max_change = robot.velocity / 20, robot.acceleration / 400
        self.authority, self.calls = 1.0, 0
        self.reset(self.rng.uniform(robot.lower, robot.upper))

    def hits(self, positions: Float) -> str:
        assert np.isfinite(positions).all()
        return 'a and b, 21 mm' if self.rng.random() < self.touching else ''

    def reset(self, measured: object) -> None:
        try:
            self.supervisor.reset(measured)
        except ValueError:
            return
        self.last = np.clip(np.asarray(measured, np.float32), self.lower, self.upper).astype(float)
        self.step, self.share = np.zeros(A), None

    def feel(self, kind: str, value: object) -> None:
        measured = self.rng.uniform(self.lower, self.upper) * (5 if value == 'outside' else 1)
        efforts = np.where(np.arange(A) == 5, float(str(value)), 0.0) if kind == 'effort' else None
        bad = kind == 'feel' and value in BAD
        try:
            self.supervisor.feel(spoiled(HOME, str(value)) if bad else measured, efforts)
        except ValueError:
            assert bad

    def drive(self, base: object, residual: object, fine: bool) -> None:
        self.calls += 1
        fine = fine and 0 <= self.authority <= 1
        try:
            outcome = self.supervisor.apply(base, residual, self.authority)
        except ValueError:
            assert not fine
            self.step = np.zeros(A)
            return
        assert fine
        executed = outcome.executed
        assert executed.dtype == np.float32 and executed.shape == (A,) and np.isfinite(executed).all()
        assert (self.lower <= executed).all() and (executed <= self.upper).all()
        step = executed - self.last
        assert (np.abs(step) <= self.max_step + ROUNDING).all()
        assert (np.abs(step - self.step) <= self.max_change + ROUNDING).all()
        if outcome.held:
            assert outcome.why and outcome.authority == 0
        share = self.supervisor.share
        assert share is not None and 0 <= outcome.authority <= share <= 1
        assert outcome.authority == share or outcome.why
        if self.share is None or not self.ramp_steps:
            assert share == self.authority
        else:
            assert abs(share - self.share) <= 1 / self.ramp_steps + 1e-9
            assert abs(share - self.authority) <= abs(self.share - self.authority)
        self.last, self.step, self.share = executed.astype(float), step, share


def test_every_action_is_within_all_limits_or_refused() -> None:
    calls = 0

    @settings(max_examples=210, deadline=None, derandomize=True, database=None)
    @given(
        seed=st.integers(0, 2**32 - 1),
        acceleration=st.sampled_from([0.2, 1.0, 5.0, 20.0, 60.0, 1000.0]),
        ramp_steps=st.sampled_from([0, 1, 7, 40]),
        touching=st.sampled_from([0.0, 0.3, 0.95]),
        events=st.dictionaries(st.integers(0, STEPS - 1), EVENTS, max_size=20),
    )
    def drive(
        seed: int, acceleration: float, ramp_steps: int, touching: float, events: dict[int, tuple[str, object]]
    ) -> None:
        nonlocal calls
        course = Course(acceleration, ramp_steps, touching, seed)
        base, rng = wanted_actions(course.rng), course.rng
        residual = (rng.normal(0, 1, (STEPS, A)) * 10.0 ** rng.integers(-3, 3, (STEPS, 1))).astype(np.float32)
        residual[rng.random(STEPS) < 0.02] = HUGE
        for index in range(STEPS):
            kind, value = events.get(index, ('', None))
            given_base, given_residual, fine = base[index], residual[index], True
            if kind == 'base':
                given_base, fine = spoiled(given_base, str(value)), False
            elif kind == 'residual':
                given_residual, fine = spoiled(given_residual, str(value)), False
            elif kind == 'authority':
                course.authority = float(str(value))
            elif kind == 'reset' and value in ('', 'outside'):
                course.reset(rng.uniform(TASK.robot.lower, TASK.robot.upper) * (5 if value else 1))
            elif kind == 'reset':
                course.reset(spoiled(HOME, str(value)))
            elif kind in ('feel', 'effort'):
                course.feel(kind, value)
            course.drive(given_base, given_residual, fine)
        calls += course.calls

    drive()
    assert calls >= 100_000


def smooth_motion() -> Float:
    """(200, A) rad, faster than the joints at times, and past their limits; never more than 60 rad/s² of it."""
    lower, upper = TASK.robot.lower, TASK.robot.upper
    time = np.arange(200)[:, None] / 20
    phase = np.random.default_rng(1).uniform(0.5, 1.0, A)
    return (HOME + 0.6 * (upper - lower) * np.sin(phase * time)).astype(np.float32)


def plainly_clipped(base: Float, residual: Float, authority: float) -> Float:
    """Position and speed limits alone, in float32."""
    lower, upper = TASK.robot.lower.astype(np.float32), TASK.robot.upper.astype(np.float32)
    step = (TASK.robot.velocity / TASK.control_hz).astype(np.float32)
    last, rows = HOME, []
    for action, correction in zip(base, residual, strict=True):
        wanted = action + np.float32(authority) * np.clip(correction, -np.float32(0.35), np.float32(0.35))
        last = np.clip(np.clip(wanted, last - step, last + step), lower, upper)
        rows.append(last)
    return np.stack(rows)


def driven(supervisor: Supervisor, base: Float, residual: Float, authority: float) -> Float:
    supervisor.reset(HOME)
    return np.stack([supervisor.apply(*pair, authority).executed for pair in zip(base, residual, strict=True)])


@pytest.mark.parametrize('authority', [1.0, 0.3])
def test_smooth_motion_is_clipped_plainly_to_the_bit(authority: float) -> None:
    base = smooth_motion()
    residual = 0.5 * np.cos(np.arange(200) / 30)[:, None] * np.ones(A)
    expected = plainly_clipped(base, residual.astype(np.float32), authority)
    got = driven(Supervisor(TASK), base, residual.astype(np.float32), authority)
    assert got.tobytes() == expected.tobytes()
    steps = np.abs(np.diff(expected, axis=0))
    assert (steps.max(0) >= TASK.robot.velocity / 20 - ROUNDING).any(), 'some joint was at its speed limit'
    assert (expected.max(0) == TASK.robot.upper.astype(np.float32)).any(), 'and some joint at its position limit'


def test_authority_zero_is_the_base_whatever_the_residual_is() -> None:
    rng = np.random.default_rng(2)
    base, residual = wanted_actions(rng), rng.normal(0, 1, (STEPS, A)).astype(np.float32)
    alone = driven(Supervisor(TASK), base, np.zeros_like(residual), 1.0)
    assert driven(Supervisor(TASK), base, residual, 0.0).tobytes() == alone.tobytes()
    slow = HOME + 0.02 * np.sin(np.arange(STEPS) / 20)[:, None].astype(np.float32)
    assert driven(Supervisor(TASK), slow, residual, 0.0).tobytes() == slow.tobytes()


def toy(acceleration: float) -> Task:
    joint = Joint('slide', -1.0, 1.0, velocity=2.0, acceleration=acceleration)
    return Task('toy', Robot('toy', (joint,)), horizon=10, control_hz=20.0, command_hz=20.0)


def test_a_joint_brakes_before_its_limit_and_reaches_it() -> None:
    supervisor = Supervisor(toy(4.0))  # 0.1 rad per step, which takes 10 steps to build up
    supervisor.reset([0.0])
    path = [0.0, *(supervisor.apply([5.0], [0.0], 1.0).executed[0] for _ in range(40))]
    steps = np.diff(path)
    assert steps.max() == pytest.approx(0.1, abs=1e-6)
    assert np.diff(steps).min() >= -0.01 - ROUNDING
    assert path[-1] == 1.0 and path[25] > 0.999


def test_without_a_need_to_brake_a_limit_is_reached_at_full_speed() -> None:
    supervisor = Supervisor(toy(40.0))  # from full speed to rest in one step
    supervisor.reset([0.0])
    path = [supervisor.apply([5.0], [0.0], 1.0).executed[0] for _ in range(11)]
    assert np.diff([0.0, *path])[:10] == pytest.approx(np.full(10, 0.1), abs=1e-6) and path[-1] == 1.0


def test_after_a_refused_step_the_robot_starts_from_rest() -> None:
    supervisor = Supervisor(toy(4.0))
    supervisor.reset([0.0])
    for _ in range(5):
        last = supervisor.apply([5.0], [0.0], 1.0).executed[0]
    with pytest.raises(ValueError, match='not finite'):
        supervisor.apply([np.nan], [0.0], 1.0)
    assert supervisor.apply([5.0], [0.0], 1.0).executed[0] == pytest.approx(last + 0.01, abs=1e-6)


def test_a_joint_has_its_own_residual_bound() -> None:
    joints = (replace(TASK.robot.joints[0], residual=0.01), *TASK.robot.joints[1:])
    task = replace(TASK, robot=replace(TASK.robot, joints=joints, residual_limit=0.05))
    for limit, expected in ((None, [0.01, 0.05]), (0.1, [0.01, 0.1]), (0.005, [0.005, 0.005])):
        supervisor = Supervisor(task, limit)
        supervisor.reset(HOME)
        executed = supervisor.apply(HOME, NOTHING + 1, 1.0).executed
        assert executed[:2] - HOME[:2] == pytest.approx(expected, abs=ROUNDING)


def test_authority_ramps_within_an_episode_and_starts_at_what_is_asked_for() -> None:
    supervisor = Supervisor(TASK, ramp_steps=4)
    supervisor.reset(HOME)
    shares = [supervisor.apply(HOME, NOTHING, authority).authority for authority in (1, 0, 0, 0, 0, 0, 0.3, 0.3, 1)]
    assert shares == [1, 0.75, 0.5, 0.25, 0, 0, 0.25, 0.3, 0.55]
    supervisor.reset(HOME)
    assert supervisor.apply(HOME, NOTHING, 0.0).authority == 0
    at_once = Supervisor(TASK)
    at_once.reset(HOME)
    assert [at_once.apply(HOME, NOTHING, authority).authority for authority in (1, 0, 0.7)] == [1, 0, 0.7]


@pytest.mark.parametrize(
    ('clear_until', 'share'),
    [(0.05, 1.0), (0.03, 0.5), (0.015, 0.25), (0.0, 0.0)],
    ids=('all', 'half', 'quarter', 'none'),
)
def test_so_much_of_the_residual_is_taken_as_touches_nothing(clear_until: float, share: float) -> None:
    moved: list[Float] = []

    def hits(positions: Float) -> str:
        moved.append(positions - HOME)
        return 'a and b, 21 mm' if moved[-1].max() > clear_until + ROUNDING else ''

    supervisor = Supervisor(TASK, hits=hits)
    supervisor.reset(HOME)
    outcome = supervisor.apply(HOME, NOTHING + np.float32(0.04), 1.0)
    assert outcome.authority == share and not outcome.held
    assert outcome.executed - HOME == pytest.approx(np.full(A, 0.04 * share), abs=ROUNDING)
    assert (outcome.why, outcome.clipped) == (('', False) if share == 1 else ('a and b, 21 mm', True))
    assert np.array_equal(outcome.executed - HOME, moved[-1]), 'what is executed is what was checked'


def test_where_the_base_alone_would_touch_the_robot_brakes_and_holds() -> None:
    touching = False
    supervisor = Supervisor(toy(20.0), hits=lambda positions: 'a and b, 21 mm' if touching else '')
    supervisor.reset([-0.5])
    for _ in range(3):
        last = supervisor.apply([1.0], [0.0], 1.0)
    assert supervisor.step[0] == pytest.approx(0.1) and not last.held
    touching = True
    held = [supervisor.apply([1.0], [0.1], 1.0) for _ in range(4)]
    path = [last.executed[0], *(item.executed[0] for item in held)]
    assert np.diff(path) == pytest.approx([0.05, 0, -0.05, 0], abs=ROUNDING)
    assert all(item.held and item.clipped and item.authority == 0 and item.why == 'a and b, 21 mm' for item in held)
    touching = False
    assert supervisor.apply([1.0], [0.0], 1.0).executed[0] == pytest.approx(path[-1] + 0.05)


def test_to_hold_is_to_go_to_the_pose_measured_when_the_hold_began() -> None:
    supervisor = Supervisor(toy(20.0), hits=lambda positions: 'a and b, 21 mm')
    supervisor.reset([0.2])
    for drift in (0.15, 0.12, 0.1):
        supervisor.feel([drift])
        held = supervisor.apply([1.0], [0.0], 1.0)
        assert held.held
    for _ in range(5):
        held = supervisor.apply([1.0], [0.0], 1.0)
    assert held.executed[0] == pytest.approx(0.15)


def test_a_joint_that_works_too_hard_makes_the_robot_hold_until_it_has_eased() -> None:
    task = toy(20.0)
    task = replace(task, robot=replace(task.robot, joints=(replace(task.robot.joints[0], effort=5.0),)))
    supervisor = Supervisor(task)
    supervisor.reset([0.0])
    seen = []
    for effort in (4.9, -5.1, np.nan, 4.1, np.inf, 4.2, 3.9):
        supervisor.feel([0.0], [4.5 if np.isnan(effort) else effort])
        seen.append(supervisor.apply([0.1], [0.0], 1.0))
    assert [item.held for item in seen] == [False, True, True, True, True, True, False]
    assert 'joint works at 102% of its largest effort' in seen[1].why.replace(task.robot.names[0], 'joint')
    supervisor.feel([0.0], [6.0])
    supervisor.reset([0.0])
    assert supervisor.apply([0.1], [0.0], 1.0).held, 'an episode began, and the joint still works too hard'
    supervisor.feel([0.0], [np.nan])
    assert not supervisor.strained


class Still:
    """A base that stays at home."""

    def reset(self) -> None:
        pass

    def act(self, observation: Observation) -> Float:
        return HOME


def test_the_record_says_what_was_in_force_and_whether_the_robot_was_held() -> None:
    touching: NDArray[np.bool_] = np.zeros(1, bool)
    runtime = PolicyRuntime(TASK, Still())
    runtime.supervisor = Supervisor(TASK, ramp_steps=2, hits=lambda positions: 'a and b' if touching[0] else '')
    actor = ResidualActor(ActorConfig(TASK.state_size, A, 2, (8,))).eval()
    actor.offset.fill_(0.5)
    runtime.set_weights(actor, Exploration(), 1)
    runtime.begin(Arm.RESIDUAL, explore=False)
    seen = Observation(np.concatenate([HOME, np.zeros(6, np.float32)]))
    assert runtime.step(seen).authority == 1.0
    runtime.authority = 0.0
    record = runtime.step(seen)
    assert record.authority == 0.5 and record.residual.any() and record.flags == Flag.NONE
    record = runtime.step(seen)
    assert record.authority == 0.0 and not record.residual.any()
    assert record.executed_action.tobytes() == HOME.tobytes()
    touching[0] = True
    assert runtime.step(seen).flags == Flag.HELD
    touching[0], runtime.authority = False, 1.0
    runtime.begin(Arm.BASE, explore=False)
    record = runtime.step(seen)
    assert record.authority == 0.0 and not record.flags & Flag.HELD
