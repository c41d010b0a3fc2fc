"""Charts as SVG for a page: no library, no colours of their own (the page's style gives them), text that stays legible.

A chart is drawn once per width of screen, since text in an SVG shrinks with it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from html import escape

from resfit_learner.evaluation import Rate

LEFT, RIGHT, TOP, BOTTOM = 46, 12, 14, 40  # px around the plot
SCREENS = (('wide', 760, 320), ('narrow', 350, 260))  # class, width and height in px


def nice(end: float, most: int) -> list[float]:
    """At most ``most`` round numbers from 0 to ``end``."""
    if end <= 0:
        return [0.0]
    unit = 10.0 ** (len(str(int(end))) - 1) / 10
    for factor in (1, 2, 5, 10, 20, 50, 100):
        step = unit * factor
        if end / step < most:
            break
    return [step * index for index in range(int(end / step) + 1)]


@dataclass
class Chart:
    """Axes from 0 to ``x_end`` and ``y_end``, and what was drawn in them."""

    width: int
    height: int
    x_end: float
    y_end: float
    parts: list[str] = field(default_factory=list)

    def x(self, value: float) -> float:
        """px from the left."""
        return LEFT + (self.width - LEFT - RIGHT) * value / max(self.x_end, 1e-9)

    def y(self, value: float) -> float:
        """px from the top."""
        return self.height - BOTTOM - (self.height - TOP - BOTTOM) * value / max(self.y_end, 1e-9)

    def axes(self, x_label: str, y_text: Callable[[float], str], y_ticks: Sequence[float]) -> None:
        """Ticks, a line for each of ``y_ticks``, and a label below."""
        right, bottom = self.width - RIGHT, self.height - BOTTOM
        for value in y_ticks:
            at = self.y(value)
            self.parts.append(f'<line class="grid" x1="{LEFT}" x2="{right}" y1="{at:.1f}" y2="{at:.1f}"/>')
            self.parts.append(f'<text x="{LEFT - 6}" y="{at + 4:.1f}" text-anchor="end">{escape(y_text(value))}</text>')
        for value in nice(self.x_end, self.width // 80):
            at = self.x(value)
            self.parts.append(f'<line class="axis" x1="{at:.1f}" x2="{at:.1f}" y1="{bottom}" y2="{bottom + 4}"/>')
            self.parts.append(f'<text x="{at:.1f}" y="{bottom + 17}" text-anchor="middle">{value:,.0f}</text>')
        self.parts.append(f'<line class="axis" x1="{LEFT}" x2="{right}" y1="{bottom}" y2="{bottom}"/>')
        self.parts.append(
            f'<text x="{(LEFT + right) / 2:.0f}" y="{self.height - 5}" text-anchor="middle">{escape(x_label)}</text>'
        )

    def line(self, xs: Sequence[float], ys: Sequence[float], kind: str) -> None:
        """A line through the points."""
        points = ' '.join(f'{self.x(x):.1f},{self.y(y):.1f}' for x, y in zip(xs, ys, strict=True))
        self.parts.append(f'<polyline class="{kind}" points="{points}"/>')

    def band(self, xs: Sequence[float], lows: Sequence[float], highs: Sequence[float], kind: str) -> None:
        """The area between two lines."""
        there = [f'{self.x(x):.1f},{self.y(y):.1f}' for x, y in zip(xs, lows, strict=True)]
        back = [f'{self.x(x):.1f},{self.y(y):.1f}' for x, y in zip(xs, highs, strict=True)]
        self.parts.append(f'<polygon class="{kind}" points="{" ".join(there + back[::-1])}"/>')

    def dot(self, x: float, y: float, kind: str, about: str) -> None:
        """A point; ``about`` shows under a mouse."""
        place = f'cx="{self.x(x):.1f}" cy="{self.y(y):.1f}"'
        self.parts.append(f'<circle class="{kind}" {place} r="3"><title>{escape(about)}</title></circle>')

    def text(self, x: float, y: float, text: str, kind: str) -> None:
        """A word that ends at a place."""
        place = f'x="{self.x(x):.1f}" y="{self.y(y) - 5:.1f}"'
        self.parts.append(f'<text class="{kind}" {place} text-anchor="end">{escape(text)}</text>')

    def svg(self, screen: str, about: str) -> str:
        """The element; ``about`` is for those who cannot see it."""
        return (
            f'<svg class="chart {screen}" viewBox="0 0 {self.width} {self.height}" role="img" '
            f'aria-label="{escape(about)}">{"".join(self.parts)}</svg>'
        )


def for_screens(x_end: float, y_end: float, draw: Callable[[Chart], None], about: str) -> str:
    """The chart that ``draw`` fills, for each width of screen."""
    found = []
    for screen, width, height in SCREENS:
        chart = Chart(width, height, x_end, y_end)
        draw(chart)
        found.append(chart.svg(screen, about))
    return ''.join(found)


def interval(rate: Rate) -> str:
    """A rate and its interval on a scale from 0 to 100 %."""
    low, high, at = (f'{100 * value:.1f}' for value in (rate.low, rate.high, rate.success))
    return (
        '<svg class="interval" viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true">'
        '<line class="grid" x1="0" x2="100" y1="5" y2="5"/>'
        f'<line class="whisker" x1="{low}" x2="{high}" y1="5" y2="5"/>'
        f'<line class="value" x1="{at}" x2="{at}" y1="0" y2="10"/></svg>'
    )
