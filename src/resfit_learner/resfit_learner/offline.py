"""What would a policy achieve that was not run, as far as recorded episodes can tell?

Episodes are cut into phases of two seconds. In each, what counts is the mean correction: the one that was executed, and
the one that the policy would have made in what was seen. From these come two estimates of the chance of success:

* fitted Q evaluation (Le et al. 2019, arXiv 1903.08738), backwards from the last phase: the chance to succeed after a
  state and a correction in it is fitted to the success of episodes that ended in the phase, and for the others to the
  value of the next phase under the policy's own correction. The fit is kernel ridge regression: in closed form, and
  rich enough for the few hundred episodes that a robot gives.
* matched episodes: the share of successes among those in which, by luck or because a relative of the policy acted,
  about the policy's corrections were executed.

Neither needs the probabilities of the executed actions, which a frozen black box does not have. Both know only what was
recorded, and where that is thin both lean towards the recorded average; ``Estimate.covered`` says how thin.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from resfit_learner.networks import EnsembleCritic
from resfit_learner.warm_start import from_start
from resfit_policy.actor import ResidualActor
from resfit_policy.episode_log import Arm, Episode, Phase
from resfit_policy.rate import Rate, Z, wilson
from resfit_policy.task import ConfigError

Array = NDArray[np.float64]

PHASE_STEPS = 40  # control steps
LEAST_EPISODES = 20
LEAST_ROWS = 5  # in a phase that fewer episodes reached nothing is fitted: what came of them counts
CUT = 1.5  # corrections beyond so many bounds count as this: a person's may lie anywhere
CORRECTION_WEIGHT = 2.0  # of the correction in distances, where the state has 1
RIDGE = 0.3
LEAST_MATCHED = 12.0  # effective number of episodes that the kernel over episodes is made wide enough for
DRAWS = 200  # bootstrap samples of the episodes


@dataclass(frozen=True)
class Estimate:
    """A policy's chance of success, with 95 % intervals."""

    fitted: Rate  # by fitted Q evaluation; the interval is that of other episodes of the same kind, not of its bias
    matched: Rate  # n is the effective number of matched episodes
    covered: float  # share of phases in which a correction like the policy's was recorded


@dataclass(frozen=True)
class PhaseRows:
    """The R episodes that reached a phase."""

    episode: NDArray[np.int64]  # (R,) index
    state: Array  # (R, D) at the phase's start, as the actor is given it
    taken: Array  # (R, k) mean correction that was executed, in bounds
    wanted: Array  # (R, k) that the policy would have made on average in what was seen
    ended: NDArray[np.bool_]  # (R,) within the phase


def usable(episodes: Sequence[Episode]) -> list[Episode]:
    """Episodes with a result that a policy alone brought about. Raises ConfigError where they cannot say anything."""
    kept = [item for item in episodes if item.outcome != Phase.ABORTED and item.length and not item.helped]
    successes = sum(item.success for item in kept)
    if len(kept) < LEAST_EPISODES or successes in (0, len(kept)):
        raise ConfigError(
            f'{len(kept)} usable episodes with {successes} successes say nothing about another policy: record at '
            f'least {LEAST_EPISODES}, with successes and failures among them'
        )
    return kept


def outline(episodes: Sequence[Episode], actor: ResidualActor, authority: float = 1.0) -> list[PhaseRows]:
    """The phases of ``usable`` episodes; ``authority`` scales the corrections of ``actor``, 0 is the base alone."""
    found: list[list[tuple[int, Array, Array, Array, bool]]] = []
    for index, episode in enumerate(episodes):
        known, length = from_start(episode, actor.demonstrated), episode.length
        parts = episode.base_action, known.base_action, episode.executed_action, episode.seen[:, 0]
        base, start, executed, step = (torch.from_numpy(part[:length]) for part in parts)
        with torch.no_grad():
            encoded = _encode(known, actor, length)
            none = actor.to_latent(base, start, step)
            taken = actor.to_latent(executed, start, step).clamp(-CUT, CUT).double().numpy()
            wanted = torch.lerp(none, actor.correct(encoded), authority).double().numpy()
        for phase, first in enumerate(range(0, length, PHASE_STEPS)):
            rows, ended = slice(first, first + PHASE_STEPS), first + PHASE_STEPS >= length
            if phase == len(found):
                found.append([])
            state = encoded[first].double().numpy()
            found[phase].append((index, state, taken[rows].mean(0), wanted[rows].mean(0), ended))
    return [PhaseRows(*(np.array(column) for column in zip(*rows, strict=True))) for rows in found]


def estimate(episodes: Sequence[Episode], actor: ResidualActor, authority: float = 1.0, seed: int = 0) -> Estimate:
    """What ``episodes`` say about ``actor``. Raises ConfigError where they are too few, or all end alike."""
    kept = usable(episodes)
    success = np.array([item.success for item in kept], np.float64)
    phases = outline(kept, actor, authority)
    random, drawn = np.random.default_rng(seed), []
    for _ in range(DRAWS):
        drawn.append(fitted(phases, success, random.poisson(1.0, len(success)).astype(np.float64)))
    whole, half = fitted(phases, success, np.ones(len(success))), Z * float(np.std(drawn))
    rate = Rate(whole, len(success), max(0.0, whole - half), min(1.0, whole + half))
    return Estimate(rate, matched(phases, success), covered(phases))


def fitted(phases: Sequence[PhaseRows], success: Array, weight: Array) -> float:
    """Mean value of the starts by fitted Q evaluation; ``weight`` (E,) of each episode, as a bootstrap draws it."""
    value = success.copy()  # of each episode's next phase, under the policy
    for rows in reversed(phases):
        target = np.where(rows.ended, success[rows.episode], value[rows.episode])
        if np.count_nonzero(weight[rows.episode]) < LEAST_ROWS:
            value[rows.episode] = target
            continue
        state = np.clip((rows.state - rows.state.mean(0)) / np.maximum(rows.state.std(0), 0.05), -3, 3)
        scale = CORRECTION_WEIGHT / max(float(rows.taken.std()), 0.05) / np.sqrt(rows.taken.shape[1])
        state = state / np.sqrt(state.shape[1])
        known, asked = (np.hstack([state, scale * part]) for part in (rows.taken, rows.wanted))
        value[rows.episode] = np.clip(kernel_ridge(known, target, weight[rows.episode], asked), 0, 1)
    return float(np.average(value, weights=weight)) if weight.any() else float(success.mean())


def kernel_ridge(known: Array, target: Array, weight: Array, asked: Array) -> Array:
    """Values (M,) at ``asked`` (M, D), fitted to the ``target`` (N,) of ``known`` (N, D) with their ``weight`` (N,).

    A Gaussian kernel as wide as the median distance, and a mean of its own.
    """
    mean = np.average(target, weights=weight)
    between = _square_distances(known, known)
    width = np.median(between) + 1e-9
    root = np.sqrt(weight)
    system = root[:, None] * np.exp(-between / width) * root + RIDGE * np.eye(len(known))
    dual = root * np.linalg.solve(system, root * (target - mean))
    values: Array = mean + np.exp(-_square_distances(asked, known) / width) @ dual
    return values


def matched(phases: Sequence[PhaseRows], success: Array) -> Rate:
    """Success of the episodes whose corrections were most like the policy's, with Wilson's interval."""
    gap, count = np.zeros(len(success)), np.zeros(len(success))
    for rows in phases:
        gap[rows.episode] += np.square(rows.taken - rows.wanted).mean(1)
        count[rows.episode] += 1
    gap = gap / count - (gap / count).min()
    width, effective = float(np.median(gap)) / 64 + 1e-9, 0.0
    weight = np.ones(len(success))
    while effective < min(LEAST_MATCHED, len(success) / 2):
        weight = np.exp(-gap / width)
        effective = float(weight.sum() ** 2 / np.square(weight).sum())
        width *= 1.2
    n = round(effective)
    return wilson(n * float(np.average(success, weights=weight)), n)


def covered(phases: Sequence[PhaseRows]) -> float:
    """Share of phases in which the policy's correction is no further from the nearest recorded one than recorded ones
    are from each other (95th percentile).
    """
    inside = []
    for rows in phases:
        if len(rows.taken) < LEAST_ROWS:
            continue
        apart = _square_distances(rows.taken, rows.taken)
        np.fill_diagonal(apart, np.inf)
        usual = np.quantile(apart.min(1), 0.95)
        inside.append(_square_distances(rows.wanted, rows.taken).min(1) <= usual)
    return float(np.concatenate(inside).mean())


def believed(episodes: Sequence[Episode], actor: ResidualActor, critic: EnsembleCritic) -> float:
    """What a learner's critic expects at the starts, on average: a discounted return, so below a chance of success."""
    with torch.no_grad():
        values = [
            critic(encoded := _encode(item, actor, 1), actor.correct(encoded)).mean()
            for item in (from_start(episode, actor.demonstrated) for episode in episodes)
            if item.length
        ]
    return float(torch.stack(values).mean())


def happened(episodes: Sequence[Episode], version: int, count: int = 20) -> Rate | None:
    """Success of the ``count`` recorded episodes that weights nearest to ``version`` acted in; None where none did."""
    kept = [item for item in episodes if item.arm == Arm.RESIDUAL and item.outcome != Phase.ABORTED]
    kept = [item for item in kept if not item.helped and not item.alone]
    versions = np.array([item.weights_version[0] for item in kept])
    if not kept or not versions.min() <= version <= versions.max():
        return None
    nearest = np.argsort(np.abs(versions - version), kind='stable')[:count]
    return wilson(sum(kept[row].success for row in nearest), len(nearest))


def _encode(episode: Episode, actor: ResidualActor, rows: int) -> Tensor:
    """The first ``rows`` steps as ``actor`` is given them."""
    seen = np.stack([actor.see(episode.seen[row], episode.images[row]) for row in range(rows)])
    return actor.encode(torch.from_numpy(seen), torch.from_numpy(episode.base_action[:rows]))


def _square_distances(first: Array, second: Array) -> Array:
    """(N, D) and (M, D) -> (N, M)."""
    square = np.square(first).sum(1)[:, None] + np.square(second).sum(1) - 2 * first @ second.T
    distances: Array = np.maximum(square, 0)
    return distances
