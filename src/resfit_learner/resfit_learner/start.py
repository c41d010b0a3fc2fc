"""Entry points."""

from __future__ import annotations

from resfit_policy.start import start


def bag_eval_node() -> None:
    start('resfit_learner.bag_eval_node')


def learner_node() -> None:
    start('resfit_learner.learner_node')


def replay_node() -> None:
    start('resfit_learner.replay_node')
