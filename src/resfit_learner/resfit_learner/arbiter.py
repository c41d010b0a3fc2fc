"""Who corrects the next episode: the lasting corrections, or the step-wise actor?

The first need few episodes and cannot depend on the state; the second can, and needs many. Which one is ahead differs
from task to task and changes while both learn, and so does the noise that each can stand. So each episode is given to
one of them by its chance to be the better one (Thompson sampling), judged by the labels alone; old ones count less
and less. Both need episodes to learn from, so the weaker one gets a fair share of them until it is surely worse: then
it does harm, and is hardly chosen any more. What the robot has learned in the end is the better of the two.
"""

from __future__ import annotations

import math

MEMORY = 0.98  # weight of an episode's outcome, for each later episode
FAIR = 0.3  # least share of either while neither is surely worse
SURE = 0.05  # chance to be the better one below which a corrector is surely worse; and its share then


class Arbiter:
    """Outcomes of both correctors, and the chance of the lasting one to be better."""

    def __init__(self) -> None:
        self.outcomes: dict[int, tuple[bool, bool]] = {}  # episode -> by lasting corrections, success; oldest first

    def add(self, episode_id: int, lasting: bool, success: bool) -> None:
        """Add an episode, or correct its label."""
        self.outcomes[episode_id] = lasting, success

    @property
    def share(self) -> float:
        """Share of the episodes that the lasting corrections get."""
        chance = self.lasting
        if SURE < chance < 1 - SURE:
            return min(max(chance, FAIR), 1 - FAIR)
        return SURE if chance < 0.5 else 1 - SURE

    @property
    def lasting(self) -> float:
        """Chance that lasting corrections succeed more often than the step-wise actor.

        Each one's success rate has a Beta(1 + successes, 1 + failures) posterior; their difference is taken as normal.
        """
        counts = {True: [1.0, 1.0], False: [1.0, 1.0]}  # failures, successes
        weight = 1.0
        for lasting, success in reversed(self.outcomes.values()):
            counts[lasting][success] += weight
            weight *= MEMORY
        (mean, variance), (other, spread) = (_beta(*counts[lasting]) for lasting in (True, False))
        return 0.5 * (1 + math.erf((mean - other) / math.sqrt(2 * (variance + spread))))


def _beta(failures: float, successes: float) -> tuple[float, float]:
    """Mean and variance of Beta(successes, failures)."""
    total = failures + successes
    return successes / total, successes * failures / (total * total * (total + 1))
