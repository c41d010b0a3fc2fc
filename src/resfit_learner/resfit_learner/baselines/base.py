"""The frozen base, left as it is."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from resfit_learner.curve import Curve
from resfit_learner.method import Setup
from resfit_learner.rollout import run_episode
from resfit_policy.episode_log import Arm
from resfit_policy.runtime import PolicyRuntime


class FrozenBase:
    """Acts and learns nothing."""

    def __init__(self, setup: Setup) -> None:
        self.runtime = PolicyRuntime(setup.task, setup.make_base(), seed=setup.seed)
        self.curve = Curve()
        self.settings: dict[str, Any] = {}
        self._env, self._first_start = setup.make_env(), setup.first_start

    @property
    def env_steps(self) -> int:
        return self.curve.steps[-1] if self.curve.steps else 0

    def advance(self) -> None:
        index = len(self.curve.steps) + 1
        self.curve.add(
            run_episode(self._env, self.runtime, seed=self._first_start + index, arm=Arm.BASE, episode_id=index)
        )

    def tensors(self) -> dict[str, Tensor]:
        return {}

    def about(self) -> dict[str, Any]:
        return {}

    def restore(self, tensors: dict[str, Tensor], about: dict[str, Any]) -> None:
        """The curve is all there is."""
