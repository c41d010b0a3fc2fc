"""The randomised ensemble of critics: E independent heads, their weights stacked (paper III-C)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

BEYOND = 3  # bins of a distribution below 0, and above 1: with less, the value of a sure failure or success is cut


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
        self,
        input_size: int,
        latent_size: int,
        heads: int,
        hidden: tuple[int, ...],
        layer_norm: bool = True,
        bins: int = 1,
    ) -> None:
        """With ``bins`` above 1 a head gives a distribution over as many values, evenly spread within [0, 1], and over
        ``BEYOND`` more on either side.
        """
        super().__init__()
        self.heads, self.bins = heads, bins
        width = input_size + latent_size
        self.layers = nn.ModuleList()
        for size in hidden:
            self.layers.append(StackedLinear(heads, width, size))
            if layer_norm:
                self.layers.append(StackedLayerNorm(heads, size))
            self.layers.append(StackedReLU())
            width = size
        self.layers.append(StackedLinear(heads, width, bins + 2 * BEYOND if bins > 1 else 1))

    def forward(self, encoded: Tensor, latent: Tensor, heads: Sequence[int] | None = None) -> Tensor:
        """(B, input), (B, k) -> (E, B), or a row for each of ``heads`` alone."""
        return self.values(self.outputs(encoded, latent, heads))

    def outputs(self, encoded: Tensor, latent: Tensor, heads: Sequence[int] | None = None) -> Tensor:
        """The same before it becomes a value: (E, B, outputs of a head)."""
        chosen = range(self.heads) if heads is None else heads
        features = [torch.cat([encoded, latent], -1)] * len(chosen)
        for layer in self.layers:
            features = layer(features, chosen)
        return torch.stack(features)

    def values(self, outputs: Tensor) -> Tensor:
        """(E, B, outputs of a head) -> (E, B)."""
        if self.bins == 1:
            return outputs[..., 0]
        centres = (torch.arange(-BEYOND, self.bins + BEYOND, device=outputs.device) + 0.5) / self.bins
        return outputs.softmax(-1) @ centres


@torch.no_grad()
def polyak(target: nn.Module, source: nn.Module, tau: float) -> None:
    """target <- (1 - tau) target + tau source, which may be on another device."""
    averaged: list[Tensor] = list(target.parameters())
    new: list[Tensor] = [value.to(old.device) for old, value in zip(averaged, source.parameters(), strict=True)]
    torch._foreach_lerp_(averaged, new, tau)
