"""How far training fell below the base on its way, with what chance alone would show (issue: figures to reach)."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from resfit_learner.curve import WINDOW, Curve
from resfit_learner.evaluation import Rate

DRAWS = 20_000
CELLS = 4_000_000  # episodes drawn at most for the runs of chance


@dataclass(frozen=True)
class Dip:
    """The worst window of ``WINDOW`` online episodes, as a share of the base's success (1: never below)."""

    ratio: float
    low: float  # 95 % interval of that window's ratio, see ``ratio_interval``
    high: float
    window: float  # success in the worst window
    first_step: int  # online steps at the window's ends
    last_step: int
    chance_median: float  # the dip of runs that stay exactly at their base, by luck of 50 episodes alone
    chance_low: float  # its 2.5 % quantile
    chance: float  # share of such runs whose dip is at least as deep as this one

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def ratio_interval(window: Rate, base: Rate, seed: int = 0) -> tuple[float, float]:
    """95 % interval of ``window.success / base.success`` of two independent samples.

    Quantiles of the ratio under Jeffreys' posteriors Beta(k + 1/2, n - k + 1/2); the lower end is 0 where the
    window has no success. It is the noise of one given window: that the worst of many was picked is not in it,
    see ``Dip.chance``.
    """
    rng = np.random.default_rng(seed)
    low, high = np.quantile(_posterior(window, DRAWS, rng) / _posterior(base, DRAWS, rng), [0.025, 0.975])
    return (0.0 if window.success == 0 else float(low)), float(high)


def find_dip(curve: Curve, base: Rate, seed: int = 0) -> Dip | None:
    """The dip of a run; None with fewer episodes than one window, or a base without success.

    The worst of several hundred overlapping windows lies below 1 even if nothing ever changes. So the same number
    of episodes is drawn from a success that stays at the base's (itself uncertain: Jeffreys' posterior), and the
    dips of these runs are reported beside.
    """
    windows = curve.windows()
    if len(curve.success) < WINDOW or base.success == 0:
        return None
    worst = int(np.argmin(windows))
    ratio = windows[worst] / base.success
    low, high = ratio_interval(Rate(windows[worst], WINDOW, 0, 1), base, seed)
    chance = _dips_of_chance(len(curve.success), base, seed)
    before = curve.steps[worst - 1] if worst else 0
    return Dip(
        ratio, low, high, windows[worst], before, curve.steps[worst + WINDOW - 1], float(np.median(chance)),
        float(np.quantile(chance, 0.025)), float((chance <= ratio + 1e-9).mean()),
    )  # fmt: skip


def _dips_of_chance(episodes: int, base: Rate, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    runs = max(100, min(2000, CELLS // episodes))
    dips = np.empty(runs)
    for index, success in enumerate(_posterior(base, runs, rng)):
        total = np.concatenate([[0], np.cumsum(rng.random(episodes) < success)])
        dips[index] = (total[WINDOW:] - total[:-WINDOW]).min() / WINDOW / base.success
    return dips


def _posterior(rate: Rate, draws: int, rng: np.random.Generator) -> np.ndarray:
    successes = round(rate.success * rate.n)
    return rng.beta(successes + 0.5, rate.n - successes + 0.5, draws)
