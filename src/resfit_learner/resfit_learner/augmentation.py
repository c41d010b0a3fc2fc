"""Augmentation of images."""

from __future__ import annotations

import torch
from torch import Tensor


def random_shift(images: Tensor, pad: int, generator: torch.Generator) -> Tensor:
    """Shift each sample's (B, K, H, W, 3) images by up to ``pad`` pixels each way; edges are repeated (DrQ)."""
    batch, cameras, height, width, _ = images.shape
    down, right = torch.randint(-pad, pad + 1, (2, batch, 1), generator=generator)
    rows = (torch.arange(height) + down).clamp(0, height - 1)
    columns = (torch.arange(width) + right).clamp(0, width - 1)
    sample, camera = torch.arange(batch)[:, None, None, None], torch.arange(cameras)[None, :, None, None]
    return images[sample, camera, rows[:, None, :, None], columns[:, None, None, :]]
