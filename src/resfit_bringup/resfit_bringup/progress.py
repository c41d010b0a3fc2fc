"""Progress for people: one live line on a terminal, a line every few seconds elsewhere."""

from __future__ import annotations

import sys
import time
from types import TracebackType

from resfit_learner.curve import WINDOW

EVERY = 10.0  # s between lines where there is no terminal


class Progress:
    """Stage, step, steps/s, success of the last 50 episodes, time left."""

    def __init__(self, stage: str, total: int, unit: str = 'steps') -> None:
        self.stage, self.total, self.unit = stage, total, unit
        self._started = self._shown = time.monotonic()
        self._first: int | None = None
        self._live = sys.stderr.isatty()
        self._finished = False
        self._width = 0
        self._show(f'{stage}: {total} {unit}')

    def update(self, done: int, extra: str = '') -> None:
        """Show that ``done`` of the total are done; ``extra`` is appended."""
        if self._first is None:
            self._first, self._started = done, time.monotonic()
        now = time.monotonic()
        finished = done >= self.total and not self._finished
        if now - self._shown < (0.2 if self._live else EVERY) and not finished:
            return
        self._shown, self._finished = now, self._finished or finished
        rate = (done - self._first) / max(now - self._started, 1e-6)
        left = (self.total - done) / rate if rate > 0 else 0.0
        line = f'{self.stage}: {done}/{self.total} {self.unit}'
        if rate > 0:
            line += f'  {rate:.0f}/s  {int(left) // 60}:{int(left) % 60:02d} left'
        self._show(line + (f'  {extra}' if extra else ''))

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            sys.stderr.write('\n')

    def _show(self, line: str) -> None:
        if self._live:
            sys.stderr.write('\r' + line.ljust(self._width))
            self._width = len(line)
        else:
            sys.stderr.write(line + '\n')
        sys.stderr.flush()


def window(success: list[bool], size: int = WINDOW) -> str:
    """Success over the newest episodes, as text."""
    newest = success[-size:]
    return f'success {sum(newest) / len(newest):.0%} of last {len(newest)}' if newest else 'no episode yet'
