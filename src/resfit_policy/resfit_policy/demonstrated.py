"""What the demonstrations do and the base does not, as a frozen network between base and residual.

A base that plays chunks acts on what it saw up to a second ago. Most of what it lacks can be learned from the
demonstrations alone, before the first online step: their action less the base's, given the time, the objects (or the
base's features), the base's action, and the objects as seen from the hands where that action leads them. The joints,
and in other environments the last action, are left out: whoever sees them learns to carry on from wherever it was
pushed, and every disturbance adds up (docs/learning.md).
"""

from __future__ import annotations

import itertools
import math

import numpy as np
import torch
from torch import Tensor, nn

from resfit_policy.hand_view import HandView, ViewConfig
from resfit_policy.observation import Float

MEMBERS = 4  # networks, whose mean it is: what each makes up where demonstrations are few averages out
HIDDEN = 256
OCTAVES = 4  # of the time, the slowest with a period of twice the longest demonstration
CLIP = 5.0  # standard deviations
NEAR = 0.005  # m: nearer than this distances from a hand are told apart evenly, further away by their ratio


class DemonstratedCorrection(nn.Module):
    """(B, 1 + S) step, state and features, (B, A) rad base action -> (B, A) rad to add to it."""

    def __init__(self, state_size: int, action_size: int, view: ViewConfig) -> None:
        """``state_size``: S, of which the first A are not looked at."""
        super().__init__()
        self.view = HandView(view)
        seen = state_size - action_size
        self.mean: Tensor
        self.std: Tensor
        self.action_mean: Tensor
        self.action_std: Tensor
        self.view_mean: Tensor
        self.view_std: Tensor
        self.spread: Tensor
        self.longest: Tensor
        for name, size in (('mean', seen), ('action_mean', action_size), ('view_mean', view.size)):
            self.register_buffer(name, torch.zeros(size))
        for name, size in (
            ('std', seen), ('action_std', action_size), ('view_std', view.size), ('spread', action_size),
        ):  # fmt: skip
            self.register_buffer(name, torch.ones(size))
        self.register_buffer('longest', torch.ones(1))  # demonstration, control steps
        width = 1 + 2 * OCTAVES + seen + action_size + view.size + view.places
        sizes = (width, HIDDEN, HIDDEN, action_size)
        self.weights = nn.ParameterList(_uniform(MEMBERS, *shape) for shape in itertools.pairwise(sizes))
        self.biases = nn.ParameterList(torch.zeros(MEMBERS, 1, size) for size in sizes[1:])

    def forward(self, state: Tensor, base_action: Tensor) -> Tensor:
        return self.members(state, base_action, self.view(state[:, 1:], base_action)).mean(0)

    def members(self, state: Tensor, base_action: Tensor, view: Tensor) -> Tensor:
        """What each network would add, (M, B, A) rad, to one whose hands see ``view`` (B, V)."""
        time = (state[:, :1] / self.longest).clamp(max=1)
        turns = math.pi * time * 2.0 ** torch.arange(OCTAVES)
        seen = state[:, 1 + base_action.shape[1] : 1 + base_action.shape[1] + len(self.mean)]
        places = view[:, : self.view.config.places]
        inputs = [
            time,
            turns.sin(),
            turns.cos(),
            ((seen - self.mean) / self.std).clamp(-CLIP, CLIP),
            ((base_action - self.action_mean) / self.action_std).clamp(-CLIP, CLIP),
            ((view - self.view_mean) / self.view_std).clamp(-CLIP, CLIP),
            places.sign() * (places.abs() / NEAR).log1p() / 3,
        ]
        features = torch.cat(inputs, 1).expand(MEMBERS, -1, -1)
        for weight, bias in zip(self.weights[:-1], self.biases[:-1], strict=True):
            features = nn.functional.layer_norm(torch.baddbmm(bias, features, weight), (HIDDEN,)).relu()
        return torch.baddbmm(self.biases[-1], features, self.weights[-1]) * self.spread

    def act(self, state: Float, base_action: Float) -> Float:
        """Of one step (1 + S,), (A,) -> (A,), or of many (T, 1 + S), (T, A) -> (T, A), without gradients."""
        with torch.inference_mode():
            correction = self(*(torch.from_numpy(np.atleast_2d(part)) for part in (state, base_action)))
        return np.asarray(correction.numpy().reshape(base_action.shape), np.float32)


def _uniform(members: int, width: int, size: int) -> Tensor:
    bound = 1 / math.sqrt(width)
    return torch.empty(members, width, size).uniform_(-bound, bound)
