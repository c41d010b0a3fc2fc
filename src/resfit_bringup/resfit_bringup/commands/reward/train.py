"""``resfit reward train``: an image classifier of success from labelled bags."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np

from resfit_bringup.cli import check_writable
from resfit_bringup.progress import Progress
from resfit_learner.classifier_training import ClassifierTraining, train_classifier
from resfit_learner.footage import Footage, read_footage
from resfit_policy.classifier import Classifier, pack_classifier
from resfit_policy.files import write_atomically
from resfit_policy.task import ConfigError, load_task, parse_config

TIMED = 100  # inferences, of one control step each


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('paths', type=Path, nargs='+', metavar='PATH', help="a run's folder, its episodes, or a bag")
    parser.add_argument('--out', type=Path, required=True, metavar='FILE', help='classifier.safetensors to write')
    defaults = ClassifierTraining()
    parser.add_argument('--steps', type=int, default=defaults.steps, help='gradient steps (default: %(default)s)')
    parser.add_argument(
        '--shown', type=int, default=defaults.shown, help='last images of a success, which show it (%(default)s)'
    )
    parser.add_argument(
        '--unclear', type=int, default=defaults.unclear, help='images before these, which may: left out (%(default)s)'
    )
    parser.add_argument(
        '--hold', type=int, default=defaults.hold, help='images in a row that have to agree (%(default)s)'
    )
    parser.add_argument(
        '--held-out', type=float, default=defaults.held_out, help='share of the episodes to test on (%(default)s)'
    )


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Train, choose thresholds on validation episodes, measure on held-out ones, write one file."""
    check_writable(args.out)
    task = load_task(args.task)
    if not task.cameras:
        raise ConfigError(f'task {task.name} names no cameras: add them to its YAML file')
    chosen = {name: getattr(args, name) for name in ('steps', 'shown', 'unclear', 'hold', 'held_out')}
    config = parse_config(ClassifierTraining, chosen, 'resfit reward train')
    footage = read_footage(args.paths, task)
    with Progress('classifier', config.steps) as progress:
        classifier, reached = train_classifier(
            config, task, footage, args.seed, lambda step, loss: progress.update(step, f'loss {loss:.3f}')
        )
    write_atomically(args.out, pack_classifier(classifier))
    counts, rule = classifier.report['episodes'], classifier.rule
    took = inference_ms(classifier, footage)
    print(  # noqa: T201
        f'{counts["training"]} episodes to train on, {counts["validation"]} for the thresholds: a success from '
        f'{rule.success:.3f} on, none up to {rule.failure:.3f}, {rule.hold} images in a row\n'
        f'{counts["held_out"]} episodes held out:\n{reached}\n'
        f'{classifier.report["wall_s"]} s of training, {took:.1f} ms per judged image; written to {args.out}'
    )
    return {
        'task': task.name,
        'classifier': str(args.out),
        'success': rule.success,
        'failure': rule.failure,
        'inference_ms': round(took, 2),
        **classifier.report,
    }


def inference_ms(classifier: Classifier, footage: list[Footage]) -> float:
    """Median time [ms] of one judgement."""
    took = []
    for image in footage[0].images[:TIMED]:
        begun = time.perf_counter()
        classifier.probabilities(image[None])
        took.append(1e3 * (time.perf_counter() - begun))
    return float(np.median(took))
