"""RViz markers of a run. All are in the frame ``world``, with a zero stamp: they hold for the newest transform.

Each kind has a namespace of its own, ids are indices, and nothing expires: a marker stays until it is replaced or
deleted. So what belongs to an episode is deleted, with all the rest, when the next one is set up.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from geometry_msgs.msg import Point
from numpy.typing import NDArray
from visualization_msgs.msg import Marker

from resfit_policy.episode_log import Phase

FRAME = 'world'
TEXT, OBJECTS, RESIDUAL = 'run', 'objects', 'residual'  # namespaces
COLOURS = {Phase.RUNNING: (1.0, 1.0, 1.0), Phase.SUCCESS: (0.2, 0.8, 0.3), Phase.FAILURE: (0.9, 0.3, 0.2)}
SHORTEST = 1e-3  # m; an arrow without length has no direction to be drawn in


def delete_all() -> Marker:
    """Deletes every marker of the topic."""
    return Marker(action=Marker.DELETEALL)


def text(lines: Sequence[str], phase: Phase) -> Marker:
    """Lines above the robot, in the colour of the phase."""
    marker = _marker(TEXT, 0, Marker.TEXT_VIEW_FACING, (0.0, 0.0, 1.9), COLOURS.get(phase, (0.7, 0.7, 0.7)))
    marker.text, marker.scale.z = '\n'.join(lines), 0.08
    return marker


def objects(positions: Iterable[Sequence[float]]) -> list[Marker]:
    """A sphere per object, at the position [m] that the policy sees."""
    spheres = []
    for index, position in enumerate(positions):
        sphere = _marker(OBJECTS, index, Marker.SPHERE, position, (0.95, 0.6, 0.2))
        sphere.scale.x = sphere.scale.y = sphere.scale.z = 0.05
        spheres.append(sphere)
    return spheres


def arrows(base: NDArray[np.float64], executed: NDArray[np.float64]) -> list[Marker]:
    """An arrow per hand from where the base would have it to where it is sent, (H, 3) m each.

    One that is too short to be drawn is deleted.
    """
    made = []
    for index, (start, end) in enumerate(zip(base, executed, strict=True)):
        arrow = _marker(RESIDUAL, index, Marker.ARROW, (0.0, 0.0, 0.0), (0.2, 0.7, 1.0))
        if np.linalg.norm(end - start) < SHORTEST:
            arrow.action = Marker.DELETE
        arrow.points = [Point(x=float(x), y=float(y), z=float(z)) for x, y, z in (start, end)]
        arrow.scale.x, arrow.scale.y = 0.008, 0.02  # m, diameters of shaft and head
        made.append(arrow)
    return made


def _marker(space: str, index: int, kind: int, at: Sequence[float], colour: tuple[float, float, float]) -> Marker:
    marker = Marker(ns=space, id=index, type=kind, action=Marker.ADD)
    marker.header.frame_id = FRAME
    marker.pose.position.x, marker.pose.position.y, marker.pose.position.z = (float(value) for value in at)
    marker.pose.orientation.w = 1.0
    marker.color.r, marker.color.g, marker.color.b = colour
    marker.color.a = 1.0
    return marker
