"""Pictures and tables of all results: docs/results/*.png and docs/results/README.md.

source setup.bash && python benchmarks/learning/plot.py
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from figures import HERE, OURS, Figure, Run, load_figures, with_beside
from tables import (
    GROUP_HEAD,
    LEVELS,
    RUN_HEAD,
    Group,
    goal,
    goal_rows,
    group_row,
    groups,
    markdown,
    ppo_rows,
    ratio_rows,
    run_row,
)

from resfit_learner.curve import WINDOW
from resfit_learner.evaluation import wilson

matplotlib.use('Agg')
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

OUT = HERE.parents[1] / 'docs' / 'results'
# Okabe and Ito's colours, told apart with any kind of colour vision; ours is always the first.
COLOURS = ['#0072B2', '#D55E00', '#009E73', '#CC79A7', '#E69F00', '#56B4E9', '#000000', '#8C6BB1', '#7F7F7F']
DASHES = ['-', '--', '-.', (0, (1, 1)), (0, (5, 1, 1, 1, 1, 1))]
COLD = 'resfit_cold'  # ours without its warm start: from the bare base on, as all others
COMPARED = 'paper', 'baselines', 'ppo'  # figures with methods that ours is compared with
GREY = '#5c6068'
NAMES = {
    OURS: 'ResFiT, our recipe', COLD: 'without a warm start',
    'resfit_steps caution=1 averaging=0.001 mc_share=0.5 trust_episodes=0': 'resfit_steps, cautious',
    'resfit_steps caution=0 averaging=0.001 mc_share=0.5 explore_std=0.1 trust_episodes=0': 'resfit_steps, incautious',
    'paper_small': "ResFiT, the paper's recipe",
    'paper_small actor_lr=5e-06': "the paper's recipe, its rate for the box",
    'paper_small warm_start=8000': "the paper's recipe on our warm start",
    'paper_small encoder=frozen': "the paper's recipe on frozen features", 'base': 'frozen base',
    'ppo': 'residual PPO', 'filtered_bc': 'filtered BC', 'rlpd': 'RLPD, no base', 'ibrl': 'IBRL',
}  # fmt: skip
POINTS = 200  # of a line
FIRST = 10  # episodes before a line begins: fewer say nothing
HOW = f"""
Made by `benchmarks/learning/plot.py` from the files in `benchmarks/learning/results`, each of which holds its command,
settings, seeds and versions; `benchmarks/learning/run.py FIGURE` makes those that are missing.

* **base**, **final**: 100 episodes on fresh starts without exploration, 95 % Wilson interval in per cent; over several
  seeds, each with its own base, the episodes of all are counted together. A goal is reached where at least three seeds
  are there, every base is in its band, and every seed reaches it; where some base is outside, the seeds whose base is
  inside are judged on their own as well. Steps may be 2 % more: an episode that has begun is ended.
* **start**: the same starts with the warm start alone, before anything is learned online (- where there is none).
* **dip**: success in the worst window of {WINDOW} training episodes over that of the base (1: never below); median, and
  smallest to largest over seeds. In the table of all runs, the interval is the noise of this one window against the
  base (ratio of two Beta(k + 1/2, n - k + 1/2) posteriors, 95 %). **of chance**: the median dip of simulated runs of
  the same length that stay exactly at their base, and the share of them that dip as deep: the worst of several hundred
  windows is below 1 by luck alone.
* **steps to**, **min to**: online control steps (20 in a robot second), and minutes of training by the clock, until a
  window of {WINDOW} training episodes, exploration included, first has that success; median, and smallest to largest
  over seeds. Warm-up counts; evaluations do not, nor does the warm start, which is made before the first step: half a
  minute to a minute of one core (`warm_start_s`, in newer results). **env steps/CPU s**: per second of processor time,
  which other work on the machine does not stretch as it does the clock; one thread each.
* Results were made on several machines, which presumably round otherwise: one seed's base may differ by a point or two
  from one run to another, that of the ball from pixels by thirty (37 and 67 %): its ratios are of unlike bases, and the
  line of the paper's recipe belongs to the better one. On one machine the same seed gives the same run. A `-dirty`
  commit had changes, mostly to documents and other results, that were committed afterwards.
* In the pictures a line is the mean over seeds of success in sliding windows of {WINDOW} episodes (thin: of all
  episodes so far, before there are {WINDOW}), its band smallest to largest over seeds (of one seed: the window's Wilson
  interval), dashed the first method's base with its Wilson interval, triangles the worst window of each seed, dots with
  bars the final evaluation, rings the warm start alone and evaluations on the way (50 episodes), dotted the goal.
  "(of 3)": of how many seeds a line is, where not all of a panel are of as many.
"""


def main() -> None:
    figures = load_figures()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--out', type=Path, default=OUT, help='folder (default: docs/results)')
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    parts = ['# Results of learning', HOW.strip(), '## Goals', goals(figures)]
    for figure in figures.values():
        runs = with_beside(figure, figures)
        made = any(run.load() for run in figure.runs if run.figure == figure.name)
        drawn = made and draw(args.out / f'{figure.name}.png', figure, runs)
        parts += [f'## {figure.about}', *([f'![{figure.about}]({figure.name}.png)'] if drawn else [])]
        parts += [markdown(GROUP_HEAD, map(group_row, groups(runs))), *ratios(figure, runs)]
    every = {run.name: row for figure in figures.values() for run in figure.runs if (row := run_row(run))}
    parts += ['## Every run', markdown(RUN_HEAD, every.values())]
    (args.out / 'README.md').write_text('\n\n'.join(parts) + '\n')


def goals(figures: dict[str, Figure]) -> str:
    head = ['task', 'goal', 'base in band', 'base', 'final', 'dip', 'steps', 'outcome']
    return markdown(head, goal_rows(figures))


def ratios(figure: Figure, runs: Sequence[Run]) -> list[str]:
    """How many times faster ours is, where the figure compares it with others."""
    own = groups(run for run in runs if run.label in (OURS, COLD))
    others = groups(run for run in runs if run.figure in COMPARED and run.label != 'base')
    if figure.name == 'ppo':
        head = ['task', 'ours', 'seeds', "PPO's success at its end", 'steps of PPO', 'steps of ours', 'times fewer']
        return [markdown(head, ppo_rows(own, others))]
    if figure.name in COMPARED:
        head = [
            'task',
            'ours',
            'against',
            'seeds',
            *(f'{what} to {level}' for what in ('steps', 'CPU time') for level in LEVELS),
        ]
        about = (
            'Steps and processor time of the other over ours, on the seeds that both have (above 1: ours is faster; >: '
            "the other's run ended first). Where a warm start is at a level in its first window, the steps of ours are "
            'those of that window, and the ratio tells no more than that.'
        )
        return [about, markdown(head, ratio_rows(own, others))]
    return []


def draw(path: Path, figure: Figure, runs: Sequence[Run]) -> bool:
    """One panel per task (and per ``panel`` of the figure). False where no run has a result."""
    panels = list(dict.fromkeys((run.where, run.panel) for run in runs if run.load()))
    named = [where for where, panel in panels if panel]
    panels = [(where, panel) for where, panel in panels if panel or where not in named]
    if not panels:
        return False
    columns = min(3, len(panels))
    rows = -(-len(panels) // columns)
    size = (max(7.0, 5.2 * columns + 0.4), 3.9 * rows + 0.9)
    canvas, axes = plt.subplots(rows, columns, figsize=size, layout='constrained', squeeze=False, sharey=True)
    for (where, panel), one in zip(panels, axes.flat, strict=False):
        shown = [run for run in runs if run.where == where and run.panel in ('', panel)]
        styles = {label: style(index) for index, label in enumerate(labels(shown if panel else runs))}
        draw_panel(one, where, panel, [group for group in groups(shown) if group.results], styles, figure.log)
        if panel:  # its lines are its own
            one.legend(loc='upper center', bbox_to_anchor=(0.5, -0.15), ncols=2, frameon=False)
    for one in axes.flat[len(panels) :]:
        one.set_visible(False)
    for row in axes:
        row[0].set_ylabel(f'success, last {WINDOW} episodes')
    if not any(panel for _, panel in panels):
        handles = {handle.get_label(): handle for one in axes.flat for handle in one.get_legend_handles_labels()[0]}
        widest = max(2.3, 0.8 + max(map(len, handles)) / 13)  # inches
        wide = max(1, min(len(handles), int(size[0] / widest)))
        canvas.legend(handles.values(), handles.keys(), loc='outside lower center', ncols=wide, frameon=False)
    canvas.savefig(path, dpi=130)
    plt.close(canvas)
    return True


def labels(runs: Sequence[Run]) -> list[str]:
    """Ours first."""
    return sorted(dict.fromkeys(run.label for run in runs), key=lambda label: label != OURS)


def style(index: int) -> dict[str, Any]:
    return {'color': COLOURS[index % len(COLOURS)], 'ls': DASHES[index // len(COLOURS) % len(DASHES)]}


def pretty(label: str) -> str:
    """Name for people; of a changed recipe only what was changed."""
    name, *changed = label.split()
    if label in NAMES:
        return NAMES[label]
    if any(item.startswith('utd=') for item in changed):  # what makes the actor begin after as many steps goes with it
        changed = [item for item in changed if not item.startswith('critic_warmup=')]
    return ', '.join(item.replace('=', ' ') for item in changed) or name


def draw_panel(
    axes: Axes, where: str, panel: str, shown: Sequence[Group], styles: dict[str, dict[str, Any]], log: bool
) -> None:
    """All methods on one task."""
    # Bases differ where seeds or machines do: those of the first method give the line.
    base = shown[0].rate('base')
    axes.axhspan(base.low, base.high, color=GREY, alpha=0.12, lw=0)
    axes.axhline(base.success, color=GREY, lw=1.4, ls='--', label='base, evaluated')
    end = max(result['env_steps'] for group in shown for result in group.results)
    unequal = panel and len({len(group.results) for group in shown}) > 1
    for index, group in enumerate(shown):
        look, name = styles[group.label], pretty(group.label)
        if unequal:
            name += f' (of {len(group.results)})'
        if (drawn := band(group, log)) is not None:
            steps, low, mean, high = drawn
            axes.fill_between(steps, low, high, color=look['color'], alpha=0.14, lw=0)
            axes.plot(steps, mean, lw=2, label=name, **look)
        if (begun := band(group, log, begin=True)) is not None:
            axes.plot(begun[0], begun[2], lw=1, alpha=0.5, color=look['color'])
        for result in group.results:
            points = [(item['steps'], item['success']) for item in result['evaluations']]
            if result.get('start') and not log:
                points = [(0, result['start']['success']), *points]
            if points:
                axes.plot(*zip(*points, strict=True), 'o', color=look['color'], mfc='white', ms=4)
            if result['dip']:
                axes.plot(
                    result['dip']['last_step'], result['dip']['window'], 'v', color=look['color'], ms=6, mec='white'
                )
        final = group.rate('resfit')
        x = end * (1.03 + 0.025 * index) if not log else end * 1.12 ** (index + 1)
        axes.errorbar(
            [x], [final.success], [[final.success - final.low], [final.high - final.success]], fmt='o', ms=5,
            color=look['color'], capsize=3, lw=1.5, label=None if drawn is not None else name,
        )  # fmt: skip
    if (wanted := goal(where)) is not None:
        axes.axhline(wanted.final, color=GREY, lw=1, ls=':')
        if wanted.steps < end:
            axes.axvline(wanted.steps, color=GREY, lw=1, ls=':')
    room = 0.025 * len(shown) + 0.05
    axes.set(ylim=(-0.02, 1.04), xlabel='online control steps')
    if log:
        axes.set_xscale('log')
        axes.set_xlim(500, end * 1.12 ** (len(shown) + 2))
    else:
        axes.set_xlim(0, end * (1 + room))
        axes.xaxis.set_major_formatter(lambda value, _: f'{value / 1000:g}k' if value else '0')
    axes.yaxis.set_major_formatter(lambda value, _: f'{value:.0%}')
    axes.set_title(f'{where}, {panel}' if panel else where, loc='left', fontsize=11)
    axes.spines[['top', 'right']].set_visible(False)
    axes.grid(axis='y', alpha=0.25)


def band(group: Group, log: bool, begin: bool = False) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray] | None:
    """Steps, low, mean and high of the success in sliding windows; None where no run has a whole one.

    ``begin``: before that, of all episodes so far. Between two points of the picture values are averaged.
    """
    lines = []
    for result in group.results:
        steps, success = np.array(result['curve']['steps']), np.array(result['curve']['success'], float)
        total = np.cumsum(np.concatenate([[0.0], success]))
        if begin:
            ends = np.arange(FIRST, min(WINDOW, len(success)) + 1)
            values = total[ends] / ends
        else:
            ends = np.arange(WINDOW, len(success) + 1)
            values = (total[ends] - total[ends - WINDOW]) / WINDOW
        if len(ends) > 1:
            lines.append((steps[ends - 1], values))
    if not lines:
        return None
    first, last = max(line[0][0] for line in lines), min(line[0][-1] for line in lines)
    if last <= first:
        return None
    grid = np.geomspace(first, last, POINTS) if log else np.linspace(first, last, POINTS)
    grid[0], grid[-1] = first, last  # as they are, rounding or not
    values = np.array([thinned(grid, *line) for line in lines])
    if len(lines) > 1:
        return grid, values.min(0), values.mean(0), values.max(0)
    rates = [wilson(round(value * WINDOW), WINDOW) for value in values[0]]
    return grid, np.array([rate.low for rate in rates]), values[0], np.array([rate.high for rate in rates])


def thinned(grid: np.ndarray, steps: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Mean of the values that end after one point of the grid and up to the next; the newest where there is none."""
    ends = np.searchsorted(steps, grid, side='right')
    starts = np.minimum(np.concatenate([[0], ends[:-1]]), ends - 1)
    total = np.concatenate([[0.0], np.cumsum(values)])
    return (total[ends] - total[starts]) / (ends - starts)


if __name__ == '__main__':
    main()
