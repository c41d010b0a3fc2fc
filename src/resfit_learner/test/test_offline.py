"""Estimates of policies that were not run: right where much was recorded, doubtful where nothing was."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from touch_env import make_setup

from resfit_learner.checkpoint import load_critic, save_checkpoint
from resfit_learner.config import LearnerConfig
from resfit_learner.offline import (
    PhaseRows,
    believed,
    covered,
    estimate,
    fitted,
    happened,
    kernel_ridge,
    matched,
    usable,
)
from resfit_learner.training import ResFiT
from resfit_policy.episode_log import Arm, Episode, Flag, Phase
from resfit_policy.task import ConfigError

CONFIG = LearnerConfig(
    min_steps=10, heads=2, critic_hidden=(16,), actor_hidden=(16,), explore_std=0.5, explore_std_end=0.5, utd=0.1
)


def two_phases(count: int, wanted: tuple[float, float], seed: int = 0) -> tuple[list[PhaseRows], np.ndarray, float]:
    """A grasp, then a placement, each of which succeeds the more surely the larger its correction in [0, 1] is.

    Gives the rows, the outcomes, and the true chance of a policy that always corrects by ``wanted``.
    """
    random = np.random.default_rng(seed)
    taken = random.uniform(0, 1, (count, 2))
    held = random.random(count) < 0.2 + 0.6 * taken[:, 0]
    success = held & (random.random(count) < 0.3 + 0.6 * taken[:, 1])
    every = np.arange(count)
    asked = np.broadcast_to(np.array(wanted), (count, 2))
    rows = [
        PhaseRows(every, np.zeros((count, 1)), taken[:, :1], asked[:, :1], np.zeros(count, bool)),
        PhaseRows(every, held[:, None].astype(float), taken[:, 1:], asked[:, 1:], np.ones(count, bool)),
    ]
    return rows, success.astype(np.float64), (0.2 + 0.6 * wanted[0]) * (0.3 + 0.6 * wanted[1])


@pytest.mark.parametrize('wanted', [(0.1, 0.1), (0.5, 0.5), (0.9, 0.1), (0.9, 0.9)])
def test_a_policy_is_valued_by_what_its_corrections_led_to(wanted: tuple[float, float]) -> None:
    found, near = [], []
    for seed in range(8):
        rows, success, truth = two_phases(300, wanted, seed)
        found.append(fitted(rows, success, np.ones(300)))
        near.append(matched(rows, success))
    assert np.mean(found) == pytest.approx(truth, abs=0.07)
    assert np.std(found) < 0.08
    assert np.mean([item.success for item in near]) == pytest.approx(truth, abs=0.12)
    assert sum(item.low <= truth <= item.high for item in near) >= 6


def test_values_go_back_through_the_phases_under_the_policys_own_corrections() -> None:
    """Who places badly is not saved by episodes in which others placed well."""
    good, success, _ = two_phases(300, (0.9, 0.9))
    bad, _, _ = two_phases(300, (0.9, 0.0))
    assert fitted(bad, success, np.ones(300)) < fitted(good, success, np.ones(300)) - 0.25


def test_kernel_ridge_is_a_weighted_fit() -> None:
    known, target = np.array([[0.0], [1.0], [2.0]]), np.array([0.0, 1.0, 0.0])
    without = kernel_ridge(known[:2], target[:2], np.ones(2), np.array([[0.5]]))
    # The third row has no weight, but a say in how wide the kernel is: take the same width.
    width = np.median(np.square(known - known.T))
    assert width == 1.0 and np.median(np.square(known[:2] - known[:2].T)) == 0.5
    k = np.exp(-np.square(known[:2] - known[:2].T)) + 0.3 * np.eye(2)
    by_hand = 0.5 + np.exp(-np.square(0.5 - known[:2, 0])) @ np.linalg.solve(k, target[:2] - 0.5)
    assert kernel_ridge(known, target, np.array([1.0, 1.0, 0.0]), np.array([[0.5]]))[0] == pytest.approx(by_hand)
    assert without[0] == pytest.approx(0.5)


def test_what_nobody_tried_is_not_covered() -> None:
    inside, _, _ = two_phases(100, (0.5, 0.5))
    outside, _, _ = two_phases(100, (1.5, 0.5))
    assert covered(inside) == 1.0
    assert covered(outside) == 0.5


@pytest.fixture(scope='module')
def run() -> tuple[ResFiT, list[Episode]]:
    """A training whose residual explores widely, and its episodes."""
    method, episodes = ResFiT(make_setup(CONFIG)), []
    for _ in range(60):
        method.advance()
        assert method.newest is not None
        episodes.append(method.newest)
    return method, episodes


def test_a_run_estimates_its_policies(run: tuple[ResFiT, list[Episode]], tmp_path: Path) -> None:
    method, episodes = run
    actor = method.learner.actor
    found = estimate(episodes, actor)
    assert 0 <= found.fitted.low < found.fitted.success < found.fitted.high <= 1
    assert found == estimate(episodes, actor)  # the same seed, the same numbers
    alone = estimate(episodes, actor, authority=0.0)
    with torch.no_grad():
        saved = actor.offset.clone()
        actor.offset += 3.0  # to the edge of the range
        assert estimate(episodes, actor, authority=0.0) == alone  # the base's, whatever the residual would do
        assert estimate(episodes, actor).covered < found.covered
        actor.offset.copy_(saved)
    folder = save_checkpoint(method.learner, tmp_path)
    critic = load_critic(folder, actor)
    assert believed(episodes, actor, critic) == pytest.approx(believed(episodes, actor, method.learner.critic))
    (folder / 'learner.safetensors').write_bytes(b'short')
    with pytest.raises(ConfigError, match=r'learner\.safetensors'):
        load_critic(folder, actor)


def test_what_happened_counts_the_episodes_of_the_nearest_weights(run: tuple[ResFiT, list[Episode]]) -> None:
    _, episodes = run
    versions = [int(item.weights_version[0]) for item in episodes]
    around = happened(episodes, versions[30], count=5)
    nearest = [item.success for item in episodes if abs(int(item.weights_version[0]) - versions[30]) <= 2]
    assert around is not None and len(nearest) == around.n == 5
    assert around.success == np.mean(nearest)
    assert happened(episodes, versions[-1] + 1) is None
    assert happened([replace(item, arm=Arm.BASE) for item in episodes], versions[30]) is None


def test_too_few_or_uniform_episodes_are_refused(run: tuple[ResFiT, list[Episode]]) -> None:
    _, episodes = run
    assert len(usable(episodes)) == 60
    with pytest.raises(ConfigError, match='record at least 20'):
        usable(episodes[:5])
    with pytest.raises(ConfigError, match='successes and failures'):
        usable([item.relabelled(True) for item in episodes])
    helped = [replace(item, flags=item.flags | Flag.INTERVENTION) for item in episodes]
    with pytest.raises(ConfigError, match='0 usable'):
        usable(helped)
    with pytest.raises(ConfigError, match='0 usable'):
        usable([replace(item, outcome=Phase.ABORTED) for item in episodes])
