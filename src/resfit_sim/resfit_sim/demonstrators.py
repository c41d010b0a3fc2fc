"""The experts as base policies: ``resfit_sim.demonstrators:<variant>``, each called with the task."""

from __future__ import annotations

from resfit_policy.observation import BasePolicy
from resfit_policy.task import Task

from resfit_sim.experts import make_expert


def demonstrated(task: Task) -> BasePolicy:
    """The expert for the objects of the demonstrations."""
    return make_expert(task.name, 'demonstrated')


def unseen(task: Task) -> BasePolicy:
    """The expert for the objects that the base policy has never seen."""
    return make_expert(task.name, 'unseen')
