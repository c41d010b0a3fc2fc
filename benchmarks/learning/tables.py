"""What the results say, as Markdown: goals, one table per figure, ratios, and every single run."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from figures import OURS, Figure, Run

from resfit_learner.curve import Curve
from resfit_learner.evaluation import Rate, wilson

Result = dict[str, Any]
LEVELS = '50%', '80%', '90%'
GROUP_HEAD = [
    'task', 'method', 'seeds', 'base', 'start', 'final', 'dip', *(f'steps to {level}' for level in LEVELS),
    *(f'min to {level}' for level in LEVELS), 'env steps/CPU s',
]  # fmt: skip
RUN_HEAD = [
    'task', 'method', 'seed', 'base', 'start', 'final', 'gain', 'dip', 'of chance', 'steps to 90%', 'steps', 'training',
    'commit',
]  # fmt: skip


@dataclass(frozen=True)
class Goal:
    """What is to be reached on a task."""

    base: tuple[float, float]
    final: float
    steps: int
    dip: float = 0.9


GOALS = {
    'woolly_ball': Goal((0.15, 0.45), 0.95, 18_000),
    'package_handover': Goal((0.15, 0.45), 0.95, 91_000),
    'box_cleanup': Goal((0.30, 0.80), 0.95, 100_000),
    'woolly_ball-vision': Goal((0.15, 0.45), 0.85, 36_000),
    'package_handover-vision': Goal((0.15, 0.45), 0.80, 100_000),
}
METAWORLD_GOAL = Goal((0.10, 0.60), 0.95, 50_000)


def goal(where: str) -> Goal | None:
    return METAWORLD_GOAL if where.startswith('metaworld') else GOALS.get(where)


@dataclass(frozen=True)
class Group:
    """The runs of one method on one task, over its seeds."""

    where: str
    label: str
    planned: int
    results: list[Result]
    changed: list[list[str]]  # of each result, the settings that are others now

    @property
    def method(self) -> str:
        """The label, and how many results were made with other settings."""
        old = [keys for keys in self.changed if keys]
        which = ', '.join(sorted({key for keys in old for key in keys}))
        return f'{self.label}, {len(old)} with another {which}' if old else self.label

    def of_seeds(self, other: Group) -> Group:
        """This group's results of those seeds that ``other`` has, too."""
        seeds = {result['seed'] for result in other.results}
        both = [pair for pair in zip(self.results, self.changed, strict=True) if pair[0]['seed'] in seeds]
        return replace(self, results=[result for result, _ in both], changed=[keys for _, keys in both])

    def rate(self, arm: str) -> Rate:
        """Success of ``arm`` (base, start, resfit), all seeds' episodes together."""
        rates = [result[arm] for result in self.results]
        return wilson(sum(round(item['success'] * item['n']) for item in rates), sum(item['n'] for item in rates))

    def reached(self, level: str, what: str) -> list[float]:
        """Steps or times to ``level``, per seed; infinite where it was not reached."""
        return [result['reached'][level][what] if result['reached'][level] else math.inf for result in self.results]

    def dips(self) -> list[float]:
        return [result['dip']['ratio'] for result in self.results if result['dip']]


def groups(runs: Iterable[Run]) -> list[Group]:
    """Runs by task and method, in their order."""
    found: dict[tuple[str, str], list[Run]] = {}
    for run in runs:
        found.setdefault((run.where, run.label), []).append(run)
    made = {key: [(item, run.stale()) for run in given if (item := run.load())] for key, given in found.items()}
    return [
        Group(*key, len(found[key]), [item for item, _ in results], [changed for _, changed in results])
        for key, results in made.items()
    ]


def run_label(run: Run) -> str:
    """The run's label, and what was another setting when its result was made."""
    old = run.stale()
    return f'{run.label}, with another {", ".join(old)}' if old else run.label


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [list(head), ['---'] * len(head), *map(list, rows)]
    return '\n'.join('| ' + ' | '.join(line) + ' |' for line in lines)


def percent(rate: Rate | dict[str, Any]) -> str:
    low, success, high = (
        (rate.low, rate.success, rate.high) if isinstance(rate, Rate) else (rate['low'], rate['success'], rate['high'])
    )
    return f'{success:.0%} [{100 * low:.0f}, {100 * high:.0f}]'


def spread(values: Sequence[float], shape: str = ',.0f') -> str:
    """Median, and smallest to largest; how many of the seeds got there at all."""
    finite = [value for value in values if math.isfinite(value)]
    if not finite:
        return 'not reached' if values else '-'
    middle = statistics.median(values)
    text = format(middle, shape) if math.isfinite(middle) else 'not reached'
    if len(finite) < len(values):
        return f'{text} ({len(finite)} of {len(values)}: from {min(finite):{shape}})'
    low, high = format(min(finite), shape), format(max(finite), shape)
    return f'{text} ({low} to {high})' if low != high else text


def group_row(group: Group) -> list[str]:
    """One line of a figure's table."""
    done = len(group.results)
    seeds = str(done) if done == group.planned else f'{done} of {group.planned}'
    if not done:
        return [group.where, group.method, seeds, 'not run', *['-'] * (len(GROUP_HEAD) - 4)]
    minutes = [[seconds / 60 for seconds in group.reached(level, 'seconds')] for level in LEVELS]
    return [
        group.where, group.method, seeds, percent(group.rate('base')),
        percent(group.rate('start')) if all(result.get('start') for result in group.results) else '-',
        percent(group.rate('resfit')), spread(group.dips(), '.2f'),
        *(spread(group.reached(level, 'steps')) for level in LEVELS),
        *(spread(item, '.1f') for item in minutes),
        spread([result['env_steps'] / result['training_cpu_s'] for result in group.results], '.0f'),
    ]  # fmt: skip


def run_row(run: Run) -> list[str] | None:
    """One line of the table of all runs; None where there is no result."""
    result = run.load()
    if result is None:
        return None
    gain, dip, ninety = result['difference'], result['dip'], result['reached']['90%']
    points = result['resfit']['success'] - result['base']['success']
    return [
        run.where, run_label(run), str(run.seed), percent(result['base']),
        percent(result['start']) if result.get('start') else '-', percent(result['resfit']),
        f'{100 * points:+.0f} [{100 * gain["low"]:+.0f}, {100 * gain["high"]:+.0f}]',
        f'{dip["ratio"]:.2f} [{dip["low"]:.2f}, {dip["high"]:.2f}]' if dip else '-',
        f'{dip["chance_median"]:.2f}, {dip["chance"]:.3f}' if dip else '-',
        f'{ninety["steps"]:,}' if ninety else 'not reached', f'{result["env_steps"]:,}',
        f'{result["training_s"] / 60:.1f} min', str(result['versions']['commit']),
    ]  # fmt: skip


def within_band(wanted: Goal, results: Sequence[Result]) -> list[Result]:
    low, high = wanted.base
    return [result for result in results if low <= result['base']['success'] <= high]


def shortcomings(wanted: Goal, results: Sequence[Result]) -> list[str]:
    """What ``results``, one per seed, lack of a goal."""
    inside = within_band(wanted, results)
    kept = {
        'base': len(inside) == len(results),
        'success': all(result['resfit']['success'] >= wanted.final for result in results),
        'steps': all(result['env_steps'] <= 1.02 * wanted.steps for result in results),  # the last episode ends late
        'dip': all(result['dip'] and result['dip']['ratio'] >= wanted.dip for result in results),
        'seeds': len(inside) >= 3,
    }
    return [name for name, true in kept.items() if not true]


def goal_rows(figures: dict[str, Figure]) -> list[list[str]]:
    """Goals against our recipe: figure by figure, what was reached within the steps allowed, by all seeds."""
    ours = [run for figure in figures.values() for run in figure.runs if run.label == OURS and goal(run.where)]
    rows = []
    for group in groups(ours):
        wanted = goal(group.where)
        assert wanted is not None
        low, high = wanted.base
        aim = f'base {low:.0%} to {high:.0%}; at least {wanted.final:.0%} within {wanted.steps:,}; dip {wanted.dip}'
        if not group.results:
            rows.append([group.where, aim, '0', 'not run', '-', '-', '-', '-'])
            continue
        inside = within_band(wanted, group.results)
        missed = shortcomings(wanted, group.results)
        outcome = 'reached' if not missed else f'missed: {", ".join(missed)}'
        if missed and 0 < len(inside) < len(group.results):
            within = shortcomings(wanted, inside)
            outcome += f'; by those in the band {"missed: " + ", ".join(within) if within else "reached"}'
        rows.append([
            group.where, aim, f'{len(inside)} of {len(group.results)}', percent(group.rate('base')),
            percent(group.rate('resfit')), spread(group.dips(), '.2f'),
            f'{max(result["env_steps"] for result in group.results):,}', outcome,
        ])  # fmt: skip
    return rows


def pairs(ours: Sequence[Group], others: Sequence[Group]) -> Iterator[tuple[Group, Group]]:
    """Each of ``ours`` with each of the others on the same task, both cut to the seeds that both have."""
    for other in others:
        for mine in ours:
            if mine.where == other.where:
                yield mine.of_seeds(other), other.of_seeds(mine)


def ratio_rows(ours: Sequence[Group], others: Sequence[Group]) -> list[list[str]]:
    """How many times fewer steps and how much less processor time ours takes to each level, medians over seeds."""
    rows = []
    for mine, other in pairs(ours, others):
        cells = ['not run'] * (2 * len(LEVELS))
        if mine.results:
            cells = []
            for what, limit in (('steps', 'env_steps'), ('cpu_seconds', 'training_cpu_s')):
                most = statistics.median(result[limit] for result in other.results)
                cells += [ratio(mine.reached(level, what), other.reached(level, what), most) for level in LEVELS]
        rows.append([other.where, mine.method, other.method, str(len(mine.results)), *cells])
    return rows


def ratio(mine: Sequence[float], theirs: Sequence[float], limit: float) -> str:
    """Median of theirs over the median of mine; a bound where theirs was not reached in its ``limit`` steps."""
    one, two = statistics.median(mine), statistics.median(theirs)
    if not math.isfinite(one):
        return 'ours not reached'
    return f'{two / one:.1f}' if math.isfinite(two) else f'> {limit / one:.1f}'


def ppo_rows(ours: Sequence[Group], ppo: Sequence[Group]) -> list[list[str]]:
    """Steps to the success that PPO has at its end: of PPO (its first such window, or its end), and of ours."""
    rows = []
    for mine, other in pairs(ours, ppo):
        if not mine.results:
            rows.append([other.where, mine.label, '0', 'not run', '-', '-', '-'])
            continue
        level = other.rate('resfit').success
        theirs = [steps_to(result, level) or result['env_steps'] for result in other.results]
        steps = [steps_to(result, level) or math.inf for result in mine.results]
        middle = statistics.median(steps)
        times = f'{statistics.median(theirs) / middle:.0f}' if math.isfinite(middle) else 'ours not reached'
        count = str(len(mine.results))
        rows.append([other.where, mine.method, count, f'{level:.0%}', spread(theirs), spread(steps), times])
    return rows


def steps_to(result: Result, level: float) -> int | None:
    """Online steps until a window of 50 episodes first has ``level`` success."""
    curve = Curve(result['curve']['steps'], [bool(item) for item in result['curve']['success']])
    index = curve.reached(level)
    return None if index is None else curve.steps[index]
