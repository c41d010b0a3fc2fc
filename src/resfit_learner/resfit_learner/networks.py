"""The randomised ensemble of critics: E independent heads as one stacked network (paper III-C)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class StackedLinear(nn.Module):
    """E linear layers side by side: (E, B, in) -> (E, B, out)."""

    def __init__(self, heads: int, width: int, size: int) -> None:
        super().__init__()
        bound = 1 / math.sqrt(width)
        self.weight = nn.Parameter(torch.empty(heads, width, size).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.zeros(heads, 1, size))

    def forward(self, x: Tensor) -> Tensor:
        return torch.baddbmm(self.bias, x, self.weight)


class StackedLayerNorm(nn.Module):
    """Layer norm with a gain and bias for each head."""

    def __init__(self, heads: int, size: int) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(heads, 1, size))
        self.bias = nn.Parameter(torch.zeros(heads, 1, size))

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.layer_norm(x, x.shape[-1:]) * self.gain + self.bias


class EnsembleCritic(nn.Module):
    """Q of (encoded state and base action, latent correction) for each head."""

    def __init__(
        self, input_size: int, latent_size: int, heads: int, hidden: tuple[int, ...], layer_norm: bool = True
    ) -> None:
        super().__init__()
        self.heads = heads
        width = input_size + latent_size
        layers: list[nn.Module] = []
        for size in hidden:
            layers.append(StackedLinear(heads, width, size))
            if layer_norm:
                layers.append(StackedLayerNorm(heads, size))
            layers.append(nn.ReLU())
            width = size
        self.net = nn.Sequential(*layers, StackedLinear(heads, width, 1))

    def forward(self, encoded: Tensor, latent: Tensor) -> Tensor:
        """(B, input), (B, k) -> (E, B)."""
        x = torch.cat([encoded, latent], -1).expand(self.heads, -1, -1)
        values: Tensor = self.net(x)
        return values[..., 0]


@torch.no_grad()
def polyak(target: nn.Module, source: nn.Module, tau: float) -> None:
    """target <- (1 - tau) target + tau source."""
    torch._foreach_lerp_(list(target.parameters()), list(source.parameters()), tau)
