"""Image encoders in plain torch: what the vision base and the residual's trained encoder are built from."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn


def as_pixels(images: Tensor) -> Tensor:
    """(B, H, W, 3) uint8 RGB -> (B, 3, H, W) float32 in [-0.5, 0.5]; its memory stays channels-last."""
    return images.permute(0, 3, 1, 2).float() / 255 - 0.5


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut. It starts as the identity and needs no normalisation (arXiv 1901.09321),
    which on a CPU costs as much as the convolutions."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        nn.init.zeros_(self.second.weight)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x + self.second(torch.relu(self.first(x))))


class ConvTrunk(nn.Module):
    """A small ResNet: (B, 3, H, W) -> (B, C, H / 4, W / 4)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(3, channels // 2, 5, stride=2, padding=2),
            nn.ReLU(),
            nn.Conv2d(channels // 2, channels, 3, stride=2, padding=1),
            nn.ReLU(),
            ResidualBlock(channels),
            ResidualBlock(channels),
        )
        for layer in self.net:
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, nonlinearity='relu')

    def forward(self, pixels: Tensor) -> Tensor:
        out: Tensor = self.net(pixels)
        return out


class Keypoints(nn.Module):
    """Where things are: K learned points of a feature map by spatial softmax (arXiv 1504.00702)."""

    def __init__(self, channels: int, points: int, sharpness: float = 10.0) -> None:
        """``sharpness`` multiplies the logits: from the start a point follows something, not the image's centre."""
        super().__init__()
        self.heat = nn.Conv2d(channels, points, 1)
        self.sharpness = sharpness

    def forward(self, maps: Tensor) -> Tensor:
        """(B, C, h, w) -> coordinates (B, K, 2) in [-1, 1], x to the right, y down."""
        height, width = maps.shape[-2:]
        weight = (self.sharpness * self.heat(maps)).flatten(2).softmax(-1)  # (B, K, h w)
        y, x = torch.meshgrid(
            torch.linspace(-1, 1, height, device=maps.device),
            torch.linspace(-1, 1, width, device=maps.device),
            indexing='ij',
        )
        places: Tensor = weight @ torch.stack([x.flatten(), y.flatten()], -1)
        return places


class SmallVit(nn.Module):
    """The paper's image encoder (section 1.3 of its code's defaults): 84 x 84 -> 81 patches of ``width``.

    Convolutions 8x8 stride 4 and 3x3 stride 2, learned positions, one transformer layer of four heads.
    """

    def __init__(self, image_size: int, width: int = 128, layers: int = 1, heads: int = 4) -> None:
        super().__init__()
        self.patch = nn.Sequential(nn.Conv2d(3, width, 8, stride=4), nn.ReLU(), nn.Conv2d(width, width, 3, stride=2))
        side = ((image_size - 8) // 4 + 1 - 3) // 2 + 1
        self.patches, self.width = side * side, width
        self.position = nn.Parameter(0.02 * torch.randn(1, self.patches, width))
        layer = nn.TransformerEncoderLayer(width, heads, 4 * width, 0.0, 'gelu', batch_first=True, norm_first=True)
        self.layers = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.norm = nn.LayerNorm(width)

    def forward(self, pixels: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, patches, width)."""
        patches = self.patch(pixels).flatten(2).transpose(1, 2) + self.position
        out: Tensor = self.norm(self.layers(patches))
        return out


class ImageEncoder(nn.Module):
    """What a residual that learns from pixels sees: one backbone per camera, not shared, and a projection of all."""

    def __init__(self, kind: Literal['vit', 'cnn'], cameras: int, image_size: int, features: int) -> None:
        super().__init__()
        if kind == 'vit':
            vits = [SmallVit(image_size) for _ in range(cameras)]
            self.eyes = nn.ModuleList(nn.Sequential(vit, nn.Flatten()) for vit in vits)
            width = cameras * vits[0].patches * vits[0].width
        else:
            channels, points = 32, 32
            self.eyes = nn.ModuleList(
                nn.Sequential(ConvTrunk(channels), Keypoints(channels, points), nn.Flatten()) for _ in range(cameras)
            )
            width = cameras * points * 2
        self.project = nn.Sequential(nn.Linear(width, features), nn.LayerNorm(features), nn.ReLU())

    def forward(self, images: Tensor) -> Tensor:
        """(B, K, H, W, 3) uint8 -> (B, features)."""
        seen = [eye(as_pixels(images[:, index])) for index, eye in enumerate(self.eyes)]
        out: Tensor = self.project(torch.cat(seen, 1))
        return out
