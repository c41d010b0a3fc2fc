"""The randomised ensemble of critics: E independent heads, their weights stacked (paper III-C)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn


class StackedLinear(nn.Module):
    """E linear layers: weights (E, in, out) and biases (E, out), a row per head."""

    def __init__(self, heads: int, width: int, size: int) -> None:
        super().__init__()
        bound = 1 / math.sqrt(width)
        self.weight = nn.Parameter(torch.empty(heads, width, size).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.zeros(heads, size))

    def forward(self, inputs: Sequence[Tensor], heads: Sequence[int]) -> list[Tensor]:
        weight, bias = self.weight.unbind(), self.bias.unbind()
        return [torch.addmm(bias[head], x, weight[head]) for head, x in zip(heads, inputs, strict=True)]


class StackedLayerNorm(nn.Module):
    """E layer norms: gains and biases (E, size), a row per head."""

    def __init__(self, heads: int, size: int) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(heads, size))
        self.bias = nn.Parameter(torch.zeros(heads, size))

    def forward(self, inputs: Sequence[Tensor], heads: Sequence[int]) -> list[Tensor]:
        gain, bias = self.gain.unbind(), self.bias.unbind()
        norm = nn.functional.layer_norm
        return [norm(x, gain[head].shape, gain[head], bias[head]) for head, x in zip(heads, inputs, strict=True)]


class StackedReLU(nn.Module):
    """ReLU of each head's features, in place."""

    def forward(self, inputs: Sequence[Tensor], heads: Sequence[int]) -> list[Tensor]:
        return [x.relu_() for x in inputs]


class EnsembleCritic(nn.Module):
    """Q of (encoded state and base action, latent correction) for each head.

    Head after head: on a CPU the features of one fit its cache, those of all do not.
    """

    def __init__(
        self, input_size: int, latent_size: int, heads: int, hidden: tuple[int, ...], layer_norm: bool = True
    ) -> None:
        super().__init__()
        self.heads = heads
        width = input_size + latent_size
        self.layers = nn.ModuleList()
        for size in hidden:
            self.layers.append(StackedLinear(heads, width, size))
            if layer_norm:
                self.layers.append(StackedLayerNorm(heads, size))
            self.layers.append(StackedReLU())
            width = size
        self.layers.append(StackedLinear(heads, width, 1))

    def forward(self, encoded: Tensor, latent: Tensor, heads: Sequence[int] | None = None) -> Tensor:
        """(B, input), (B, k) -> (E, B), or a row for each of ``heads`` alone."""
        chosen = range(self.heads) if heads is None else heads
        features = [torch.cat([encoded, latent], -1)] * len(chosen)
        for layer in self.layers:
            features = layer(features, chosen)
        return torch.stack(features)[..., 0]


@torch.no_grad()
def polyak(target: nn.Module, source: nn.Module, tau: float) -> None:
    """target <- (1 - tau) target + tau source."""
    torch._foreach_lerp_(list(target.parameters()), list(source.parameters()), tau)
