"""One control step: base action, residual, supervision (design section 2, paper Alg. 1).

The policy node, the in-process loop and the evaluation all act through this class.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from resfit_policy.actor import Exploration, ResidualActor
from resfit_policy.episode_log import Arm, Flag, StepRecord
from resfit_policy.observation import NO_FEATURES, NO_IMAGES, BasePolicy, FeatureBase, Float, Observation
from resfit_policy.supervisor import Supervisor
from resfit_policy.task import ConfigError, Task


class PolicyRuntime:
    """A frozen base, a residual actor that may be swapped between two steps, and a supervisor."""

    def __init__(
        self,
        task: Task,
        base: BasePolicy,
        seed: int = 0,
        supervisor: Supervisor | None = None,
        pixels: bool = False,
    ) -> None:
        """``supervisor``: with limits of its own (default: the robot's, and nothing is in the way).

        ``pixels``: the residual has an image encoder of its own, and does without the base's features.
        """
        self.task = task
        self.base = base
        self.eyes = base if isinstance(base, FeatureBase) and not pixels else None
        self.state_size = task.state_size + (self.eyes.feature_size if self.eyes else 0)  # what the residual sees
        self.supervisor = supervisor or Supervisor(task)
        self.why = ''  # what the supervisor said last
        self.authority = 1.0  # live dial
        self.actor: ResidualActor | None = None
        # Says whether to correct at all, of (state, base action, latent). A critic lives only in the learner.
        self.gate: Callable[[Float, Float, Float], bool] | None = None
        self.exploration = Exploration()
        self.version = 0
        self._seed = seed
        self._rng = np.random.default_rng(seed)
        self._step = 0
        self._stale = False  # the base's chunk is of where the robot was before somebody took over, or handed back
        self._stamp = 0  # ns, of the last step that was made
        self._arm = Arm.BASE
        self.alone = False  # the base acts alone in this episode, for so far it is the better one
        self._std = 0.0
        self._noise = np.zeros(0, np.float32)

    def set_weights(self, actor: ResidualActor, exploration: Exploration, version: int) -> None:
        """Take a new residual from the next step on. Raises ConfigError where it does not fit the task."""
        config = actor.config
        if (config.state_size, config.action_size) != (self.state_size, self.task.action_size):
            raise ConfigError(
                f'the residual was trained for a state of {config.state_size} and {config.action_size} joints, '
                f'task {self.task.name} with this base has {self.state_size} and {self.task.action_size}'
            )
        self.actor, self.exploration, self.version = actor, exploration, version

    def begin(self, arm: Arm, explore: bool, episode_id: int = 0) -> None:
        """Start an episode, however the last one ended: the chunk queue and the noise start afresh."""
        self.base.reset()
        self._step, self._stale = 0, False
        self._rng = np.random.default_rng((self._seed, episode_id))  # the same noise, whenever it is run
        self._arm = arm
        self._std, self._noise = self.exploration.std if explore else 0.0, np.zeros(0, np.float32)
        draw = np.random.default_rng((self._seed, episode_id, 1)).random()  # apart from the noise
        self.alone = self.exploration.base_share > (draw if explore else 0.5)

    def step(
        self, observation: Observation, stamp: int = 0, final: bool = False, teleop: Float | None = None
    ) -> StepRecord:
        """Act on one observation, or, when ``final``, only say what the base would do in it.

        ``teleop``: (A,) rad, what a person wants in place of base and residual, within the same limits.

        Raises ValueError when the base's action is not finite or of the wrong shape, and whatever the base raises,
        such as NotReady from one that is late; nothing must be executed then.
        """
        started = time.perf_counter()
        if self._stale and teleop is None:
            self.base.reset()
        self._stale = teleop is not None
        base_action = np.asarray(self.base.act(observation), np.float32)
        features = self.eyes.features(observation) if self.eyes else NO_FEATURES
        measured = observation.state[: self.task.action_size]
        if self._step == 0:
            self.supervisor.reset(measured)
        elif stamp - self._stamp > 2 * self.task.period_ns:  # the robot has been held in between
            self.supervisor.restart(measured)
        else:
            self.supervisor.feel(measured)
        residual = np.zeros_like(base_action)
        acts = self._arm == Arm.RESIDUAL and self.actor is not None and not self.alone
        authority = self.authority if acts else 0.0
        flags = Flag.NONE
        if final:
            base_action = self.supervisor.checked('the base action', base_action)
            executed, authority, flags = base_action, 0.0, Flag.FINAL
        else:
            if teleop is not None:
                base_action = self.supervisor.checked('the base action', base_action)
                authority, flags = 0.0, Flag.INTERVENTION
            elif self.actor is not None and self.supervisor.ramped(authority) > 0:
                seen = np.concatenate([[np.float32(self._step)], observation.state, features])
                seen = self.actor.see(seen, observation.images)
                residual = self._residual(self.actor, seen, base_action)
            outcome = self.supervisor.apply(base_action if teleop is None else teleop, residual, authority)
            executed, authority, self.why = outcome.executed, outcome.authority, outcome.why
            flags |= (Flag.CLIPPED if outcome.clipped else Flag.NONE) | (Flag.HELD if outcome.held else Flag.NONE)
        record = StepRecord(
            stamp=stamp,
            step=self._step,
            state=observation.state,
            base_action=base_action,
            residual=residual,
            executed_action=executed,
            authority=authority,
            weights_version=self.version,
            flags=flags,
            images=NO_IMAGES if self.eyes else observation.images,
            features=features,
            compute_ms=1e3 * (time.perf_counter() - started),
            chunk_age=getattr(self.base, 'chunk_age', 0),
        )
        self._step += 1
        self._stamp = stamp
        return record

    def replan(self) -> None:
        """Somebody has taken over or handed back: the base's next action, when it acts, is planned anew."""
        self._stale = True
        self.supervisor.share = 0.0  # from where the residual ramps in

    def origin(self, observation: Observation) -> Float:
        """What the next action goes on from, (A,) rad: the last one, or at an episode's start the measured joints."""
        return self.supervisor.last if self._step else observation.state[: self.task.action_size]

    def _residual(self, actor: ResidualActor, seen: Float, base_action: Float) -> Float:
        start = actor.start(seen, base_action)
        latent, exploration = actor.act(seen, start), self.exploration
        if self._std > 0:
            if self._step % exploration.hold == 0 or self._noise.shape != latent.shape:
                draw = self._rng.uniform if exploration.uniform else self._rng.normal
                low = -self._std if exploration.uniform else 0.0
                self._noise = draw(low, self._std, latent.shape).astype(np.float32)
            latent = latent + self._noise
        latent = np.clip(latent, -exploration.limit, exploration.limit)
        if self.gate is not None and not self.gate(seen, start, latent):
            return start - base_action
        return start - base_action + actor.residual(latent, start, self._step)
