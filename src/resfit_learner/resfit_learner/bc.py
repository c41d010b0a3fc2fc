"""Behaviour cloning of the base policy from demonstrations, and its action on recorded observations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Annotated

import numpy as np
import torch
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from resfit_learner.demonstrations import check_demonstrations
from resfit_policy.base_policy import ChunkConfig, ChunkNet
from resfit_policy.episode_log import Episode
from resfit_policy.observation import NO_IMAGES, BasePolicy, FeatureBase, Observation
from resfit_policy.task import Task


@dataclass(frozen=True, config=ConfigDict(extra='forbid'))
class BcConfig:
    """Training of the base policy."""

    chunk: Annotated[int, Field(ge=1)] = 20  # predicted control steps
    execute: Annotated[int, Field(ge=1)] = 10  # executed before the next prediction
    hidden: tuple[int, ...] = (256, 256)
    steps: Annotated[int, Field(ge=1)] = 2500  # gradient steps
    batch: Annotated[int, Field(ge=1)] = 256
    lr: Annotated[float, Field(gt=0)] = 1e-3
    weight_decay: Annotated[float, Field(ge=0)] = 1e-4
    # std of input noise, in standard deviations: with 0.02 a base learns the demonstrations' places by heart
    state_noise: Annotated[float, Field(ge=0)] = 0.08
    threads: Annotated[int, Field(ge=1)] = 1  # of torch: on small matrices more only get in each other's way
    min_std: Annotated[float, Field(gt=0)] = 0.01  # rad or m; floors the normaliser's standard deviations


def train_base(
    config: BcConfig,
    task: Task,
    demonstrations: Sequence[Episode],
    seed: int,
    progress: Callable[[int, float], None] = lambda step, loss: None,
) -> ChunkNet:
    """Train a chunked policy on the successful demonstrations (L1 loss on normalised chunks).

    ``progress(step, loss)`` is called every 100 steps. Raises ConfigError on unusable demonstrations.
    """
    used = [episode for episode in demonstrations if episode.success]
    check_demonstrations(task, demonstrations)
    torch.set_num_threads(config.threads)
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    states, chunks = [], []
    for episode in used:
        actions = episode.executed_action[: episode.length]
        index = np.minimum(np.arange(len(actions))[:, None] + np.arange(config.chunk), len(actions) - 1)
        states.append(episode.state[: episode.length])
        chunks.append(actions[index])
    state, chunk = torch.from_numpy(np.concatenate(states)), torch.from_numpy(np.concatenate(chunks))

    net = ChunkNet(ChunkConfig(task.state_size, task.action_size, config.chunk, config.execute, config.hidden))
    net.state_mean.copy_(state.mean(0))
    net.state_std.copy_(state.std(0).clamp_min(config.min_std))
    net.action_mean.copy_(chunk.mean(0))
    net.action_std.copy_(chunk.std(0).clamp_min(config.min_std))
    wanted = (chunk - net.action_mean) / net.action_std
    optimiser = torch.optim.AdamW(net.parameters(), config.lr, weight_decay=config.weight_decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, config.steps)
    for step in range(1, config.steps + 1):
        rows = torch.randint(0, len(state), (config.batch,), generator=generator)
        noise = torch.randn((config.batch, task.state_size), generator=generator) * config.state_noise * net.state_std
        loss = (net.normalised(state[rows] + noise) - wanted[rows]).abs().mean()
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
        if step % 100 == 0:
            progress(step, loss.item())
    return net.eval()


def relabel(episode: Episode, base: BasePolicy, pixels: bool = False) -> Episode:
    """What the frozen base would have done along an episode, queue-driven from its start (paper Alg. 1).

    Features of the base take the place of the images, unless the residual learns from ``pixels``.
    """
    base.reset()
    observations = [Observation(*item) for item in zip(episode.state, episode.images, strict=True)]
    if pixels or not isinstance(base, FeatureBase):
        actions = np.stack([base.act(item) for item in observations])
        return replace(episode, base_action=actions.astype(np.float32))
    both = [(base.act(item), base.features(item)) for item in observations]
    actions, features = (np.stack(part).astype(np.float32) for part in zip(*both, strict=True))
    none = np.repeat(NO_IMAGES[None], len(features), 0)
    return replace(episode, base_action=actions, features=features, images=none)
