"""What a run leaves for people: table, summary.json, learning curve, video."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from resfit_learner.curve import WINDOW, Curve
from resfit_learner.dip import find_dip
from resfit_learner.evaluation import Comparison, Rate
from resfit_policy.task import Task

FIRST = 10  # episodes before the curve begins: fewer say nothing
BASE_COLOUR, RESFIT_COLOUR = '#8a8f98', '#0b7285'


def summarise(
    task: Task, seed: int, curve: Curve, comparison: Comparison, wall_s: float, **more: Any
) -> dict[str, Any]:
    """The content of summary.json."""
    dip = find_dip(curve, comparison.base)
    return {
        'task': task.name,
        'seed': seed,
        'env_steps': curve.steps[-1] if curve.steps else 0,
        'episodes': len(curve.success),
        **comparison.as_dict(),
        'dip': dip.as_dict() if dip else None,
        'wall_s': round(wall_s, 1),
        **more,
    }


def milestones(curve: Curve, **times: Sequence[float]) -> dict[str, dict[str, float] | None]:
    """Online steps and ``times`` until a window of 50 episodes first has 50, 80 and 90 % success.

    ``times``: seconds of training at each episode's end, by name. None where it was never reached.
    """
    found: dict[str, dict[str, float] | None] = {}
    for level in (0.5, 0.8, 0.9):
        index = curve.reached(level)
        found[f'{level:.0%}'] = None if index is None else {
            'steps': curve.steps[index], **{name: round(values[index], 1) for name, values in times.items()}
        }  # fmt: skip
    return found


def table(comparison: Comparison, start: Rate | None = None) -> str:
    """Base against ResFiT, for the terminal; ``start``: what the warm start alone reaches."""

    def row(name: str, rate: Rate, steps: float | None = None) -> str:
        taken = f'{steps:.0f}' if steps else '-'
        return f'{name:8} {rate.success:8.1%} {f"[{rate.low:.1%}, {rate.high:.1%}]":>18} {rate.n:6} {taken:>8}'

    steps = comparison.steps_to_success
    low, high = comparison.difference['low'], comparison.difference['high']
    difference = comparison.resfit.success - comparison.base.success
    return '\n'.join(
        [
            f'{"":8} {"success":>8} {"95 % interval":>18} {"n":>6} {"steps":>8}',
            row('base', comparison.base, steps['base']),
            *([row('at start', start)] if start else []),
            row('ResFiT', comparison.resfit, steps['resfit']),
            f'{"gain":8} {difference:+8.1%} {f"[{low:+.1%}, {high:+.1%}]":>18}',
        ]
    )


def learning_curve(path: Path, task: Task, curve: Curve, comparison: Comparison) -> None:
    """Success over online steps and robot minutes, with the base and both evaluations."""
    import matplotlib

    matplotlib.use('Agg')
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(8, 4.6), layout='constrained')
    base, resfit = comparison.base, comparison.resfit
    end = curve.steps[-1] if curve.steps else 1
    axes.axhspan(base.low, base.high, color=BASE_COLOUR, alpha=0.15, lw=0)
    axes.axhline(base.success, color=BASE_COLOUR, lw=1.5, ls='--')
    axes.annotate(
        f'frozen base {base.success:.0%}', (end, base.success), (-4, 4), textcoords='offset points', ha='right',
        va='bottom', color='#5c6068',
    )  # fmt: skip
    rates = curve.rates()[FIRST - 1 :]
    steps = curve.steps[FIRST - 1 :]
    axes.fill_between(
        steps, [item.low for item in rates], [item.high for item in rates], color=RESFIT_COLOUR, alpha=0.15, lw=0
    )
    axes.plot(steps, [item.success for item in rates], color=RESFIT_COLOUR, lw=2)
    axes.errorbar(
        [end * 1.02], [resfit.success], [[resfit.success - resfit.low], [resfit.high - resfit.success]], fmt='o',
        color=RESFIT_COLOUR, capsize=4,
    )  # fmt: skip
    axes.annotate(
        f'evaluated {resfit.success:.0%}', (end * 1.02, resfit.high), (4, 6), textcoords='offset points',
        ha='right', va='bottom', color=RESFIT_COLOUR, fontweight='bold',
    )  # fmt: skip
    axes.set(xlim=(0, end * 1.05), ylim=(-0.02, 1.05), xlabel='online control steps', ylabel='success')
    axes.yaxis.set_major_formatter(lambda value, _: f'{value:.0%}')
    axes.set_title(f'{task.name}: training success over the last {WINDOW} episodes (95 % interval)', loc='left', pad=18)
    axes.spines[['top', 'right']].set_visible(False)
    axes.grid(axis='y', alpha=0.25)
    per_minute = task.control_hz * 60
    minutes = axes.secondary_xaxis(
        -0.17, functions=(lambda x: np.asarray(x) / per_minute, lambda x: np.asarray(x) * per_minute)
    )
    minutes.set_xlabel('robot minutes')
    figure.savefig(path, dpi=150)
    plt.close(figure)
