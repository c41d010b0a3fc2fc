"""The equations of the method, as functions of a batch (paper III-C, Alg. 1)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from resfit_learner.buffer import Batch
from resfit_learner.config import LearnerConfig
from resfit_learner.networks import BEYOND, EnsembleCritic
from resfit_policy.actor import ResidualActor


def told(config: LearnerConfig, actor: ResidualActor, action: Tensor, base_action: Tensor, state: Tensor) -> Tensor:
    """What the critic is told of ``action``: its correction of ``base_action`` (B, k), cut at ``correction_cut``."""
    return actor.to_latent(action, base_action, state).clamp(-config.correction_cut, config.correction_cut)


@torch.no_grad()
def td_target(
    config: LearnerConfig, batch: Batch, critic: EnsembleCritic, actor: ResidualActor, generator: torch.Generator
) -> Tensor:
    """y = R_n + gamma^n min_{i in M} Q'_i(s', b', clip(pi'(s', b') + eps)), M a random subset of heads; (B,).

    ``critic`` and ``actor`` are the Polyak averages; eps is clipped Gaussian noise (target smoothing). Behind a
    Q-gate, the value of the plain base action counts wherever pi' is not surely better, as when acting.
    """
    encoded = actor.encode(batch.next_state, batch.next_base_action)
    latent = actor.correct(encoded)
    noise = torch.randn(latent.shape, generator=generator).to(latent.device) * config.target_noise
    latent = (latent + noise.clamp(-config.target_noise_clip, config.target_noise_clip)).clamp(-1, 1)
    chosen = torch.randperm(critic.heads, generator=generator)[: config.subset].tolist()
    if config.q_gate is None:
        value = critic(encoded, latent, chosen).min(0).values
    else:
        uncorrected = told(config, actor, batch.next_base_action, batch.next_base_action, batch.next_state[:, 0])
        both = torch.stack([critic(encoded, latent), critic(encoded, uncorrected)])
        with_it, without = both[:, chosen].min(1).values
        value = torch.where(surely_better(config, both[0] - both[1]), with_it, without)
    target = batch.reward + batch.discount * value
    if config.mc_share:
        target = torch.lerp(target, batch.mc_return, config.mc_share)
    limited: Tensor = target.clamp(0, 1) if config.clamp_target else target
    return limited


def surely_better(config: LearnerConfig, gain: Tensor) -> Tensor:
    """Q-gate: of a correction's gain over none by each head (E, ...), whether the lower bound is above 0."""
    return gain.mean(0) > (config.q_gate or 0.0) * gain.std(0)


def critic_loss(
    config: LearnerConfig, batch: Batch, target: Tensor, critic: EnsembleCritic, actor: ResidualActor
) -> tuple[Tensor, Tensor]:
    """Each head's own squared error or cross-entropy, averaged over batch and heads; and Q's mean."""
    latent = told(config, actor, batch.action, batch.base_action, batch.state[:, 0])
    outputs = critic.outputs(actor.encode(batch.state, batch.base_action), latent)
    values = critic.values(outputs)
    if config.critic_loss == 'hl_gauss':
        loss = -(hl_gauss(target, config.bins) * outputs.log_softmax(-1)).sum(-1).mean()
    else:
        loss = (values - target).square().mean()
    return loss, values.detach().mean()


def hl_gauss(target: Tensor, bins: int, spread: float = 0.75) -> Tensor:
    """(B,) targets in [0, 1] -> (B, bins + 2 BEYOND) shares of a Gaussian of ``spread`` bins around each (HL-Gauss).

    The bins reach beyond 0 and 1: cut there, the Gaussian around a target of 0 or 1 would have its mean within.
    """
    edges = torch.arange(-BEYOND, bins + BEYOND + 1, device=target.device) / bins
    cumulative = torch.erf((edges - target.clamp(0, 1)[:, None]) * bins / (spread * math.sqrt(2)))
    share: Tensor = cumulative.diff() / (cumulative[:, -1:] - cumulative[:, :1])
    return share


def actor_loss(config: LearnerConfig, batch: Batch, critic: EnsembleCritic, actor: ResidualActor) -> Tensor:
    """-mean Q(s, b, pi(s, b)) over all heads, plus the trust terms of the recipe.

    With ``caution``, what a correction gains over the lasting one counts, less so many standard deviations of it over
    the heads: where they disagree, nothing more is corrected.
    """
    encoded = actor.encode(batch.state, batch.base_action)
    latent = actor.correct(encoded)
    lasting = actor.lasting(encoded)
    value = critic(encoded, latent)
    loss: Tensor = -value.mean()
    if config.caution:
        with torch.no_grad():
            before = critic(encoded, lasting)
        loss = loss + config.caution * (value - before).std(0).mean()
    if config.l2:
        loss = loss + config.l2 * (latent - lasting).square().mean()
    if config.imitation:
        seen = actor.to_latent(batch.action, batch.base_action, batch.state[:, 0]).clamp(-1, 1)
        loss = loss + config.imitation * (batch.success[:, None] * (latent - seen).square()).mean()
    return loss
