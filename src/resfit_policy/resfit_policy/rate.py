"""A success rate and how sure of it one may be."""

from __future__ import annotations

import math
from dataclasses import dataclass

Z = 1.959964  # two-sided 95 %


@dataclass(frozen=True)
class Rate:
    """A success rate with its 95 % Wilson interval."""

    success: float
    n: int
    low: float
    high: float


def wilson(successes: float, n: int) -> Rate:
    """Wilson score interval; ``successes`` need not be whole where trials have weights.

    Raises ValueError unless 0 <= successes <= n and n > 0.
    """
    if n <= 0 or not 0 <= successes <= n:
        raise ValueError(f'{successes} successes of {n} trials')
    p = successes / n
    centre = (p + Z * Z / (2 * n)) / (1 + Z * Z / n)
    half = Z / (1 + Z * Z / n) * math.sqrt(p * (1 - p) / n + Z * Z / (4 * n * n))
    return Rate(p, n, max(0.0, min(p, centre - half)), min(1.0, max(p, centre + half)))  # p is in it, rounding or not
