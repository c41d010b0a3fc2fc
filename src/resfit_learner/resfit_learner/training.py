"""The whole loop in-process, without ROS: act, ingest, update, swap weights (paper Alg. 1)."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np
from torch import Tensor

from resfit_learner.checkpoint import learner_tensors, restore_learner
from resfit_learner.curve import Curve
from resfit_learner.learner import Counters, Learner
from resfit_learner.method import Setup
from resfit_learner.rollout import run_episode
from resfit_policy.actor import unpack_actor
from resfit_policy.episode_log import Arm, Episode
from resfit_policy.runtime import PolicyRuntime
from resfit_policy.task import ConfigError

SLICE = 20  # updates between two looks at Ctrl-C: with images, one takes seconds


class ResFiT:
    """The ``Method`` of this project, and with ``recipe: paper`` that of the paper.

    One unit is an episode with the first of its updates, or some more of them.
    """

    def __init__(self, setup: Setup) -> None:
        self.learner = Learner(setup.config, setup.task, setup.demonstrations, setup.seed, setup.show, setup.resumed)
        self.runtime = PolicyRuntime(
            setup.task, setup.make_base(), seed=setup.seed, pixels=setup.config.from_pixels(setup.task)
        )
        self.curve = Curve()
        self.settings = asdict(setup.config)
        if setup.config.residual == 'absolute':  # not a correction, so not bounded like one
            self.runtime.supervisor.residual_limit[:] = np.inf
        if setup.config.q_gate is not None:
            if setup.config.from_pixels(setup.task):
                raise ConfigError('q_gate does not see images: set encoder to frozen, or leave q_gate out')
            self.runtime.gate = self.learner.gate
        self.newest: Episode | None = None  # for who wants to keep them
        self._env, self._first_start = setup.make_env(), setup.first_start
        self._swap()

    @property
    def env_steps(self) -> int:
        """Online steps that all updates are made for."""
        steps = self.curve.steps[: -1 if self.learner.owed else None]
        return steps[-1] if steps else 0

    def advance(self) -> None:
        if not self.learner.owed:
            self._act()
        for _ in range(min(self.learner.owed, SLICE)):
            self.learner.update()
        if not self.learner.owed:
            self._swap()

    def _act(self) -> None:
        index = self.learner.counters.sequence + 1
        start = self._first_start + index
        episode = run_episode(self._env, self.runtime, seed=start, arm=Arm.RESIDUAL, explore=True, episode_id=index)
        self.learner.ingest(index, episode)
        self.curve.add(episode)
        self.newest = episode

    def tensors(self) -> dict[str, Tensor]:
        buffer = self.learner.online.tensors()
        phases = self.learner.phase_critic.tensors()
        return (
            learner_tensors(self.learner)
            | {f'online.{name}': value for name, value in buffer.items()}
            | {f'phases.{name}': value for name, value in phases.items()}
            | {f'trust.{name}': value for name, value in self.learner.trust.tensors().items()}
        )

    def about(self) -> dict[str, Any]:
        return {
            'counters': asdict(self.learner.counters),
            'numpy_rng': self.learner.rng.bit_generator.state,
            'online': self.learner.online.about(),
            'actor': asdict(self.learner.actor.config),
        }

    def restore(self, tensors: dict[str, Tensor], about: dict[str, Any]) -> None:
        restore_learner(self.learner, tensors, about['numpy_rng'])
        self.learner.online.restore(_under('online.', tensors), about['online'])
        self.learner.phase_critic.restore(_under('phases.', tensors))
        self.learner.trust.restore(_under('trust.', tensors))
        self.learner.counters = Counters(**about['counters'])
        self._swap(new_version=False)

    def _swap(self, new_version: bool = True) -> None:
        """Hand the learner's actor to the policy, by the bytes that a robot would get."""
        self.runtime.set_weights(*unpack_actor(self.learner.weights(new_version)))


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
