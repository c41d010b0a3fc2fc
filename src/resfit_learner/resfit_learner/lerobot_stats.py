"""What LeRobot normalises with: minimum, maximum, mean, deviation and quantiles of each feature of a dataset.

Exact within an episode. Over episodes all but the quantiles are exact, too; those are means over the episodes, weighted
by their frames, as LeRobot's own are.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Stats = dict[str, NDArray[np.float64]]

QUANTILES = {'q01': 0.01, 'q10': 0.1, 'q50': 0.5, 'q90': 0.9, 'q99': 0.99}
LEVELS = np.arange(256) / 255


def of_values(values: NDArray[np.generic]) -> Stats:
    """Of (N, D) numbers: each (D,), and ``count`` (1,)."""
    numbers = values.astype(np.float64)
    return {
        'min': numbers.min(0),
        'max': numbers.max(0),
        'mean': numbers.mean(0),
        'std': numbers.std(0),
        'count': np.array([len(numbers)], np.float64),
        **dict(zip(QUANTILES, np.quantile(numbers, list(QUANTILES.values()), axis=0), strict=True)),
    }


def of_images(images: NDArray[np.uint8]) -> Stats:
    """Of (N, H, W, 3) pixels, scaled to [0, 1]: each (3, 1, 1), channel by channel, and ``count`` (1,) of images."""
    found: dict[str, list[float]] = {name: [] for name in ('min', 'max', 'mean', 'std', *QUANTILES)}
    for channel in range(3):
        pixels = np.bincount(images[..., channel].ravel(), minlength=256)  # there are only so many values
        share, there = pixels / pixels.sum(), LEVELS[pixels > 0]
        mean = float(share @ LEVELS)
        found['min'].append(there[0])
        found['max'].append(there[-1])
        found['mean'].append(mean)
        found['std'].append(float(np.sqrt(share @ (LEVELS - mean) ** 2)))
        for name, level in QUANTILES.items():
            found[name].append(LEVELS[np.searchsorted(np.cumsum(share), level - 1e-12)])
    stats = {name: np.array(values).reshape(3, 1, 1) for name, values in found.items()}
    return {**stats, 'count': np.array([len(images)], np.float64)}


def merged(one: Stats, other: Stats) -> Stats:
    """Of two sets of frames together."""
    count = one['count'] + other['count']
    weight = other['count'] / count
    both = {name: one[name] + weight * (other[name] - one[name]) for name in ('mean', *QUANTILES)}
    spread = one['std'] ** 2 * (1 - weight) + other['std'] ** 2 * weight
    return {
        'min': np.minimum(one['min'], other['min']),
        'max': np.maximum(one['max'], other['max']),
        'std': np.sqrt(spread + weight * (1 - weight) * (other['mean'] - one['mean']) ** 2),
        'count': count,
        **both,
    }
