"""A base that is asked for its next chunk before the present one ends: it may be slow, or far away.

Row i of a chunk that was asked for at control step k is the action of step k + i. With ``ahead`` steps between
question and need, the rows of the steps that passed meanwhile are skipped; so are those of a chunk that comes later
still. Where the simulation waits (``patient``), a hand-over depends on control steps alone: a run is repeatable, and
with ``ahead`` 0 its actions are those of the base itself.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass as strict_dataclass

from resfit_policy.observation import BasePolicy, ChunkBase, FeatureBase, Float, Observation
from resfit_policy.sampler import NotReady
from resfit_policy.task import ConfigError

RETRY = 0.2  # s between a failure and the next question


@strict_dataclass(frozen=True, config=ConfigDict(extra='forbid'))
class AheadConfig:
    """When a base is asked, and how long it is waited for."""

    ahead: Annotated[int, Field(ge=0)] = 0  # control steps between question and need; 0: asked when needed
    execute: Annotated[int, Field(ge=0)] = 0  # actions of a chunk before the next one takes over, 0: as the base says
    deadline: Annotated[float, Field(gt=0)] = 2.0  # s of real time after which an answer is given up
    patient: bool = False  # wait for a late chunk at the hand-over, as a lockstep simulation can, and not go on


@dataclass(frozen=True)
class Chunk:
    """An answer of a base."""

    actions: Float  # (n, A) rad
    execute: int  # of these, before the next prediction


Ask = Callable[[Observation, int], 'Future[Chunk]']  # of an observation and its control step


class Ahead:
    """A black-box base around whoever answers with chunks, now or later. Never blocks."""

    def __init__(
        self,
        ask: Ask,
        size: int,
        config: AheadConfig | None = None,
        wake: Callable[[], None] = lambda: None,
        forget: Callable[[], object] = lambda: None,
    ) -> None:
        """``size``: A, of an action. ``wake`` is called, in any thread, when an answer has come.

        ``forget`` tells the one who answers that an episode is over.
        """
        self.config = config or AheadConfig()
        self.chunk_age = 0  # control steps since the observation that the last action was predicted from
        self.late = self.refused = 0  # chunks not there when needed; answers that could not be used
        self.seconds = 0.0  # that the last chunk took
        self._ask, self._size, self._wake, self._forget = ask, size, wake, forget
        self._question: tuple[Future[Chunk], int, float] | None = None  # answer to come, step, time of asking
        self._clear()

    def _clear(self) -> None:
        self._question = None
        self._next: tuple[Chunk, int] | None = None  # there, but not yet due: chunk, step it was asked for at
        self._actions: Float = np.zeros((0, self._size), np.float32)
        self._begun = 0  # step of row 0 of the actions
        self._due = 0  # step of the next question
        self._step = 0  # of the next action
        self._retry = 0.0  # time before which nothing is asked
        self._why = ''  # the last answer could not be used
        self._blamed = False  # the present lateness is counted

    def reset(self) -> None:
        """Forget everything of the last episode, also what is still to come of it."""
        if self._question is not None:
            self._question[0].cancel()
        self._clear()
        self._forget()

    def act(self, observation: Observation) -> Float:
        """Action of this control step, (A,) float32 rad. Raises NotReady while there is none, with the reason."""
        self._hear()
        self._take()
        asked = self._question is not None or self._next is not None
        if not asked and self._step >= self._due and time.monotonic() >= self._retry:
            self._question = (self._ask(observation, self._step), self._step, time.monotonic())
            self._question[0].add_done_callback(lambda answer: None if answer.cancelled() else self._wake())
        row = self._step - self._begun
        if row >= len(self._actions):
            if self._step and not self._blamed:
                self.late, self._blamed = self.late + 1, True
            raise NotReady(f'base: {self._why}' if self._why else f'the base is late: {self._asked()}')
        self._step, self.chunk_age, self._blamed = self._step + 1, row, False
        action: Float = self._actions[row]
        return action

    def status(self) -> dict[str, str]:
        """For diagnostics."""
        return {
            'chunk_ms': f'{1e3 * self.seconds:.0f}',
            'late_chunks': str(self.late),
            'refused_chunks': str(self.refused),
            'base_problem': self._why,
        }

    def _asked(self) -> str:
        since = f'{time.monotonic() - self._question[2]:.2f} s ago' if self._question else 'not yet'
        return f'asked {since}, {self.config.ahead} steps ahead of need'

    def _hear(self) -> None:
        """Look for the answer; what cannot be used is dropped, and asked for again a moment later."""
        if self._question is None:
            return
        answer, step, asked = self._question
        now = time.monotonic()
        try:
            if not answer.done():
                if now - asked <= self.config.deadline:
                    return
                answer.cancel()
                raise NotReady(f'no answer within {self.config.deadline:g} s')
            self._next = (self._checked(answer.result(), step), step)
            self._why, self.seconds = '', now - asked
        except Exception as problem:  # whatever somebody's policy raises
            self._why, self._retry = str(problem) or type(problem).__name__, now + RETRY
            self.refused += 1
        self._question = None

    def _checked(self, chunk: Chunk, step: int) -> Chunk:
        """A chunk of which something can be executed. Raises NotReady."""
        actions = np.asarray(chunk.actions, np.float32)
        if actions.ndim != 2 or actions.shape[1] != self._size or not len(actions):
            raise NotReady(f'a chunk has shape {actions.shape}, wanted (n, {self._size})')
        if not np.isfinite(actions).all():
            raise NotReady('a chunk is not finite')
        if len(actions) <= self.config.ahead:
            raise NotReady(
                f'a chunk of {len(actions)} actions is over before it is needed, {self.config.ahead} steps after it '
                'was asked for: lower base_ahead'
            )
        if self._step - step >= len(actions):
            raise NotReady(f'a chunk of {len(actions)} actions came {self._step - step} steps after its observation')
        return Chunk(actions, max(1, min(self.config.execute or chunk.execute, len(actions) - self.config.ahead)))

    def _take(self) -> None:
        """Hand over to the next chunk, when it is due or nothing is left of the present one."""
        if self._next is None:
            return
        (chunk, step), ahead = self._next, self.config.ahead
        if self._step >= step + ahead or self._step - self._begun >= len(self._actions):
            # What lies beyond the next hand-over is for the case that the next chunk is late.
            self._actions = chunk.actions[: chunk.execute + ahead] if self.config.patient else chunk.actions
            self._begun, self._due, self._next = step, step + chunk.execute, None


def in_worker(base: BasePolicy, size: int, config: AheadConfig, wake: Callable[[], None]) -> Ahead:
    """A base of this process, asked ahead in a thread of its own: for one that spends its time outside of Python.

    Raises ConfigError for one that gives no chunks, or whose features are needed at every step anyway.
    """
    if not isinstance(base, ChunkBase) or isinstance(base, FeatureBase):
        raise ConfigError(
            'base_ahead is for bases that predict chunks and look at images themselves alone; this one gives '
            + ('features, too, which every step waits for' if isinstance(base, FeatureBase) else 'single actions')
            + ': leave base_ahead at 0'
        )
    asked, worker = base, ThreadPoolExecutor(1, 'base')

    def ask(observation: Observation, step: int) -> Future[Chunk]:
        return worker.submit(lambda: Chunk(asked.predict(observation), asked.execute))

    return Ahead(ask, size, config, wake, forget=lambda: worker.submit(asked.reset))
