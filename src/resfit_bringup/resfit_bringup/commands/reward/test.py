"""``resfit reward test``: precision and recall of an image classifier on other labelled bags."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from resfit_learner.classifier_training import ClassifierTraining, score_classifier
from resfit_learner.footage import read_footage
from resfit_policy.classifier import load_classifier
from resfit_policy.task import load_task


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('classifier', type=Path, help='file that "resfit reward train" wrote')
    parser.add_argument('paths', type=Path, nargs='+', metavar='PATH', help="a run's folder, its episodes, or a bag")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Judge every episode by the classifier's rule, and compare with the labels."""
    classifier, task = load_classifier(args.classifier), load_task(args.task)
    classifier.check(task)
    tail = int(classifier.report.get('tail', ClassifierTraining().tail))
    reached = score_classifier(classifier, read_footage(args.paths, task), tail)
    print(reached)  # noqa: T201
    return {'task': task.name, 'classifier': str(args.classifier), **reached.as_dict()}
