"""Does an image show success? A small network, and the file that it comes in with all that is known of it.

Trained by ``resfit_learner.classifier_training``, asked by ``classifier_node``.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass as checked
from safetensors.torch import save
from torch import Tensor, nn

from resfit_policy.judge import Rule
from resfit_policy.task import ConfigError, Task, parse_config
from resfit_policy.tensors import fill, read_tensors
from resfit_policy.vision import ConvTrunk, as_pixels

FORMAT = 'resfit-classifier-1'
Count = Annotated[int, Field(ge=1, le=4096)]


@checked(frozen=True, config=ConfigDict(extra='forbid'))
class ClassifierConfig:
    """What a classifier looks at, and its size."""

    task: str
    cameras: Annotated[tuple[str, ...], Field(min_length=1)]
    image_size: Count  # pixels, square
    channels: Count = 16  # of the features
    hidden: Count = 64


class SuccessNet(nn.Module):
    """One small ResNet per camera, where in its image things are, and one logit of all."""

    def __init__(self, config: ClassifierConfig) -> None:
        super().__init__()
        self.config = config
        side = (config.image_size + 7) // 8
        self.eyes = nn.ModuleList(
            nn.Sequential(
                ConvTrunk(config.channels),
                nn.Conv2d(config.channels, config.channels, 3, stride=2, padding=1),
                nn.ReLU(),
                nn.Flatten(),
                nn.Dropout(0.2),
                nn.Linear(config.channels * side * side, config.hidden),
                nn.ReLU(),
            )
            for _ in config.cameras
        )
        self.head = nn.Sequential(nn.Dropout(0.2), nn.Linear(config.hidden * len(config.cameras), 1))

    def forward(self, images: Tensor) -> Tensor:
        """(B, K, H, W, 3) uint8 RGB -> logits (B,)."""
        seen = [eye(as_pixels(images[:, index])) for index, eye in enumerate(self.eyes)]
        out: Tensor = self.head(torch.cat(seen, 1))
        return out[:, 0]


@dataclass(frozen=True)
class Classifier:
    """A trained network, the rule by which its word is a verdict, and what was measured of both."""

    config: ClassifierConfig
    rule: Rule
    net: SuccessNet
    report: dict[str, Any]

    def probabilities(self, images: NDArray[np.uint8], batch: int = 64) -> NDArray[np.float64]:
        """Probability of success in each of (T, K, H, W, 3) uint8 RGB images, (T,)."""
        with torch.inference_mode():
            logits = [self.net(torch.from_numpy(images[at : at + batch])) for at in range(0, len(images), batch)]
            return np.asarray(torch.sigmoid(torch.cat(logits).double()).numpy())

    def check(self, task: Task) -> None:
        """Raise ConfigError where it was not trained for ``task`` and its cameras."""
        ours, theirs = self.config, (task.name, task.cameras, task.image_size)
        if (ours.task, ours.cameras, ours.image_size) != theirs:
            raise ConfigError(
                f'the classifier was trained for task {ours.task}, cameras {", ".join(ours.cameras)} at '
                f'{ours.image_size} pixels, not for {task.name}, {", ".join(task.cameras) or "no cameras"} at '
                f'{task.image_size}: train another with "resfit reward train"'
            )


def pack_classifier(classifier: Classifier) -> bytes:
    """Serialise to safetensors with everything else in its metadata."""
    metadata = {
        'format': FORMAT,
        'config': json.dumps(asdict(classifier.config)),
        'rule': json.dumps(asdict(classifier.rule)),
        'report': json.dumps(classifier.report),
    }
    return save({name: value.detach().contiguous() for name, value in classifier.net.state_dict().items()}, metadata)


def load_classifier(path: Path) -> Classifier:
    """Read what ``pack_classifier`` wrote. Raises ConfigError for anything else."""
    try:
        tensors, metadata = read_tensors(path.read_bytes(), FORMAT, f'{path}: weights')
        config = parse_config(ClassifierConfig, json.loads(metadata['config']), f'{path}: config')
        rule = parse_config(Rule, json.loads(metadata['rule']), f'{path}: rule')
        report = json.loads(metadata['report'])
    except OSError as error:
        raise ConfigError(
            f'cannot read the classifier {path}: {error.strerror}; train one with "resfit reward train"'
        ) from None
    except (KeyError, TypeError, json.JSONDecodeError) as error:
        raise ConfigError(f'{path}: the metadata is incomplete: {error}') from None
    net = SuccessNet(config)
    fill(net, tensors, f'{path}: weights')
    return Classifier(config, rule, net.eval().requires_grad_(False), report)
