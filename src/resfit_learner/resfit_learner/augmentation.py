"""Augmentation of images."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor


def random_shift(images: Tensor, pad: int, generator: torch.Generator) -> Tensor:
    """Shift each sample's (B, K, H, W, 3) images by up to ``pad`` pixels each way; edges are repeated (DrQ)."""
    batch, cameras, height, width, _ = images.shape
    count = partial(torch.arange, device=images.device)
    down, right = torch.randint(-pad, pad + 1, (2, batch, 1), generator=generator).to(images.device)
    rows = (count(height) + down).clamp(0, height - 1)
    columns = (count(width) + right).clamp(0, width - 1)
    sample, camera = count(batch)[:, None, None, None], count(cameras)[None, :, None, None]
    return images[sample, camera, rows[:, None, :, None], columns[:, None, None, :]]
