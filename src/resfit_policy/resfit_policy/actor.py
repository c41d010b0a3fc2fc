"""The residual actor: a small bounded network whose output starts at exactly zero (paper III-B).

It corrects in k latent directions ("synergies"), in each phase of an episode its own:
residual = (scale * tanh(u)) @ basis. With the identity as basis these are the joints, as published. Directions and
bounds come from data, see ``resfit_learner.synergies``.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import ConfigDict, model_validator
from pydantic.dataclasses import dataclass
from safetensors.torch import save
from torch import Tensor, nn

from resfit_policy.demonstrated import DemonstratedCorrection
from resfit_policy.hand_view import ViewConfig
from resfit_policy.observation import Float
from resfit_policy.task import ConfigError, parse_config
from resfit_policy.tensors import fill, read_tensors
from resfit_policy.vision import ImageEncoder

FORMAT = 'resfit-actor-8'
IMAGE_FEATURES = 128  # of an encoder trained with the residual (paper: the same)


@dataclass(frozen=True, config=ConfigDict(extra='forbid'))
class ActorConfig:
    """Shape of a residual actor."""

    state_size: int  # S, state and features
    action_size: int  # A
    latent_size: int  # k directions in which it corrects
    hidden: tuple[int, ...] = (256, 256)  # paper: (1024, 1024) on image features
    state_clip: float = 5.0  # standard deviations
    absolute: bool = False  # the latent says where to go, not how to correct the base, and the base is not seen
    encoder: Literal['none', 'vit', 'cnn'] = 'none'  # of images, trained with the residual
    cameras: int = 0  # that an encoder sees
    image_size: int = 84  # pixels
    phases: int = 1  # of an episode, each with directions and an offset of its own; the last one never ends
    phase_steps: int = 1  # control steps
    demonstrated: bool = False  # corrects what the demonstrations correct before anything else
    view: ViewConfig = ViewConfig()  # that this is done with

    @model_validator(mode='after')
    def _check(self) -> ActorConfig:
        if not self.view.fits(self.state_size, self.action_size):
            raise ValueError(f'the view is of another state than one of {self.state_size}, or of other joints')
        return self

    @property
    def seen_size(self) -> int:
        """State, and what an encoder makes of the images."""
        return self.state_size + (0 if self.encoder == 'none' else IMAGE_FEATURES)

    @property
    def input_size(self) -> int:
        """Width of what ``encode`` gives."""
        return self.seen_size + (0 if self.absolute else self.action_size) + self.phases


class ResidualActor(nn.Module):
    """Maps (state, base action) to a latent correction in [-1, 1]^k, and that to joints."""

    def __init__(self, config: ActorConfig) -> None:
        super().__init__()
        self.config = config
        layers: list[nn.Module] = []
        width = config.input_size
        for size in config.hidden:
            linear = nn.Linear(width, size)
            nn.init.orthogonal_(linear.weight)
            nn.init.zeros_(linear.bias)
            layers += [linear, nn.LayerNorm(size), nn.ReLU()]
            width = size
        head = nn.Linear(width, config.latent_size)
        nn.init.zeros_(head.weight)  # the residual starts at exactly zero
        nn.init.zeros_(head.bias)
        self.net = nn.Sequential(*layers, head)
        self.encoder: ImageEncoder | None = None
        if config.encoder != 'none':
            self.encoder = ImageEncoder(config.encoder, config.cameras, config.image_size, IMAGE_FEATURES)
        self.demonstrated: DemonstratedCorrection | None = None
        if config.demonstrated:
            self.demonstrated = DemonstratedCorrection(config.state_size, config.action_size, config.view)
        self.state_mean: Tensor
        self.state_std: Tensor
        self.action_mean: Tensor
        self.action_std: Tensor
        self.basis: Tensor
        self.scale: Tensor
        self.offset: Tensor
        phases, k, size = config.phases, config.latent_size, config.action_size
        self.register_buffer('state_mean', torch.zeros(config.seen_size))
        self.register_buffer('state_std', torch.ones(config.seen_size))
        self.register_buffer('action_mean', torch.zeros(size))
        self.register_buffer('action_std', torch.ones(size))
        self.register_buffer('basis', torch.eye(k, size).repeat(phases, 1, 1))
        self.register_buffer('scale', torch.full((phases, k), 0.05))
        self.register_buffer('offset', torch.zeros(phases, k))  # before tanh, the same in a whole phase

    def phase(self, step: Tensor) -> Tensor:
        """Which phase (B,) each control step (B,) is in."""
        return (step // self.config.phase_steps).long().clamp(max=self.config.phases - 1)

    def encode(self, state: Tensor, base_action: Tensor) -> Tensor:
        """Normalised network input: (B, 1 + S) as ``see`` gives it and (B, A) rad -> (B, S + A + P).

        The last P numbers say which phase it is. Without A where the actor is ``absolute``.
        """
        config, clip = self.config, self.config.state_clip
        parts = [((state[:, 1:] - self.state_mean) / self.state_std).clamp(-clip, clip)]
        if not config.absolute:
            parts.append(((base_action - self.action_mean) / self.action_std).clamp(-clip, clip))
        parts.append(nn.functional.one_hot(self.phase(state[:, 0]), config.phases).to(state.dtype))
        return torch.cat(parts, -1)

    def forward(self, state: Tensor, base_action: Tensor) -> Tensor:
        """Latent correction (B, k) in [-1, 1]."""
        return self.correct(self.encode(state, base_action))

    def correct(self, encoded: Tensor) -> Tensor:
        """Latent correction (B, k) in [-1, 1] of what ``encode`` gave."""
        latent: Tensor = torch.tanh(self.net(encoded) + encoded[:, -self.config.phases :] @ self.offset)
        return latent

    def lasting(self, encoded: Tensor) -> Tensor:
        """The part (B, k) of ``correct`` that is the same in a whole phase."""
        return torch.tanh(encoded[:, -self.config.phases :] @ self.offset)

    def to_residual(self, latent: Tensor, base_action: Tensor, step: Tensor) -> Tensor:
        """Latent correction (B, k) in control steps (B,) -> residual (B, A) rad on the base action (B, A) rad."""
        phase = self.phase(step)
        residual = torch.einsum('bk,bka->ba', latent * self.scale[phase], self.basis[phase])
        return residual + self.action_mean - base_action if self.config.absolute else residual

    def to_latent(self, action: Tensor, base_action: Tensor, step: Tensor) -> Tensor:
        """Nearest latent correction (B, k) by which ``base_action`` became ``action``; may lie outside [-1, 1].

        The rows of a basis are orthonormal, so its transpose is its inverse.
        """
        origin, phase = self.action_mean if self.config.absolute else base_action, self.phase(step)
        return torch.einsum('ba,bka->bk', action - origin, self.basis[phase]) / self.scale[phase]

    def see(self, state: Float, images: NDArray[np.uint8]) -> Float:
        """Step and state (1 + S,), and behind it what the encoder, if there is one, makes of (K, H, W, 3) images."""
        if self.encoder is None:
            return state
        with torch.inference_mode():
            return np.concatenate([state, self.encoder(torch.from_numpy(images)[None])[0].numpy()])

    def start(self, state: Float, base_action: Float) -> Float:
        """What the learned correction comes on top of: one base action (A,) rad, corrected as demonstrated.

        It is the ``base_action`` of all other methods.
        """
        return base_action if self.demonstrated is None else base_action + self.demonstrated.act(state, base_action)

    def act(self, state: Float, base_action: Float) -> Float:
        """One latent correction (k,) float32, without gradients."""
        with torch.inference_mode():
            latent = self(torch.from_numpy(state)[None], torch.from_numpy(base_action)[None])
        return np.asarray(latent[0].numpy(), np.float32)

    def residual(self, latent: Float, base_action: Float, step: int) -> Float:
        """One residual (A,) float32 rad of a latent correction (k,) in a control step."""
        with torch.inference_mode():
            one = torch.from_numpy(latent)[None], torch.from_numpy(base_action)[None], torch.tensor([step])
            return np.asarray(self.to_residual(*one)[0].numpy(), np.float32)


@dataclass(frozen=True, config=ConfigDict(extra='forbid'))
class Exploration:
    """Noise on the latent correction: held for a while, so that it lasts long enough to change an outcome."""

    std: float = 0.0  # of the range [-1, 1]; the learner lowers it as training goes on
    hold: int = 10  # control steps per draw (paper: 1)
    uniform: bool = False  # even between -std and std in place of normal (paper: while the buffer is filled)
    limit: float = 1.0  # corrections stay within this share of their bound (paper: progressive clipping)
    base_share: float = 0.0  # of the episodes are the base's alone; above a half, without exploration, all


def config_hash(config: ActorConfig) -> str:
    """Hex digest by which learner and policy make sure that they mean the same network."""
    return hashlib.sha256(json.dumps(asdict(config), sort_keys=True).encode()).hexdigest()[:16]


def pack_actor(actor: ResidualActor, exploration: Exploration, version: int, update: int = 0) -> bytes:
    """Serialise to safetensors with the configuration in its metadata."""
    metadata = {
        'format': FORMAT,
        'config': json.dumps(asdict(actor.config)),
        'exploration': json.dumps(asdict(exploration)),
        'version': str(version),
        'update': str(update),
    }
    return save({name: value.detach().contiguous() for name, value in actor.state_dict().items()}, metadata)


def unpack_actor(data: bytes) -> tuple[ResidualActor, Exploration, int]:
    """Read what ``pack_actor`` wrote: actor, exploration, version.

    Raises ConfigError for anything else: too large, truncated, another format, shape or dtype, not finite.
    """
    tensors, metadata = read_tensors(data, FORMAT, 'weights')
    try:
        config = parse_config(ActorConfig, json.loads(metadata['config']), 'weights metadata')
        exploration = parse_config(Exploration, json.loads(metadata['exploration']), 'weights metadata')
        version = int(metadata['version'])
    except (KeyError, ValueError) as error:
        raise ConfigError(f'weights metadata is incomplete: {error}') from None
    actor = ResidualActor(config)
    fill(actor, tensors, 'weights')
    return actor.eval(), exploration, version


def unpack_published(message: Any) -> tuple[ResidualActor, Exploration, int]:
    """``unpack_actor`` of a PolicyWeights message. Raises ConfigError also where the file is not the one announced."""
    data = bytes(message.data)
    if hashlib.sha256(data).hexdigest() != message.sha256:
        raise ConfigError('the sha256 does not match')
    actor, exploration, version = unpack_actor(data)
    if config_hash(actor.config) != message.config_hash or version != message.version:
        raise ConfigError('the message and the file in it disagree')
    return actor, exploration, version
