"""Filtered behaviour cloning: keep the successes, and every now and then train the base anew with them."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from resfit_learner.bc import train_base
from resfit_learner.curve import Curve
from resfit_learner.method import Setup
from resfit_learner.rollout import run_episode
from resfit_policy.base_policy import ChunkConfig, ChunkNet, ChunkPolicy
from resfit_policy.episode_log import Arm, Episode, Phase
from resfit_policy.observation import NO_IMAGES, BasePolicy
from resfit_policy.runtime import PolicyRuntime
from resfit_policy.task import ConfigError


@dataclass(frozen=True)
class FilteredBcConfig:
    """Hyper-parameters."""

    retrain_every: int = 2500  # online steps between two trainings from scratch


class TwoBases(PolicyRuntime):
    """Acts by the frozen base in Arm.BASE, and by its successor in Arm.RESIDUAL."""

    frozen: BasePolicy
    newest: BasePolicy

    def begin(self, arm: Arm, explore: bool, episode_id: int = 0) -> None:
        self.base = self.frozen if arm == Arm.BASE else self.newest
        super().begin(arm, explore, episode_id)


class FilteredBC:
    """Trains on demonstrations and on what succeeded online."""

    def __init__(self, setup: Setup, config: FilteredBcConfig | None = None) -> None:
        self.config = config or FilteredBcConfig()
        base = setup.make_base()
        if setup.task.from_pixels:
            raise ConfigError('filtered_bc trains no base from pixels: leave out --observation, or take another method')
        self.runtime = TwoBases(setup.task, base, seed=setup.seed)
        self.runtime.frozen = self.runtime.newest = base
        self.curve = Curve()
        self.settings = asdict(self.config) | {'bc': asdict(setup.bc)}
        self._setup, self._env = setup, setup.make_env()
        self._kept: list[Episode] = []
        self._net: ChunkNet | None = None

    @property
    def env_steps(self) -> int:
        return self.curve.steps[-1] if self.curve.steps else 0

    def advance(self) -> None:
        index, before, every = len(self.curve.steps) + 1, self.env_steps, self.config.retrain_every
        episode = run_episode(
            self._env, self.runtime, seed=self._setup.first_start + index, arm=Arm.RESIDUAL, episode_id=index
        )
        self.curve.add(episode)
        if episode.success:
            self._kept.append(episode)
        if self.env_steps // every > before // every:
            setup = self._setup
            net = train_base(setup.bc, setup.task, [*setup.demonstrations, *self._kept], setup.seed)
            self._adopt(net)

    def _adopt(self, net: ChunkNet) -> None:
        self._net, self.runtime.newest = net, ChunkPolicy(net)

    def tensors(self) -> dict[str, Tensor]:
        kept = {
            f'kept.{episode.episode_id}.{name}': torch.from_numpy(getattr(episode, name))
            for episode in self._kept
            for name in ('state', 'executed_action')
        }
        return kept | {f'net.{name}': value for name, value in (self._net.state_dict() if self._net else {}).items()}

    def about(self) -> dict[str, Any]:
        return {'net': asdict(self._net.config) if self._net else None}

    def restore(self, tensors: dict[str, Tensor], about: dict[str, Any]) -> None:
        numbers = sorted(int(name.split('.')[1]) for name in tensors if name.endswith('.state') and name[0] == 'k')
        self._kept = [self._success(number, tensors) for number in numbers]
        if about['net']:
            net = ChunkNet(ChunkConfig(**about['net'] | {'hidden': tuple(about['net']['hidden'])}))
            net.load_state_dict({name[4:]: value for name, value in tensors.items() if name.startswith('net.')})
            self._adopt(net)

    def _success(self, number: int, tensors: dict[str, Tensor]) -> Episode:
        """A kept episode as far as cloning looks at it."""
        state, action = (tensors[f'kept.{number}.{name}'].numpy() for name in ('state', 'executed_action'))
        rows = np.zeros(len(state))
        return Episode(
            episode_id=number, task=self._setup.task.name, seed=self._setup.first_start + number, arm=Arm.RESIDUAL,
            outcome=Phase.SUCCESS, success=True, final=False, state=state,
            images=np.stack([NO_IMAGES] * len(state)), base_action=action, residual=np.zeros_like(action),
            executed_action=action, authority=rows.astype(np.float32), weights_version=rows.astype(np.int64),
            flags=rows.astype(np.uint8), stamp=rows.astype(np.int64),
        )  # fmt: skip
