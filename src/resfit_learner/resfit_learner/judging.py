"""How good a success classifier is on whole episodes, by the rule that it is used with; and how the rule is chosen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resfit_learner.footage import Footage
from resfit_policy.judge import Rule, Verdict, judge_episode
from resfit_policy.rate import Rate, wilson
from resfit_policy.task import ConfigError

Probabilities = NDArray[np.float64]
SPARED = 0.05  # share of validation episodes that may be doubtful so that the others are surer
SURE = 0.95  # no threshold is surer than this without need: between two probabilities close to 1 there is no difference


def seen_online(item: Footage, probabilities: Probabilities, hold: int) -> Probabilities:
    """The probabilities that a judge would have heard of an episode.

    Its label ended it. Without the label it would have gone on, its scene as in the last image, until the judge is
    sure. A time-out gives no such time.
    """
    return probabilities if item.timed_out else np.append(probabilities, np.repeat(probabilities[-1:], hold - 1))


@dataclass(frozen=True)
class Judged:
    """One episode, and what the judge made of it."""

    name: str
    success: bool
    verdict: Verdict
    early: bool  # judged a success before it can have been one

    @property
    def wrong(self) -> bool:
        return (self.verdict == Verdict.SUCCESS and (self.early or not self.success)) or (
            self.verdict == Verdict.NOT and self.success
        )


def judged(item: Footage, probabilities: Probabilities, rule: Rule, tail: int) -> Judged:
    """Apply the rule; a success is early where it comes before the last ``tail`` images of its episode."""
    verdict, count = judge_episode(seen_online(item, probabilities, rule.hold).tolist(), rule)
    early = item.success and not item.timed_out and verdict == Verdict.SUCCESS and count <= len(item.images) - tail
    return Judged(item.name, item.success, verdict, early)


@dataclass(frozen=True)
class Score:
    """Precision and recall of the verdict success, over episodes, and everything they are made of."""

    table: dict[str, dict[str, int]]  # label -> verdict -> episodes; a success judged too early counts as early
    precision: Rate | None  # None where nothing was judged a success
    recall: Rate
    doubtful: Rate
    wrong: tuple[str, ...]  # names of the episodes that were misjudged

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    def __str__(self) -> str:
        """For the terminal."""
        columns = ('success', 'early', 'doubtful', 'not')
        lines = [f'{"labelled":10}' + ''.join(f'{name:>10}' for name in columns) + '   judged']
        lines += [f'{name:10}' + ''.join(f'{row[key]:10}' for key in columns) for name, row in self.table.items()]
        for name, rate in (('precision', self.precision), ('recall', self.recall), ('doubtful', self.doubtful)):
            text = f'{rate.success:.1%} [{rate.low:.1%}, {rate.high:.1%}] of {rate.n}' if rate else 'nothing to count'
            lines.append(f'{name:10} {text}')
        lines += [f'misjudged: {name}' for name in self.wrong]
        return '\n'.join(lines)


def score(episodes: Sequence[Judged]) -> Score:
    """Count. Raises ValueError where there is no success among the episodes."""
    table = {label: dict.fromkeys(('success', 'early', 'doubtful', 'not'), 0) for label in ('success', 'failure')}
    for item in episodes:
        table['success' if item.success else 'failure']['early' if item.early else item.verdict.value] += 1
    right = table['success']['success']
    claimed = right + table['success']['early'] + table['failure']['success']
    doubtful = sum(row['doubtful'] for row in table.values())
    return Score(
        table,
        wilson(right, claimed) if claimed else None,
        wilson(right, sum(table['success'].values())),
        wilson(doubtful, len(episodes)),
        tuple(item.name for item in episodes if item.wrong),
    )


def choose_rule(footage: Sequence[Footage], probabilities: Sequence[Probabilities], hold: int, tail: int) -> Rule:
    """Thresholds from validation episodes: what looks like nearly all successes is one, what looks like nearly all
    failures is none, and whatever lies between, or where the two overlap, is doubtful.

    Raises ConfigError where successes and failures look the same.
    """
    shown, claimed, ended = [], [], []  # best of each success, what no threshold may take for one, ends of failures
    for item, each in zip(footage, probabilities, strict=True):
        heard = seen_online(item, each, hold)
        if not item.success:
            claimed.append(_held(heard, hold))
            ended.append(float(heard[-hold:].max()))
        else:
            before = 0 if item.timed_out else max(len(each) - tail, 0)
            shown.append(_held(heard[max(before - hold + 1, 0) :], hold))
            claimed.append(_held(each[:before], hold))
    success = float(np.clip(np.quantile(shown, SPARED), 0.5, SURE))
    failure = float(np.clip(np.quantile(ended, 1 - SPARED), 1 - SURE, 0.5 - 1e-6))
    if max(claimed) >= success:
        success = (max(claimed) + min((item for item in shown if item > max(claimed)), default=1.0)) / 2
    if min(shown) <= failure:
        failure = min(shown) / 2
    if np.mean(np.asarray(shown) >= success) < 0.5:
        raise ConfigError(
            'fewer than half of the successes kept for validation look surer than every failure: are the labels right, '
            'and can success be seen in the images? Otherwise record more'
        )
    return Rule(success, failure, hold)


def _held(probabilities: Probabilities, hold: int) -> float:
    """The highest threshold that ``hold`` images in a row reach, 0 where there are fewer."""
    if len(probabilities) < hold:
        return 0.0
    return float(np.lib.stride_tricks.sliding_window_view(probabilities, hold).min(axis=1).max())
