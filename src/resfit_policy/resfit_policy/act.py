"""The vision base: ACT (arXiv 2304.13705), a transformer from images and joints to a chunk of joint targets.

Without the variational latent, as in the paper (III-A). Its backbone reads each camera into a few keypoints: their
coordinates are the tokens of the transformer, and what the residual sees in place of pixels.
"""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
import torch
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass
from torch import Tensor, nn

from resfit_policy.chunked import Chunked
from resfit_policy.observation import Float, Observation
from resfit_policy.vision import ConvTrunk, Keypoints, SmallVit, as_pixels

Count = Annotated[int, Field(ge=1)]


@dataclass(frozen=True, config=ConfigDict(extra='forbid'))
class ActConfig:
    """Shape of an ACT base; the paper's value in brackets where ours is smaller, for a CPU."""

    joints: Count  # length of the joint positions it sees, and of an action
    cameras: Count
    image_size: Count = 84  # pixels, square
    chunk: Count = 20  # predicted steps (50 in simulation, 30 on the robot)
    execute: Count = 10  # executed before the next prediction (the whole chunk)
    backbone: Literal['conv', 'vit'] = 'conv'  # (ResNet-18)
    channels: Count = 32  # of the convolutional backbone
    keypoints: Count = 16  # per camera
    width: Count = 128  # of the transformer (512)
    heads: Count = 4  # (8)
    feedforward: Count = 256  # (3200)
    encoder_layers: Count = 2  # (4)
    decoder_layers: Count = 1
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1


class ActNet(nn.Module):
    """(B, A) joint positions and (B, K, H, W, 3) images -> (B, chunk, A) absolute joint positions [rad]."""

    def __init__(self, config: ActConfig) -> None:
        super().__init__()
        self.config = config
        width = config.width
        if config.backbone == 'conv':
            self.trunks = nn.ModuleList(ConvTrunk(config.channels) for _ in range(config.cameras))
            depth = config.channels
        else:
            self.trunks = nn.ModuleList(SmallVit(config.image_size) for _ in range(config.cameras))
            depth = 128
        self.keypoints = nn.ModuleList(Keypoints(depth, config.keypoints) for _ in range(config.cameras))
        self.where = nn.ModuleList(nn.Linear(2 * config.keypoints, width) for _ in range(config.cameras))
        self.from_joints = nn.Linear(config.joints, width)
        self.query = nn.Parameter(0.02 * torch.randn(1, config.chunk, width))
        shape = (width, config.heads, config.feedforward, config.dropout)
        encoder = nn.TransformerEncoderLayer(*shape, batch_first=True, norm_first=True)
        decoder = nn.TransformerDecoderLayer(*shape, batch_first=True, norm_first=True)
        self.encoder = nn.TransformerEncoder(encoder, config.encoder_layers, enable_nested_tensor=False)
        self.decoder = nn.TransformerDecoder(decoder, config.decoder_layers, nn.LayerNorm(width))
        self.head = nn.Linear(width, config.joints)
        self.joint_mean: Tensor
        self.joint_std: Tensor
        self.action_mean: Tensor
        self.action_std: Tensor
        self.register_buffer('joint_mean', torch.zeros(config.joints))
        self.register_buffer('joint_std', torch.ones(config.joints))
        self.register_buffer('action_mean', torch.zeros(config.chunk, config.joints))
        self.register_buffer('action_std', torch.ones(config.chunk, config.joints))

    def look(self, images: Tensor, half: bool = False) -> Tensor:
        """(B, K, H, W, 3) uint8 -> coordinates (B, K, P, 2) of the P keypoints of each camera.

        ``half``: convolutions in half precision, for training; for coordinates it is too coarse.
        """
        places = []
        for index, (trunk, keypoints) in enumerate(zip(self.trunks, self.keypoints, strict=True)):
            with torch.autocast('cpu', torch.bfloat16, enabled=half):
                maps = trunk(as_pixels(images[:, index]))
            maps = maps.float()
            if maps.dim() == 3:  # patches of a ViT, as a map
                side = int(maps.shape[1] ** 0.5)
                maps = maps.transpose(1, 2).unflatten(2, (side, side))
            places.append(keypoints(maps))
        return torch.stack(places, 1)

    def normalised(self, joints: Tensor, places: Tensor) -> Tensor:
        """Chunk in standard deviations of the demonstrations, (B, chunk, A): what the loss is taken on."""
        tokens = [self.from_joints(((joints - self.joint_mean) / self.joint_std).clamp(-5, 5))]
        tokens += [layer(part.flatten(1)) for layer, part in zip(self.where, places.unbind(1), strict=True)]
        memory = self.encoder(torch.stack(tokens, 1))
        out: Tensor = self.head(self.decoder(self.query.expand(len(joints), -1, -1), memory))
        return out

    def chunk(self, joints: Tensor, places: Tensor) -> Tensor:
        """Chunk in rad, (B, chunk, A)."""
        return self.normalised(joints, places) * self.action_std + self.action_mean


class ActPolicy(Chunked):
    """A frozen ``ActNet`` with its queue of actions. Its backbone runs once per observation."""

    def __init__(self, net: ActNet) -> None:
        self.net = net.eval().requires_grad_(False)
        self.feature_size = net.config.cameras * net.config.keypoints * 2
        self._seen: tuple[Observation, Tensor] | None = None
        super().__init__(self._chunk, net.config.execute)

    def features(self, observation: Observation) -> Float:
        """Where the base sees things: coordinates of its keypoints, (F,) float32 in [-1, 1]."""
        return np.asarray(self._look(observation).flatten().numpy(), np.float32)

    def _chunk(self, observation: Observation) -> Float:
        joints = torch.from_numpy(np.asarray(observation.state, np.float32))[None]
        with torch.inference_mode():
            return np.asarray(self.net.chunk(joints, self._look(observation))[0].numpy(), np.float32)

    def _look(self, observation: Observation) -> Tensor:
        if self._seen is None or self._seen[0] is not observation:
            with torch.inference_mode():
                self._seen = (observation, self.net.look(torch.from_numpy(observation.images)[None]))
        return self._seen[1]
