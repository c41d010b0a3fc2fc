"""What every way to a better policy has in common: ours, the paper's, and the baselines.

A method advances in small units and can be written to a file between any two of them; who runs it
(``resfit experiment``) keeps the clock, the checkpoints and the progress line. See ``resfit_learner.baselines``.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import gymnasium
from torch import Tensor

from resfit_learner.bc import BcConfig
from resfit_learner.config import LearnerConfig
from resfit_learner.curve import Curve
from resfit_policy.actor import ActorConfig
from resfit_policy.episode_log import Episode
from resfit_policy.observation import BasePolicy
from resfit_policy.runtime import PolicyRuntime
from resfit_policy.task import ConfigError, Task


@dataclass(frozen=True)
class Setup:
    """What a method may use."""

    task: Task
    make_env: Callable[[], gymnasium.Env[Any, Any]]  # a new environment; reset(seed) decides an episode
    make_base: Callable[[], BasePolicy]  # the frozen base with a chunk queue of its own
    demonstrations: Sequence[Episode]  # with the base's action in ``base_action``
    config: LearnerConfig  # hyper-parameters of the recipe
    seed: int  # of all that is random in the learner
    bc: BcConfig  # how the base was trained
    first_start: int  # online episode k = 1, 2, ... starts from scene seed ``first_start + k``
    show: Callable[[int], None] = lambda step: None  # hears of the updates before the first online step
    resumed: ActorConfig | None = None  # shape of the actor that ``restore`` will bring: a warm start need not be made


class Method(Protocol):
    """Online training in units that end with an episode, or a batch of them."""

    runtime: PolicyRuntime  # acts for evaluation: Arm.BASE is the frozen base, Arm.RESIDUAL what was learned
    curve: Curve  # online episodes so far
    env_steps: int  # online steps so far
    settings: dict[str, Any]  # every hyper-parameter, for the result

    def advance(self) -> None:
        """Act for a moment (an episode, or a few seconds), learn from it, add the finished episodes to the curve."""

    def tensors(self) -> dict[str, Tensor]:
        """All arrays that the next ``advance`` depends on: networks, optimisers, buffers, torch generators."""

    def about(self) -> dict[str, Any]:
        """The rest of it, as JSON: counters, random states of numpy."""

    def restore(self, tensors: dict[str, Tensor], about: dict[str, Any]) -> None:
        """Bring a freshly made method to where ``tensors`` and ``about`` were taken; the curve is restored before."""


METHODS = {
    'resfit': 'resfit_learner.training:ResFiT',
    'base': 'resfit_learner.baselines.base:FrozenBase',
    'filtered_bc': 'resfit_learner.baselines.filtered_bc:FilteredBC',
    'ppo': 'resfit_learner.baselines.ppo:PPO',
}


def make_method(name: str, setup: Setup) -> Method:
    """The method called ``name``. Raises ConfigError."""
    if name not in METHODS:
        raise ConfigError(f'no method "{name}": choose one of {", ".join(METHODS)}')
    module, _, factory = METHODS[name].partition(':')
    method: Method = getattr(importlib.import_module(module), factory)(setup)
    return method
