"""The equations of the method, as functions of a batch (paper III-C, Alg. 1)."""

from __future__ import annotations

import torch
from torch import Tensor

from resfit_learner.buffer import Batch
from resfit_learner.config import LearnerConfig
from resfit_learner.networks import EnsembleCritic
from resfit_policy.actor import ResidualActor


@torch.no_grad()
def td_target(
    config: LearnerConfig, batch: Batch, critic: EnsembleCritic, actor: ResidualActor, generator: torch.Generator
) -> Tensor:
    """y = R_n + gamma^n min_{i in M} Q'_i(s', b', clip(pi'(s', b') + eps)), M a random subset of heads; (B,).

    ``critic`` and ``actor`` are the Polyak averages; eps is clipped Gaussian noise (target smoothing).
    """
    latent = actor(batch.next_state, batch.next_base_action)
    noise = torch.randn(latent.shape, generator=generator) * config.target_noise
    latent = (latent + noise.clamp(-config.target_noise_clip, config.target_noise_clip)).clamp(-1, 1)
    chosen = torch.randperm(critic.heads, generator=generator)[: config.subset].tolist()
    values = critic(actor.encode(batch.next_state, batch.next_base_action), latent, chosen)
    target = batch.reward + batch.discount * values.min(0).values
    if config.mc_share:
        target = torch.lerp(target, batch.mc_return, config.mc_share)
    limited: Tensor = target.clamp(0, 1) if config.clamp_target else target
    return limited


def critic_loss(batch: Batch, target: Tensor, critic: EnsembleCritic, actor: ResidualActor) -> tuple[Tensor, Tensor]:
    """Mean squared error per head, summed over heads (so that each learns as if alone); and Q's mean."""
    latent = actor.to_latent(batch.action - batch.base_action).clamp(-1, 1)
    values = critic(actor.encode(batch.state, batch.base_action), latent)
    return (values - target).square().mean(-1).sum(), values.detach().mean()


def actor_loss(config: LearnerConfig, batch: Batch, critic: EnsembleCritic, actor: ResidualActor) -> Tensor:
    """-mean Q(s, b, pi(s, b)) over all heads, plus the trust terms of the recipe."""
    encoded = actor.encode(batch.state, batch.base_action)
    latent = torch.tanh(actor.net(encoded))
    loss: Tensor = -critic(encoded, latent).mean()
    if config.l2:
        loss = loss + config.l2 * latent.square().mean()
    if config.imitation:
        seen = actor.to_latent(batch.action - batch.base_action).clamp(-1, 1)
        loss = loss + config.imitation * (batch.success[:, None] * (latent - seen).square()).mean()
    return loss
