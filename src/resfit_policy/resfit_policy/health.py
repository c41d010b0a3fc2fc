"""What every node says about itself on ``diagnostics``, once a second."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from time import monotonic

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.clock import Clock, ClockType
from rclpy.node import Node

PERIOD = 1.0  # s
# What is wrong ('' for nothing), what the node is doing, and its values by name.
State = tuple[str, str, Mapping[str, float | int | str]]


class Health:
    """Counts what a node hears and sends, and reports it with the node's own state.

    For each stream there is a rate and an age: ``joint_states_hz``, over the last second, and ``joint_states_age_s``,
    wall time since the newest one ('never' before the first). For each duration that was measured there are
    ``step_ms_p50`` and ``step_ms_p99``, over the last second.
    """

    def __init__(self, node: Node, state: Callable[[], State], streams: tuple[str, ...] = ()) -> None:
        """``state`` is asked once a second. ``streams``: those that are reported before their first message, too."""
        self._node, self._state = node, state
        self._counts: dict[str, int] = dict.fromkeys(streams, 0)
        self._newest: dict[str, float] = {}
        self._took: dict[str, list[float]] = {}
        self._reported = monotonic()
        self._publisher = node.create_publisher(DiagnosticArray, 'diagnostics', 10)
        node.create_timer(PERIOD, self.report, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def saw(self, stream: str) -> None:
        """A message came or went."""
        self._counts[stream] = self._counts.get(stream, 0) + 1
        self._newest[stream] = monotonic()

    def took(self, what: str, milliseconds: float) -> None:
        """Something took that long."""
        self._took.setdefault(what, []).append(milliseconds)

    def report(self) -> None:
        """Publish what was counted since the last report."""
        problem, doing, values = self._state()
        now = monotonic()
        pairs: dict[str, float | int | str] = {}
        for stream, count in self._counts.items():
            pairs[f'{stream}_hz'] = count / max(now - self._reported, 1e-3)
            pairs[f'{stream}_age_s'] = now - self._newest[stream] if stream in self._newest else 'never'
            self._counts[stream] = 0
        for what, times in self._took.items():
            for share in (50, 99):
                pairs[f'{what}_ms_p{share}'] = float(np.percentile(times, share)) if times else 0.0
            times.clear()
        self._reported = now
        status = DiagnosticStatus(
            name=self._node.get_fully_qualified_name().removeprefix('/'),
            level=DiagnosticStatus.WARN if problem else DiagnosticStatus.OK,
            message=problem or doing,
            values=[KeyValue(key=key, value=_text(value)) for key, value in {**pairs, **values}.items()],
        )
        message = DiagnosticArray(status=[status])
        message.header.stamp = self._node.get_clock().now().to_msg()
        self._publisher.publish(message)


def disk_free_gb(folder: Path) -> float:
    """GB left on the disk of a folder."""
    return shutil.disk_usage(folder).free * 1e-9


def _text(value: float | int | str) -> str:
    return f'{value:.3f}' if isinstance(value, float) else str(value)
