"""When the base should act alone, and that its label is one of the policy as it is."""

import numpy as np
import pytest

from resfit_learner.trust import Trust


def told(*episodes: tuple[bool, bool], memory: int = 1_000_000) -> Trust:
    """Trust after episodes of (the base acted alone, success)."""
    trust = Trust(memory)
    for index, (alone, success) in enumerate(episodes):
        trust.add(index, alone, success)
    return trust


def test_nothing_known_is_no_reason() -> None:
    assert Trust(10).base_share == 0.0
    assert told((True, True), (False, True), (True, False), (False, False)).base_share == pytest.approx(0, abs=1e-5)


def test_the_share_is_twice_the_probability_less_one() -> None:
    """One success of the base, one failure of the residual: densities 2x and 2 (1 - y), P(x > y) = 5 / 6."""
    assert told((True, True), (False, False)).base_share == pytest.approx(2 / 3, abs=1e-3)
    assert told((True, False), (False, True)).base_share == 0.0


def test_what_the_residual_did_long_ago_counts_little_and_what_the_base_did_counts() -> None:
    long_ago = [(False, True)] * 20 + [(True, True), (True, False)] * 5
    now = [(False, False)] * 12
    forgetful, faithful = told(*long_ago, *now, memory=10), told(*long_ago, *now)
    assert forgetful.base_share > 0.8 > 0.1 > faithful.base_share
    # Alone, the base's labels stay what they are while the residual's fade: what is not tried is tried again.
    waited = told(*long_ago, *now, *([(True, True), (True, False)] * 30), memory=10)
    assert waited.base_share < 0.1


def test_a_corrected_label_replaces_the_first() -> None:
    trust = told((True, True), (False, False))
    trust.add(1, False, True)
    assert trust.base_share == told((True, True), (False, True)).base_share


def test_restored_it_says_the_same() -> None:
    trust, again = told((True, True), (False, False), (False, True), memory=10), Trust(10)
    again.restore(trust.tensors())
    assert again.base_share == trust.base_share > 0
    empty = Trust(10)
    empty.restore(Trust(10).tensors())
    assert empty.base_share == 0.0


def test_a_residual_that_has_become_useless_costs_a_fraction_of_the_base() -> None:
    """Of 60 episodes after the residual's success fell from .5 to 0, the base (.5) acts in most."""
    shares = []
    for seed in range(20):
        random, trust = np.random.default_rng(seed), Trust(10)
        alone = []
        for index in range(100):
            alone.append(bool(random.random() < trust.base_share))
            chance = 0.5 if alone[-1] or index < 40 else 0.0
            trust.add(index, alone[-1], bool(random.random() < chance))
        shares.append(np.mean(alone[40:]))
    assert np.mean(shares) > 0.5


def test_thousands_of_labels_are_no_reason_to_trust_what_fails() -> None:
    trust = told(*([(True, True), (True, False)] * 2000), *([(False, False)] * 15), memory=10)
    assert trust.base_share > 0.9
