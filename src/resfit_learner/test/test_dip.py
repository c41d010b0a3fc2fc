"""Windows, time to a threshold, and the dip with its intervals."""

from __future__ import annotations

import numpy as np
import pytest

from resfit_learner.curve import Curve
from resfit_learner.dip import find_dip, ratio_interval
from resfit_learner.evaluation import Rate, wilson


def curve(success: list[int]) -> Curve:
    return Curve([10 * (index + 1) for index in range(len(success))], [bool(item) for item in success])


def test_a_level_is_reached_with_the_first_whole_window_that_has_it() -> None:
    run = curve([1, 1, 0, 1, 0, 1, 1, 1, 1])
    assert run.windows(4) == [0.75, 0.5, 0.5, 0.75, 0.75, 1.0]
    assert run.reached(0.75, 4) == 3
    assert run.reached(0.76, 4) == 8
    assert curve([1, 1, 1]).reached(0.5, 4) is None  # not a whole window yet
    assert curve([0] * 9).reached(0.5, 4) is None


def test_the_dip_is_the_worst_window_over_the_base() -> None:
    base = wilson(40, 100)
    dip = find_dip(curve([1] * 30 + [0] * 45 + [1] * 60), base)
    assert dip is not None
    assert dip.window == pytest.approx(0.1) and dip.ratio == pytest.approx(0.25)
    assert (dip.first_step, dip.last_step) == (250, 750)  # the first of several windows that are as bad
    assert dip.low < 0.25 < dip.high < 0.7
    assert find_dip(curve([1] * 49), base) is None
    assert find_dip(curve([1] * 60), wilson(0, 100)) is None


def test_the_interval_of_the_ratio_covers_it_nineteen_times_in_twenty() -> None:
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(300):
        window, base = rng.binomial(50, 0.2) / 50, rng.binomial(100, 0.4) / 100
        low, high = ratio_interval(Rate(window, 50, 0, 1), Rate(base, 100, 0, 1))
        covered += low <= 0.5 <= high
    assert 0.92 <= covered / 300 <= 0.98
    assert ratio_interval(Rate(0.0, 50, 0, 1), wilson(40, 100))[0] == 0


def test_a_run_that_stays_at_its_base_dips_as_chance_says() -> None:
    rng = np.random.default_rng(1)
    shares = []
    for _ in range(40):
        dip = find_dip(curve([int(item) for item in rng.random(300) < 0.3]), wilson(30, 100))
        assert dip is not None and dip.chance_low <= dip.chance_median < 1
        shares.append(dip.chance)
    assert 0.3 < np.mean(shares) < 0.7  # neither always alarming nor never
    worse = find_dip(curve([1] * 100 + [0] * 60 + [1] * 140), wilson(60, 100))
    assert worse is not None and worse.chance < 0.01
