import math

import numpy as np
import pytest

from resfit_learner.arbiter import FAIR, MEMORY, SURE, Arbiter


def played(episodes: int, lasting_rate: float, step_wise_rate: float, seed: int = 0) -> tuple[Arbiter, list[bool]]:
    """Episodes given to one or the other by the arbiter's own word."""
    random, arbiter, chosen = np.random.default_rng(seed), Arbiter(), []
    for index in range(episodes):
        lasting = bool(random.random() < arbiter.share)
        chosen.append(lasting)
        arbiter.add(index, lasting, bool(random.random() < (lasting_rate if lasting else step_wise_rate)))
    return arbiter, chosen


def test_nothing_known_is_a_coin_flip() -> None:
    assert Arbiter().share == Arbiter().lasting == 0.5


def test_the_chance_by_hand() -> None:
    arbiter = Arbiter()
    for index, (lasting, success) in enumerate([(True, True), (False, False), (True, True)]):
        arbiter.add(index, lasting, success)
    wins, losses = 1 + 1 + MEMORY**2, 1 + MEMORY  # of the lasting ones, and failures of the step-wise actor
    mean, other = wins / (wins + 1), 1 / (1 + losses)
    variance = wins / (wins + 1) ** 2 / (wins + 2)
    spread = losses / (losses + 1) ** 2 / (losses + 2)
    wanted = 0.5 * (1 + math.erf((mean - other) / math.sqrt(2 * (variance + spread))))
    assert arbiter.lasting == pytest.approx(wanted)


@pytest.mark.parametrize('better', [True, False])
def test_who_does_harm_is_hardly_chosen_any_more(better: bool) -> None:
    rates = (0.5, 0.1) if better else (0.1, 0.5)
    shares = [np.mean(np.equal(played(150, *rates, seed)[1], better)[50:]) for seed in range(8)]
    assert np.mean(shares) > 0.8


def test_who_gets_better_later_is_found() -> None:
    arbiter, _ = played(100, 0.5, 0.1)
    assert arbiter.lasting > 0.8
    random = np.random.default_rng(1)
    for index in range(100, 400):
        lasting = bool(random.random() < arbiter.share)
        arbiter.add(index, lasting, bool(random.random() < (0.5 if lasting else 0.95)))
    assert arbiter.lasting < 0.2


def test_neither_is_ever_given_up() -> None:
    arbiter = Arbiter()
    for index in range(200):
        arbiter.add(index, True, False)
        arbiter.add(1000 + index, False, True)
    assert arbiter.share == SURE


def test_a_weak_start_still_gets_its_fair_share() -> None:
    arbiter = Arbiter()
    for index in range(20):
        arbiter.add(index, index % 2 == 0, index % 2 == 1 and index < 12 or index < 4)
    assert SURE < arbiter.lasting < FAIR and arbiter.share == FAIR


def test_a_corrected_label_counts_where_the_episode_was() -> None:
    arbiter, other = Arbiter(), Arbiter()
    for index in range(10):
        arbiter.add(index, True, True)
        other.add(index, True, index != 3)
    arbiter.add(3, True, False)
    assert arbiter.lasting == other.lasting
