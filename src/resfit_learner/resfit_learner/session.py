"""A log of episodes as people read it: what happened in each, its labels, and how often which policy succeeded."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from resfit_learner.bags import Label, Record, read_records
from resfit_learner.curve import Curve
from resfit_learner.evaluation import Rate, newcombe, wilson
from resfit_learner.reacting import versions_acted
from resfit_policy.episode_log import Arm, Episode, Flag, Phase
from resfit_policy.task import ConfigError

SOURCES = ('simulation', 'person', 'classifier', 'script')  # Reward.source


@dataclass(frozen=True)
class Facts:
    """What there is to say of one episode, without its arrays."""

    episode_id: int
    seed: int
    arm: Arm
    outcome: Phase
    success: bool  # the newest label
    labels: tuple[Label, ...]  # the oldest first
    steps: int  # executed
    seconds: float
    stamp: int  # ns, of the first observation
    versions: tuple[int, ...]  # of the residuals that acted
    taken_over: int  # steps in which a person acted
    clipped: int  # steps in which the supervisor changed the action
    held: int  # steps in which nothing was fit to execute
    pixels: bool  # its steps hold images

    @property
    def counted(self) -> bool:
        """It has a result: it was not aborted."""
        return self.outcome != Phase.ABORTED

    @property
    def helped(self) -> bool:
        """A person took over: its result says nothing about the policy alone."""
        return self.taken_over > 0

    @property
    def corrected(self) -> bool:
        """It was given more than one label."""
        return len(self.labels) > 1


@dataclass(frozen=True)
class Session:
    """All episodes of a log in their order, and what of the log could not be read."""

    task: str
    episodes: tuple[Facts, ...]
    left_out: tuple[str, ...]

    def alone(self, arm: Arm) -> list[Facts]:
        """Episodes of one policy which have a result that is its own."""
        return [item for item in self.episodes if item.arm == arm and item.counted and not item.helped]

    def rate(self, arm: Arm) -> Rate | None:
        """Its success; None without such an episode."""
        mine = self.alone(arm)
        return wilson(sum(item.success for item in mine), len(mine)) if mine else None

    def difference(self) -> tuple[float, float, float] | None:
        """Residual less base, and the ends of the 95 % interval (Newcombe); None where one of them did not act."""
        base, residual = self.rate(Arm.BASE), self.rate(Arm.RESIDUAL)
        return (residual.success - base.success, *newcombe(base, residual)) if base and residual else None

    def curve(self, arm: Arm) -> Curve:
        """Its episodes in their order; the steps of all others lie between."""
        curve, steps = Curve(), 0
        mine = {item.episode_id for item in self.alone(arm)}
        for item in self.episodes:
            steps += item.steps
            if item.episode_id in mine:
                curve.steps.append(steps)
                curve.success.append(item.success)
        return curve

    @property
    def versions(self) -> tuple[int, ...]:
        """Versions of the residuals that acted, in order."""
        return tuple(sorted({version for item in self.episodes for version in item.versions}))


def facts(record: Record) -> Facts:
    """What there is to say of an episode."""
    episode = record.episode
    flags = episode.flags[: episode.length]
    return Facts(
        episode_id=episode.episode_id,
        seed=episode.seed,
        arm=episode.arm,
        outcome=episode.outcome,
        success=episode.success,
        labels=record.labels,
        steps=episode.length,
        seconds=float(episode.stamp[-1] - episode.stamp[0]) * 1e-9,
        stamp=int(episode.stamp[0]),
        versions=tuple(sorted(versions_acted(episode))),
        taken_over=int(np.count_nonzero(flags & Flag.INTERVENTION)),
        clipped=int(np.count_nonzero(flags & Flag.CLIPPED)),
        held=int(np.count_nonzero(flags & Flag.HELD)),
        pixels=bool(episode.images.size),
    )


def read_session(directory: Path, heard: Callable[[Episode], None] = lambda episode: None) -> Session:
    """Read a log; ``heard`` is given each episode. Damaged bags are left out and named.

    Raises ConfigError where nothing can be read, or where there are episodes of several tasks.
    """
    problems: list[str] = []
    found, tasks = [], set()
    for record in read_records(directory, problems.append):
        tasks.add(record.episode.task)
        found.append(facts(record))
        heard(record.episode)
    if not found:
        raise ConfigError(problems[0])
    if len(tasks) > 1:
        raise ConfigError(f'these are episodes of several tasks: {", ".join(sorted(tasks))}; keep one log per task')
    unfinished = [f'{folder} is unfinished or was moved aside' for folder in left_out(directory)]
    return Session(tasks.pop(), tuple(found), (*problems, *unfinished))


def left_out(directory: Path) -> list[Path]:
    """Folders of a log that are none of its episodes: cut off while they were recorded, or moved aside as damaged."""
    places = [place for end in ('partial', 'damaged') for place in (f'*.{end}', f'episodes/*.{end}')]
    return sorted(folder for place in places for folder in directory.glob(place) if folder.is_dir())


def telling(session: Session, failures: int) -> list[Facts]:
    """The newest ``failures`` failures and the newest success, in this order: what a report shows."""
    counted = [item for item in reversed(session.episodes) if item.counted]
    return [item for item in counted if not item.success][:failures] + [item for item in counted if item.success][:1]


def episodes_of(directory: Path, wanted: Sequence[int]) -> Iterator[Episode]:
    """The episodes with the ids ``wanted``, in the order of the log."""
    for record in read_records(directory, lambda problem: None, set(wanted)):
        yield record.episode
