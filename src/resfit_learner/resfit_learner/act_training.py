"""Behaviour cloning of the vision base (ACT) from images and joint positions.

Most of the next second follows from the joints; where the objects are tells little of it, and a backbone that learns
from that alone may never find them (docs/vision.md). So while it is trained, the keypoints alone, without the joints,
also have to foretell where the joints will be told to go at the quarters of the episode: that differs between
episodes by where the objects are, and by nothing else. An object that looks like what it lies on is missed even so;
where ``picture`` is above 0, the keypoints of a camera also have to tell what its picture looks like, as a blob each
(in the manner of arXiv 1509.06113 and 1806.07823).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Literal

import numpy as np
import torch
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass
from torch import Tensor, nn

from resfit_learner.augmentation import random_shift
from resfit_learner.demonstrations import check_demonstrations
from resfit_policy.act import ActConfig, ActNet
from resfit_policy.episode_log import Episode
from resfit_policy.task import ConfigError, Task

Count = Annotated[int, Field(ge=1)]
Weight = Annotated[float, Field(ge=0)]

FORESEEN = 128  # hidden units of the network that foretells
PAINTED = 28  # pixels, square: what is rebuilt of a picture
BLOB = 0.07  # standard deviation of a keypoint's blob, of half the picture's width
DULL = 0.02  # of 0 to 1: pixels that change less between frames count as if they changed by this


@dataclass(frozen=True, config=ConfigDict(extra='forbid'))
class ActTraining:
    """Training of the vision base."""

    chunk: Count = 20  # predicted control steps
    execute: Count = 10  # executed before the next prediction
    backbone: Literal['conv', 'vit'] = 'conv'
    keypoints: Count = 32  # per camera
    steps: Count = 4800  # gradient steps
    batch: Count = 16
    lr: Annotated[float, Field(gt=0)] = 1e-3  # highest; warmed up over 5 % of the steps, then falling (1e-4)
    weight_decay: Weight = 1e-4
    grad_clip: Annotated[float, Field(gt=0)] = 1.0
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0  # (0.1)
    image_shift: Annotated[int, Field(ge=0)] = 0  # pixels; absolute targets depend on where in the image things are
    joint_noise: Weight = 0.05  # std of noise on the joint positions, in standard deviations
    threads: Count = 1  # of torch
    min_std: Annotated[float, Field(gt=0)] = 0.01  # rad; floors the normaliser's standard deviations
    milestones: Count = 4  # points of its episode that each pair of images has to foretell
    foresight: Weight = 1.0  # weight of the loss of that, beside the loss of the chunk
    picture: Weight = 0.0  # weight of the loss of the pictures rebuilt from the keypoints; 0: none are


def train_act(
    config: ActTraining,
    task: Task,
    demonstrations: Sequence[Episode],
    seed: int,
    progress: Callable[[int, float], None] = lambda step, loss: None,
) -> ActNet:
    """Train ACT on the successful demonstrations (L1 loss on normalised chunks).

    ``progress(step, loss)`` is called every 20 steps. Raises ConfigError on unusable demonstrations.
    """
    check_demonstrations(task, demonstrations)
    used = [episode for episode in demonstrations if episode.success]
    if not task.cameras or any(not episode.images.size for episode in used):
        raise ConfigError('the demonstrations hold no images: record them with "resfit collect --vision"')
    torch.set_num_threads(config.threads)
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    chunks = []
    for episode in used:
        index = np.arange(episode.length)[:, None] + np.arange(config.chunk)
        chunks.append(episode.executed_action[np.minimum(index, episode.length - 1)])
    joints, images, chunk = (
        torch.from_numpy(np.concatenate(parts))
        for parts in (
            [episode.state[: episode.length, : task.action_size] for episode in used],
            [episode.images[: episode.length] for episode in used],
            chunks,
        )
    )
    net = ActNet(
        ActConfig(
            joints=task.action_size,
            cameras=len(task.cameras),
            image_size=task.image_size,
            chunk=config.chunk,
            execute=config.execute,
            backbone=config.backbone,
            keypoints=config.keypoints,
            dropout=config.dropout,
        )
    )
    net.joint_mean.copy_(joints.mean(0))
    net.joint_std.copy_(joints.std(0).clamp_min(config.min_std))
    net.action_mean.copy_(chunk.mean(0))
    net.action_std.copy_(chunk.std(0).clamp_min(config.min_std))
    wanted = (chunk - net.action_mean) / net.action_std
    seer, foretold = _foresight(config, net, used)
    painter = _Painter(images, config.keypoints) if config.picture else None
    net.trunks.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    learned = [*net.parameters(), *seer.parameters(), *(painter.parameters() if painter else [])]
    optimiser = torch.optim.AdamW(learned, config.lr, weight_decay=config.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, config.lr, total_steps=config.steps, pct_start=0.05)
    half = bool(getattr(torch.cpu, '_is_amx_tile_supported', bool)())  # elsewhere half precision takes longer
    for step in range(1, config.steps + 1):
        rows = torch.randint(0, len(joints), (config.batch,), generator=generator)
        seen = images[rows]
        if config.image_shift:
            seen = random_shift(seen, config.image_shift, generator)
        noise = torch.randn((config.batch, task.action_size), generator=generator) * config.joint_noise * net.joint_std
        places = net.look(seen, half)
        loss = (net.normalised(joints[rows] + noise, places) - wanted[rows]).abs().mean()
        loss = loss + config.foresight * (seer(places.flatten(1)) - foretold[rows]).abs().mean()
        if painter:
            loss = loss + config.picture * painter.error(places, seen)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(learned, config.grad_clip)
        optimiser.step()
        schedule.step()
        if step % 20 == 0:
            progress(step, loss.item())
    return net.eval()


class _Painter(nn.Module):
    """Rebuilds pictures from keypoints: a blob at each, and a few convolutions that give it a look."""

    def __init__(self, images: Tensor, keypoints: int, width: int = 32) -> None:
        """``images`` (N, K, H, W, 3) uint8: of them, mean and standard deviation of each pixel."""
        super().__init__()
        frames = torch.cat([self._small(part) for part in torch.split(images[::4], 500)])
        self.mean, self.std = frames.mean(0), frames.std(0, correction=0).clamp_min(DULL)
        line = torch.linspace(-1, 1, PAINTED)
        self.y, self.x = torch.meshgrid(line, line, indexing='ij')
        self.looks = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(keypoints, width, 3, padding=1),
                nn.ReLU(),
                nn.Conv2d(width, width, 3, padding=1),
                nn.ReLU(),
                nn.Conv2d(width, 3, 1),
            )
            for _ in range(images.shape[1])
        )

    @staticmethod
    def _small(images: Tensor) -> Tensor:
        pixels = images.flatten(0, 1).permute(0, 3, 1, 2).float() / 255
        return nn.functional.interpolate(pixels, size=PAINTED, mode='area').view(*images.shape[:2], 3, PAINTED, PAINTED)

    def error(self, places: Tensor, images: Tensor) -> Tensor:
        """Mean squared error of pictures painted from ``places`` (B, K, P, 2), in standard deviations of a pixel."""
        apart = (self.x - places[..., 0, None, None]) ** 2 + (self.y - places[..., 1, None, None]) ** 2
        blobs = torch.exp(-apart / (2 * BLOB**2))  # (B, K, P, h, w)
        painted = torch.stack([look(part) for look, part in zip(self.looks, blobs.unbind(1), strict=True)], 1)
        return (painted - (self._small(images) - self.mean) / self.std).square().mean()


def _foresight(config: ActTraining, net: ActNet, episodes: Sequence[Episode]) -> tuple[nn.Module, Tensor]:
    """A network from keypoints to the action at each milestone, and what it is to say of each step (N, M A).

    In standard deviations between the episodes, so that the place of an object counts as much as a whole motion does.
    """
    points = np.arange(1, config.milestones + 1)
    goals = torch.from_numpy(
        np.stack([item.executed_action[points * item.length // config.milestones - 1].ravel() for item in episodes])
    )
    goals = (goals - goals.mean(0)) / goals.std(0, correction=0).clamp_min(config.min_std)
    places = 2 * net.config.cameras * net.config.keypoints
    seer = nn.Sequential(nn.Linear(places, FORESEEN), nn.ReLU(), nn.Linear(FORESEEN, goals.shape[1]))
    return seer, goals.repeat_interleave(torch.tensor([item.length for item in episodes]), 0)
