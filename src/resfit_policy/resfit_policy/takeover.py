"""A person takes over: whose command acts, and what its silence means. No ROS here."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from resfit_policy.observation import Float
from resfit_policy.sampler import NotReady


class Takeover:
    """Commands of a teleoperator, each of which says that the dead-man switch is held.

    A command without joints hands back to the policy. Silence does not: a cable that was pulled must not start it.
    """

    def __init__(self, names: Sequence[str], quiet: float) -> None:
        """``names``: joints of an action, in its order. ``quiet``: s without a command after which the robot holds."""
        self._places = {name: place for place, name in enumerate(names)}
        self._quiet = quiet
        self._heard = 0.0  # s
        self._wrong = ''
        self._wish: dict[int, float] = {}  # joint -> rad
        self.active = False

    def hear(self, now: float, names: Sequence[str], positions: ArrayLike) -> None:
        """A command at ``now`` s: positions [rad] of all joints or of some, by name, or of none to hand back."""
        self._heard, self._wrong, self._wish = now, '', {}
        self.active = bool(names)
        values = np.asarray(positions, np.float64)
        unknown = [name for name in names if name not in self._places]
        if unknown:
            self._wrong = f'no joint {unknown[0]}'
        elif values.shape != (len(names),) or len(set(names)) != len(names):
            self._wrong = f'{values.size} positions for {len(names)} joints, or a joint twice'
        elif not np.isfinite(values).all():
            self._wrong = 'a position is not finite'
        else:
            self._wish = {self._places[name]: float(value) for name, value in zip(names, values, strict=True)}

    def wish(self, now: float, last: Float) -> Float | None:
        """The commanded action (A,) rad, its other joints as in ``last``; None where the policy acts.

        Raises NotReady where there is a takeover and no command that could be used: the robot must hold.
        """
        if not self.active:
            return None
        if now - self._heard > self._quiet:
            raise NotReady('teleop fell silent in a takeover: command again, or hand back with no joints')
        if self._wrong:
            raise NotReady(f'teleop: {self._wrong}')
        action = last.astype(np.float32)
        for place, value in self._wish.items():
            action[place] = value
        return action
