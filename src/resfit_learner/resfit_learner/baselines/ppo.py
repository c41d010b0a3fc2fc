"""Residual PPO on the frozen base, in the manner of ResiP (arXiv 2407.16677): on-policy, for millions of steps.

The actor is ours: zero at the start, bounded, in the same directions. It acts through the same runtime, whose
Gaussian noise is PPO's policy distribution. That runtime cuts corrections at their bound, so what is drawn beyond
it is counted as drawn at the bound (a censored Gaussian).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from resfit_learner.checkpoint import load_optimiser, optimiser_tensors
from resfit_learner.curve import Curve
from resfit_learner.method import Setup
from resfit_learner.networks import EnsembleCritic
from resfit_learner.rollout import run_episode
from resfit_learner.synergies import make_actor
from resfit_policy.actor import Exploration
from resfit_policy.episode_log import Arm, Episode, Phase
from resfit_policy.runtime import PolicyRuntime


@dataclass(frozen=True)
class PpoConfig:
    """Hyper-parameters."""

    batch_steps: int = 2048  # online steps per iteration, in whole episodes
    gamma: float = 0.999
    gae_lambda: float = 0.95
    epochs: int = 10
    minibatch: int = 512
    clip: float = 0.2  # of the probability ratio
    target_kl: float = 0.03  # an iteration ends early where the policy has moved further than this
    actor_lr: float = 3e-4
    value_lr: float = 1e-3
    grad_clip: float = 1.0
    std: float = 0.2  # of the correction at the start, in bounds; learned within std_range
    std_range: tuple[float, float] = (0.02, 0.6)
    value_only: int = 5  # first iterations, in which the actor waits for the value function
    hidden: tuple[int, ...] = (256, 256)


class PPO:
    """Clipped PPO with GAE; a time-out bootstraps."""

    def __init__(self, setup: Setup, config: PpoConfig | None = None) -> None:
        self.config = config or PpoConfig()
        torch.manual_seed(setup.seed)
        torch.set_num_threads(setup.config.threads)
        shape = replace(setup.config, actor_hidden=self.config.hidden, warm_start=0)
        self.actor = make_actor(shape, setup.task, setup.demonstrations)
        self.value = EnsembleCritic(self.actor.config.input_size, 0, 1, self.config.hidden)
        self.log_std = nn.Parameter(torch.tensor(math.log(self.config.std)))
        self.optimiser = torch.optim.Adam(
            [
                {'params': [*self.actor.parameters(), self.log_std], 'lr': self.config.actor_lr},
                {'params': [*self.value.parameters()], 'lr': self.config.value_lr},
            ]
        )
        self.generator = torch.Generator().manual_seed(setup.seed)
        self.runtime = PolicyRuntime(setup.task, setup.make_base(), seed=setup.seed)
        self.curve = Curve()
        self.settings = asdict(self.config) | {'residual': asdict(shape)}
        self.iterations = 0
        self._env, self._first_start = setup.make_env(), setup.first_start
        self._swap()

    @property
    def env_steps(self) -> int:
        return self.curve.steps[-1] if self.curve.steps else 0

    def advance(self) -> None:
        """One iteration: whole episodes of at least ``batch_steps`` in all, then the epochs over them."""
        episodes: list[Episode] = []
        while sum(episode.length for episode in episodes) < self.config.batch_steps:
            index = len(self.curve.steps) + 1
            episode = run_episode(
                self._env, self.runtime, seed=self._first_start + index, arm=Arm.RESIDUAL, explore=True,
                episode_id=index,
            )  # fmt: skip
            self.curve.add(episode)
            episodes.append(episode)
        self.learn(episodes)
        self._swap()

    def learn(self, episodes: Sequence[Episode]) -> None:
        """The epochs of one iteration over its episodes."""
        config = self.config
        state, base, residual = (
            torch.from_numpy(np.concatenate([getattr(episode, name)[: episode.length] for episode in episodes]))
            for name in ('seen', 'base_action', 'residual')
        )
        taken = self.actor.to_latent(base + residual, base, state[:, 0])
        encoded = self.actor.encode(state, base)
        with torch.no_grad():
            before = self._log_prob(encoded, taken)
            pairs = [self._advantage(episode) for episode in episodes]
        advantage, returns = (torch.from_numpy(np.concatenate(part)) for part in zip(*pairs, strict=True))
        advantage = (advantage - advantage.mean()) / (advantage.std() + 1e-8)
        self.iterations += 1
        for _ in range(config.epochs):
            for row in torch.split(torch.randperm(len(state), generator=self.generator), config.minibatch):
                loss = (self._value(encoded[row]) - returns[row]).square().mean()
                if self.iterations > config.value_only:
                    ratio = (self._log_prob(encoded[row], taken[row]) - before[row]).exp()
                    limited = ratio.clamp(1 - config.clip, 1 + config.clip)
                    loss = loss - torch.minimum(ratio * advantage[row], limited * advantage[row]).mean()
                self.optimiser.zero_grad(set_to_none=True)
                loss.backward()  # type: ignore[no-untyped-call]
                for group in self.optimiser.param_groups:
                    nn.utils.clip_grad_norm_(group['params'], config.grad_clip)
                self.optimiser.step()
                with torch.no_grad():
                    self.log_std.clamp_(*(math.log(std) for std in config.std_range))
            with torch.no_grad():
                moved = self._log_prob(encoded, taken) - before
                if (moved.exp() - 1 - moved).mean() > config.target_kl:  # Schulman's estimate of the KL divergence
                    break

    def _advantage(self, episode: Episode) -> tuple[np.ndarray, np.ndarray]:
        """GAE (T,) and returns (T,) of one episode: 1 at a success; a time-out bootstraps from its last row."""
        config, length = self.config, episode.length
        inputs = self.actor.encode(torch.from_numpy(episode.seen), torch.from_numpy(episode.base_action))
        values = np.append(self._value(inputs).numpy(), np.float32(0))[: length + 1]
        if episode.outcome != Phase.TIMEOUT:
            values[length] = 0
        rewards = np.zeros(length, np.float32)
        rewards[-1] = float(episode.success)
        errors = rewards + config.gamma * values[1:] - values[:-1]
        advantage, running = np.zeros(length, np.float32), 0.0
        for step in reversed(range(length)):
            running = errors[step] + config.gamma * config.gae_lambda * running
            advantage[step] = running
        return advantage, advantage + values[:-1]

    def _value(self, encoded: Tensor) -> Tensor:
        return self.value(encoded, encoded[:, :0])[0]  # type: ignore[no-any-return]

    def _log_prob(self, encoded: Tensor, taken: Tensor) -> Tensor:
        """Log-probability (B,) of the corrections (B, k) taken."""
        mean, std = self.actor.correct(encoded), self.log_std.exp()
        inside = -((taken - mean) / std).square() / 2 - self.log_std - math.log(2 * math.pi) / 2
        above, below = torch.special.log_ndtr((mean - 1) / std), torch.special.log_ndtr((-1 - mean) / std)
        edge = 1 - 1e-4
        return torch.where(taken > edge, above, torch.where(taken < -edge, below, inside)).sum(-1)

    def _swap(self) -> None:
        self.runtime.set_weights(self.actor, Exploration(std=self.log_std.exp().item(), hold=1), self.iterations)

    def tensors(self) -> dict[str, Tensor]:
        networks = {f'actor.{name}': value for name, value in self.actor.state_dict().items()}
        networks |= {f'value.{name}': value for name, value in self.value.state_dict().items()}
        networks |= {'log_std': self.log_std, 'torch_rng': self.generator.get_state()}
        networks |= optimiser_tensors(self.optimiser, 'optimiser')
        return {name: value.detach().clone() for name, value in networks.items()}

    def about(self) -> dict[str, Any]:
        return {'iterations': self.iterations}

    def restore(self, tensors: dict[str, Tensor], about: dict[str, Any]) -> None:
        for name in ('actor', 'value'):
            own = {key.removeprefix(f'{name}.'): item for key, item in tensors.items() if key.startswith(f'{name}.')}
            getattr(self, name).load_state_dict(own)
        self.log_std.data.copy_(tensors['log_std'])
        load_optimiser(self.optimiser, 'optimiser', tensors)
        self.generator.set_state(tensors['torch_rng'])
        self.iterations = about['iterations']
        self._swap()
