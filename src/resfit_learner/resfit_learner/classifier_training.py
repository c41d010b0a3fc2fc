"""Trains the image classifier that tells success: half of each batch shows one, half does not."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Annotated

import numpy as np
import torch
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass
from torch.nn.functional import binary_cross_entropy_with_logits

from resfit_learner.augmentation import random_shift
from resfit_learner.footage import Footage, check_footage, labelled_images, split
from resfit_learner.judging import Score, choose_rule, judged, score
from resfit_policy.classifier import Classifier, ClassifierConfig, SuccessNet
from resfit_policy.judge import Rule
from resfit_policy.task import ConfigError, Task

Count = Annotated[int, Field(ge=1)]


@dataclass(frozen=True, config=ConfigDict(extra='forbid'))
class ClassifierTraining:
    """Training of the success classifier."""

    steps: Count = 800  # gradient steps
    batch: Count = 64
    lr: Annotated[float, Field(gt=0)] = 1e-3  # highest
    weight_decay: Annotated[float, Field(ge=0)] = 1e-3
    image_shift: Annotated[int, Field(ge=0)] = 4  # pixels
    shown: Count = 2  # last images of a success, which show it: the simulation's oracle leaves no more
    unclear: Annotated[int, Field(ge=0)] = 2  # images before these, which may; more where people label, who are slower
    hold: Count = 8  # judged images in a row that have to agree
    validation: Annotated[float, Field(gt=0, lt=0.4)] = 0.2  # share of the episodes that thresholds are set by
    held_out: Annotated[float, Field(gt=0, lt=0.4)] = 0.25  # share that precision and recall are measured on
    threads: Count = 1  # of torch

    @property
    def tail(self) -> int:
        """Images at the end of a success in which it may be seen."""
        return self.shown + self.unclear


def train_classifier(
    config: ClassifierTraining,
    task: Task,
    footage: Sequence[Footage],
    seed: int,
    progress: Callable[[int, float], None] = lambda step, loss: None,
) -> tuple[Classifier, Score]:
    """A classifier and its score on episodes that neither training nor thresholds have seen.

    ``progress(step, loss)`` is called every 20 steps. Raises ConfigError where ``footage`` does not do.
    """
    check_footage(footage)
    training, validation, held_out = split(footage, (config.validation, config.held_out), seed)
    started = time.perf_counter()
    net = _train(config, task, training, seed, progress)
    shape = net.config
    unset = Classifier(shape, Rule(1.0, 0.0, config.hold), net, {})
    seen = [unset.probabilities(item.images) for item in validation]
    rule = choose_rule(validation, seen, config.hold, config.tail)
    reached = score_classifier(Classifier(shape, rule, net, {}), held_out, config.tail)
    report = {
        'episodes': {'training': len(training), 'validation': len(validation), 'held_out': len(held_out)},
        'held_out': reached.as_dict(),
        'tail': config.tail,
        'seed': seed,
        'wall_s': round(time.perf_counter() - started, 1),
    }
    return Classifier(shape, rule, net, report), reached


def score_classifier(classifier: Classifier, footage: Sequence[Footage], tail: int) -> Score:
    """Judge every episode as online. Raises ConfigError where none of them is a success."""
    if not any(item.success for item in footage):
        raise ConfigError('none of the episodes is a success: there is no recall to measure')
    return score([judged(item, classifier.probabilities(item.images), classifier.rule, tail) for item in footage])


def _train(
    config: ClassifierTraining,
    task: Task,
    footage: Sequence[Footage],
    seed: int,
    progress: Callable[[int, float], None],
) -> SuccessNet:
    torch.set_num_threads(config.threads)
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    shown, rest = zip(*(labelled_images(item, config.shown, config.unclear) for item in footage), strict=True)
    kinds = [
        [image for item, part in zip(footage, parts, strict=True) for image in item.images[part]]
        for parts in (shown, rest)
    ]
    net = SuccessNet(ClassifierConfig(task.name, task.cameras, task.image_size))
    optimiser = torch.optim.AdamW(net.parameters(), config.lr, weight_decay=config.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, config.lr, total_steps=config.steps, pct_start=0.1)
    half = config.batch // 2
    truth = torch.cat([torch.ones(half), torch.zeros(half)])
    for step in range(1, config.steps + 1):
        rows = [torch.randint(0, len(kind), (half,), generator=generator).tolist() for kind in kinds]
        images = torch.from_numpy(np.stack([kind[row] for kind, part in zip(kinds, rows, strict=True) for row in part]))
        if config.image_shift:
            images = random_shift(images, config.image_shift, generator)
        loss = binary_cross_entropy_with_logits(net(images), truth)
        if not torch.isfinite(loss):
            raise ConfigError(f'the loss is not finite at step {step}: lower the learning rate')
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
        if step % 20 == 0:
            progress(step, loss.item())
    return net.eval().requires_grad_(False)
