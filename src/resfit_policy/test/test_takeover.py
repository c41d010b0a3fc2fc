"""A person takes over and hands back, without a bump, and a pulled cable holds the robot."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sensor_msgs.msg import JointState
from test_policy_node import HOME, TASK, Robot

from resfit_msgs.msg import PolicyStep
from resfit_policy.episode_log import Arm, Flag
from resfit_policy.observation import Float, Observation
from resfit_policy.ros import COMMAND
from resfit_policy.runtime import PolicyRuntime
from resfit_policy.sampler import NotReady
from resfit_policy.takeover import Takeover
from resfit_policy.testing import NodeProcess, Probe, isolated_domain, nodes

NAMES = list(TASK.robot.names)
ONE, TWO = NAMES[0], NAMES[7]
SPAN = (TASK.robot.upper - TASK.robot.lower).astype(np.float32)


class Wild:
    """A base that asks for anywhere, and counts its resets."""

    def __init__(self) -> None:
        self.resets, self.wish = 0, HOME

    def reset(self) -> None:
        self.resets += 1

    def act(self, observation: Observation) -> Float:
        return self.wish


def see(positions: Float) -> Observation:
    return Observation(np.concatenate([positions, np.zeros(TASK.state_size - 29, np.float32)]))


def test_some_joints_may_be_commanded_and_none_hands_back() -> None:
    takeover = Takeover(NAMES, quiet=0.2)
    assert takeover.wish(0.0, HOME) is None
    takeover.hear(1.0, [TWO, ONE], [0.5, 0.25])
    wish = takeover.wish(1.1, HOME)
    assert wish is not None and (wish[0], wish[7]) == (0.25, 0.5)
    rest = np.delete(np.arange(29), [0, 7])
    np.testing.assert_array_equal(wish[rest], HOME[rest])
    takeover.hear(1.2, [], [])
    assert takeover.wish(9.0, HOME) is None and not takeover.active


@pytest.mark.parametrize(
    ('names', 'positions', 'why'),
    [
        ([ONE], [np.nan], 'not finite'),
        ([ONE, TWO], [0.1], '1 positions for 2'),
        ([ONE, ONE], [0.1, 0.2], 'a joint twice'),
        (['wing'], [0.1], 'no joint wing'),
    ],
)
def test_a_bad_command_holds_until_a_good_one(names: list[str], positions: list[float], why: str) -> None:
    takeover = Takeover(NAMES, quiet=0.2)
    takeover.hear(1.0, names, positions)
    with pytest.raises(NotReady, match=why):
        takeover.wish(1.0, HOME)
    takeover.hear(1.1, [ONE], [0.1])
    assert takeover.wish(1.1, HOME) is not None


def test_silence_in_a_takeover_is_no_hand_back() -> None:
    takeover = Takeover(NAMES, quiet=0.2)
    takeover.hear(1.0, [ONE], [0.1])
    with pytest.raises(NotReady, match='hand back'):
        takeover.wish(1.3, HOME)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.floats(0, 1), st.integers(0, 2**31)), min_size=2, max_size=30))
def test_in_and_out_no_step_is_longer_than_the_bound(moments: list[tuple[bool, float, int]]) -> None:
    """Whatever base and person ask for: from each executed action to the next, and from the measured start."""
    base = Wild()
    runtime = PolicyRuntime(TASK, base)
    runtime.begin(Arm.RESIDUAL, explore=False)
    last = HOME.astype(np.float64)
    bound = TASK.robot.velocity / TASK.control_hz * (1 + 1e-5)
    for index, (taken, share, seed) in enumerate(moments):
        wish = (TASK.robot.lower + SPAN * np.random.default_rng(seed).random(29)).astype(np.float32)
        base.wish = (HOME + share * (wish - HOME)).astype(np.float32)
        teleop = wish if taken else None
        record = runtime.step(see(last.astype(np.float32)), stamp=index * TASK.period_ns, teleop=teleop)
        assert bool(record.flags & Flag.INTERVENTION) == taken
        assert not record.residual.any() and (not taken or record.authority == 0)
        assert (np.abs(record.executed_action - last) <= bound + 1e-6).all()
        last = record.executed_action.astype(np.float64)
    handed_back = sum(one[0] and not two[0] for one, two in zip(moments, moments[1:], strict=False))
    assert base.resets == 1 + handed_back, 'a chunk of before the takeover acted after it'


def test_on_the_graph_it_is_flagged_held_when_silent_and_handed_back(tmp_path: Path) -> None:
    with isolated_domain(), pytest.MonkeyPatch.context() as patch:
        patch.setenv('PYTHONPATH', str(Path(__file__).parent), prepend=':')
        node = NodeProcess(
            tmp_path,
            'resfit_policy',
            'policy_node',
            base='toy_bases:Hold',
            max_age=0.0,
            autostart=True,
            teleop_quiet=1.0,
        )
        probe = Probe()
        with nodes(node):
            robot = Robot(probe)
            teleop = probe.node.create_publisher(JointState, 'teleop', COMMAND)
            probe.until(teleop.get_subscription_count)
            stamp = 20 * TASK.period_ns
            robot.begin(1, stamp)
            assert not robot.act(stamp).flags & PolicyStep.INTERVENTION

            wish = JointState(name=[ONE], position=[float(HOME[0] + 0.01)])
            probe.insist(lambda: teleop.publish(wish), lambda: 'taken over' in node.output)

            def hold_on() -> None:
                teleop.publish(wish)
                robot.see(stamp + TASK.period_ns)

            probe.insist(hold_on, lambda: len(robot.steps) == 2, what='a step of the person')
            step = robot.steps[-1]
            assert step.flags & PolicyStep.INTERVENTION
            assert step.base_action[0] == HOME[0] < step.executed_action[0] <= HOME[0] + np.float32(0.01)
            probe.until(lambda: stamp + TASK.period_ns in robot.commanded)
            np.testing.assert_array_equal(robot.targets[-1].position, np.float64(step.executed_action))

            time.sleep(2.0)  # twice as long as it may be quiet
            before = len(robot.steps)
            robot.see(stamp + 2 * TASK.period_ns)
            probe.spin(0.3)
            assert len(robot.steps) == before, 'it went on although the cable was pulled'

            probe.insist(lambda: teleop.publish(JointState()), lambda: 'handed back' in node.output)
            step = robot.act(stamp + 3 * TASK.period_ns)
            assert not step.flags & PolicyStep.INTERVENTION
        probe.close()
