"""Entry points."""

from __future__ import annotations

from resfit_policy.start import start


def learner_node() -> None:
    start('resfit_learner.learner_node')


def replay_node() -> None:
    start('resfit_learner.replay_node')
