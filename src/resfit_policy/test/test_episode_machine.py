"""The life of an episode: how it ends, and that races do not change it."""

from __future__ import annotations

import itertools

import pytest

from resfit_policy.episode_log import Arm, Phase
from resfit_policy.episode_machine import EpisodeMachine, Outcome, schedule

PERIOD = 50
START = 1000


def running(needs_verdict: bool = True) -> EpisodeMachine:
    machine = EpisodeMachine(needs_verdict)
    machine.reset(3, schedule(0, 5, 'residual'))
    machine.run(START)
    return machine


def play(machine: EpisodeMachine, events: list[tuple[str, int, bool]]) -> list[Outcome]:
    """Events are ('step', k, final) and ('verdict', k, success), k counting control steps."""
    outcomes = []
    for kind, k, flag in events:
        stamp = START + k * PERIOD
        outcome = machine.on_step(3, stamp, k, flag) if kind == 'step' else machine.on_verdict(stamp, flag)
        if outcome is not None:
            outcomes.append(outcome)
    return outcomes


def test_success_ends_with_the_step_that_led_to_it_in_any_order_of_arrival() -> None:
    tail = [('step', 2, False), ('step', 3, False), ('verdict', 2, True), ('verdict', 3, True)]
    for order in itertools.permutations(tail):
        if order.index(tail[0]) > order.index(tail[1]) or order.index(tail[2]) > order.index(tail[3]):
            continue  # each topic keeps its own order
        machine = running()
        outcomes = play(machine, [('step', 0, False), ('step', 1, False), *order])
        assert outcomes[0] == Outcome(Phase.SUCCESS, 2, START + 2 * PERIOD)
        assert len(outcomes) == 1


def test_a_time_out_waits_for_the_verdict_on_its_last_observation() -> None:
    for late in (True, False):
        machine = running()
        last = [('step', 2, True), ('verdict', 2, False)]
        events = [('step', 0, False), ('verdict', 1, False), ('step', 1, False)]
        outcomes = play(machine, events + (last if late else last[::-1]))
        assert outcomes == [Outcome(Phase.TIMEOUT, 2, START + 2 * PERIOD)]


def test_success_at_the_last_moment_is_success() -> None:
    for late in (True, False):
        machine = running()
        last = [('step', 2, True), ('verdict', 2, True)]
        outcomes = play(machine, [('step', 0, False), ('step', 1, False)] + (last if late else last[::-1]))
        assert outcomes == [Outcome(Phase.SUCCESS, 2, START + 2 * PERIOD)]


def test_without_an_oracle_the_time_out_is_immediate() -> None:
    machine = running(needs_verdict=False)
    assert play(machine, [('step', 0, False), ('step', 1, True)]) == [Outcome(Phase.TIMEOUT, 1, START + PERIOD)]


@pytest.mark.parametrize('success', [True, False])
def test_an_operator_ends_the_episode_at_the_next_observation(success: bool) -> None:
    machine = running()
    play(machine, [('step', 0, False), ('step', 1, False)])
    machine.on_label(success)
    outcomes = play(machine, [('step', 2, False)])
    assert [(item.phase, item.length) for item in outcomes] == [(Phase.SUCCESS if success else Phase.FAILURE, 2)]


def doubtful() -> EpisodeMachine:
    machine = running()
    assert not play(machine, [('step', 0, False), ('step', 1, False), ('step', 2, True)])
    assert machine.awaits_verdict and machine.on_verdict(START + 2 * PERIOD, False, sure=False) is None
    return machine


@pytest.mark.parametrize(('success', 'phase'), [(True, Phase.SUCCESS), (False, Phase.TIMEOUT)])
def test_a_doubtful_time_out_waits_for_the_operator_whatever_is_judged_later(success: bool, phase: Phase) -> None:
    machine = doubtful()
    assert machine.doubtful and machine.phase == Phase.RUNNING and not machine.awaits_verdict
    for sure in (True, False):
        assert machine.on_verdict(START + 3 * PERIOD, sure, sure) is None
    assert machine.on_label(success) == Outcome(phase, 2, START + 2 * PERIOD)
    assert not machine.doubtful


def test_only_the_newest_verdict_makes_a_time_out_doubtful() -> None:
    machine = running()
    machine.on_verdict(START + PERIOD, False, sure=False)
    play(machine, [('step', 0, False), ('step', 1, False), ('step', 2, True)])
    assert play(machine, [('verdict', 2, False)]) == [Outcome(Phase.TIMEOUT, 2, START + 2 * PERIOD)]


def test_who_is_silent_at_a_time_out_can_be_given_up() -> None:
    machine = running()
    machine.doubt()
    assert not machine.doubtful, 'it still runs'
    play(machine, [('step', 0, False), ('step', 1, True)])
    machine.doubt()
    assert machine.doubtful and machine.abort().phase == Phase.ABORTED
    machine.reset(4, schedule(1, 5, 'residual'))
    machine.run(START)
    assert not machine.doubtful


def test_the_newest_of_two_labels_wins_and_any_over_a_verdict() -> None:
    machine = running()
    play(machine, [('step', 0, False), ('step', 1, False), ('verdict', 2, True)])
    for success in (True, False):
        assert machine.on_label(success) is None
    assert play(machine, [('step', 2, False)]) == [Outcome(Phase.FAILURE, 2, START + 2 * PERIOD)]


def test_verdicts_on_the_start_and_on_other_episodes_do_not_count() -> None:
    machine = running()
    assert machine.on_verdict(START, True) is None
    assert machine.on_verdict(START - 500, True) is None
    assert machine.on_step(2, START + PERIOD, 0, True) is None
    assert machine.length == 0


def test_an_aborted_episode_says_how_far_it_came() -> None:
    machine = running()
    play(machine, [('step', 0, False), ('step', 1, False)])
    assert machine.abort() == Outcome(Phase.ABORTED, 2, START + PERIOD)
    assert machine.phase == Phase.ABORTED


def test_an_episode_without_a_next_step_ends_with_the_label_that_waited_for_it() -> None:
    steps = [('step', 0, False), ('step', 1, False)]
    for success, phase in ((True, Phase.SUCCESS), (False, Phase.FAILURE)):
        machine = running()
        play(machine, steps)
        machine.on_label(success)
        outcome = machine.stall()
        assert (outcome.phase, outcome.length) == (phase, 2) and outcome.stamp > START + PERIOD
    unlabelled, unbegun = running(), running()
    play(unlabelled, steps)
    unbegun.on_label(True)
    assert unlabelled.stall().phase == unbegun.stall().phase == Phase.ABORTED


def test_alternating_arms_share_each_seed_and_the_order_varies() -> None:
    starts = [schedule(index, 100, 'alternate') for index in range(40)]
    pairs = list(zip(starts[::2], starts[1::2], strict=True))
    assert [a.seed for a, _ in pairs] == list(range(100, 120))
    assert all(a.seed == b.seed and {a.arm, b.arm} == {Arm.BASE, Arm.RESIDUAL} for a, b in pairs)
    assert {a.arm for a, _ in pairs} == {Arm.BASE, Arm.RESIDUAL}
    assert [schedule(index, 7, 'residual').seed for index in range(3)] == [7, 8, 9]


def test_the_newest_word_of_an_operator_counts_also_against_an_oracle() -> None:
    for before in ([('verdict', 2, True)], []):
        machine = running()
        play(machine, [('step', 0, False), ('verdict', 1, False), ('step', 1, False), *before])
        machine.on_label(True)
        machine.on_label(False)
        ended = play(machine, [('step', 2, False)])
        assert [(item.phase, item.length) for item in ended] == [(Phase.FAILURE, 2)]


def test_a_label_before_the_first_step_is_nobodys() -> None:
    machine = running(needs_verdict=False)
    assert not machine.begun_to_act  # by which the reward node refuses it
    machine.on_label(True)
    assert machine.on_step(3, START + PERIOD, 0, False) is None
    assert machine.on_step(3, START + 2 * PERIOD, 1, True) == Outcome(Phase.TIMEOUT, 1, START + 2 * PERIOD)
