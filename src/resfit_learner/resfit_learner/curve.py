"""How a run goes: length and success of its online episodes, in order."""

from __future__ import annotations

from dataclasses import dataclass, field

from resfit_policy.episode_log import Episode
from resfit_policy.rate import Rate, wilson

WINDOW = 50  # episodes in the success window


@dataclass
class Curve:
    """Online episodes of a run, in order."""

    steps: list[int] = field(default_factory=list)  # online steps at each episode's end
    success: list[bool] = field(default_factory=list)

    def add(self, episode: Episode) -> None:
        self.steps.append((self.steps[-1] if self.steps else 0) + episode.length)
        self.success.append(episode.success)

    def recent(self, size: int = WINDOW) -> float:
        """Success over the newest ``size`` episodes; 0 before the first."""
        newest = self.success[-size:]
        return sum(newest) / len(newest) if newest else 0.0

    def rates(self, size: int = WINDOW) -> list[Rate]:
        """At each episode's end, the success of the newest ``size`` episodes with its interval."""
        windows = (self.success[max(0, end - size) : end] for end in range(1, len(self.success) + 1))
        return [wilson(sum(window), len(window)) for window in windows]

    def windows(self, size: int = WINDOW) -> list[float]:
        """Success over each ``size`` consecutive episodes (fewer where there are fewer)."""
        if len(self.success) < size:
            return [sum(self.success) / len(self.success)] if self.success else []
        return [sum(self.success[end - size : end]) / size for end in range(size, len(self.success) + 1)]

    def reached(self, level: float, size: int = WINDOW) -> int | None:
        """Index of the first episode that ends a window of ``size`` with at least that success; None without one."""
        if len(self.success) < size:
            return None
        windows = enumerate(self.windows(size), size - 1)
        return next((index for index, success in windows if success >= level - 1e-9), None)
