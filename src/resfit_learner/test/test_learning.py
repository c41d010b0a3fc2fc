"""Does it learn? On a small environment, against criteria that broken learners are shown to miss."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from touch_env import make_setup

from resfit_learner import learner, losses
from resfit_learner.config import LearnerConfig
from resfit_learner.phase_critic import PhaseCritic
from resfit_learner.rollout import run_episode
from resfit_learner.training import ResFiT
from resfit_policy.chunked import Chunked
from resfit_policy.episode_log import Arm, Episode

CONFIG = LearnerConfig(
    gamma=0.9, n_step=1, mc_share=0.0, batch=128, state_noise=0.0, min_steps=200, heads=3, critic_hidden=(64, 64),
    critic_lr=1e-3, tau=0.02, actor_hidden=(64, 64), actor_lr=1e-3, actor_delay=2, critic_warmup=300, imitation=0.0,
    l2=0.0, offset_rate=0.0, directions=2, explore_std=0.3, explore_episodes=150, explore_hold=5,
)  # fmt: skip
# The first part of ``resfit_ros``, alone: its step-wise actor never moves.
LASTING = replace(
    CONFIG, offset_rate=0.3, phase_steps=10, explore_std=0.25, explore_hold=0, critic_warmup=10**6, utd=0.02
)  # fmt: skip


def faults() -> list[str]:
    """Train for 1,400 steps; what the outcome lacks."""
    method = ResFiT(make_setup(CONFIG))
    while method.env_steps < 1400:
        method.advance()
    env, found = make_setup(CONFIG).make_env(), []
    arms: list[list[Episode]] = [
        [run_episode(env, method.runtime, seed=seed, arm=arm) for seed in range(70_000, 70_060)]
        for arm in (Arm.BASE, Arm.RESIDUAL)
    ]
    base, learned = (float(np.mean([episode.success for episode in arm])) for arm in arms)
    if not 0.3 < base < 0.7:
        found.append(f'the base succeeds at {base:.2f}: it is not acting as planned')
    if learned < 0.75:
        found.append(f'the learned policy succeeds at {learned:.2f}')
    # At the start of its episodes the critic should expect what then happens.
    starts = [torch.from_numpy(np.stack([getattr(e, name)[0] for e in arms[1]])) for name in ('seen', 'base_action')]
    with torch.no_grad():
        encoded = method.learner.actor.encode(*starts)
        expected = method.learner.critic(encoded, torch.tanh(method.learner.actor.net(encoded))).mean().item()
    returns = float(np.mean([0.9 ** (episode.length - 1) * episode.success for episode in arms[1]]))
    if abs(expected - returns) > 0.2:
        found.append(f'the critic expects {expected:.2f} at the start, {returns:.2f} comes')
    return found


def test_it_learns() -> None:
    assert not faults()


@pytest.mark.parametrize('sign', [1, -1])
def test_lasting_corrections_learn_it_and_the_other_way_round_they_harm(
    sign: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    best = PhaseCritic.best
    monkeypatch.setattr(PhaseCritic, 'best', lambda critic: sign * best(critic))
    method = ResFiT(make_setup(LASTING))
    while method.env_steps < 1200:
        method.advance()
    env, starts = make_setup(LASTING).make_env(), range(70_000, 70_060)
    base, learned = (
        np.mean([run_episode(env, method.runtime, seed=seed, arm=arm).success for seed in starts])
        for arm in (Arm.BASE, Arm.RESIDUAL)
    )
    assert learned > base + 0.25 if sign > 0 else learned < base, (base, learned)


def flip_the_sign(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(learner, 'actor_loss', lambda *arguments: -losses.actor_loss(*arguments))


def lose_the_bootstrap(patch: pytest.MonkeyPatch) -> None:
    def build(episode: Episode, gamma: float, n_step: int) -> object:
        transitions = whole(episode, gamma, n_step)
        transitions.discount[:] = 0
        return transitions

    whole = learner.build_transitions
    patch.setattr(learner, 'build_transitions', build)


def keep_the_chunk_queue(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Chunked, 'reset', lambda policy: None)


@pytest.mark.parametrize(
    ('mutate', 'symptom'),
    [
        (flip_the_sign, 'the learned policy'),
        (lose_the_bootstrap, 'the critic expects'),
        (keep_the_chunk_queue, 'the learned policy'),
    ],
)
def test_a_broken_learner_is_noticed(
    mutate: Callable[[pytest.MonkeyPatch], None], symptom: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    mutate(monkeypatch)
    found = faults()
    assert any(fault.startswith(symptom) for fault in found), found
