"""Intervals against published values."""

import pytest

from resfit_learner.evaluation import newcombe, wilson


@pytest.mark.parametrize(
    ('k', 'n', 'low', 'high'),
    [(9, 10, 0.596, 0.982), (18, 20, 0.699, 0.972), (20, 20, 0.839, 1.0), (0, 10, 0.0, 0.278)],
)
def test_wilson(k, n, low, high):
    rate = wilson(k, n)
    assert (rate.low, rate.high) == pytest.approx((low, high), abs=1e-3)


def test_the_rate_lies_in_its_interval_for_all_and_for_none():
    for n in range(1, 200):
        for k in (0, n):
            rate = wilson(k, n)
            assert 0 <= rate.low <= rate.success <= rate.high <= 1


def test_newcombe_matches_the_example_of_its_paper():
    # Newcombe 1998, 56/70 against 48/80: difference .2, interval .0524 to .3339
    low, high = newcombe(wilson(48, 80), wilson(56, 70))
    assert (low, high) == pytest.approx((0.0524, 0.3339), abs=1e-3)


def test_no_trials_is_an_error():
    with pytest.raises(ValueError, match='of 0 trials'):
        wilson(0, 0)
