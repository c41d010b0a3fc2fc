"""RViz markers: objects as the policy sees them, and the state of the run as text."""

from __future__ import annotations

from visualization_msgs.msg import Marker, MarkerArray

from resfit_msgs.msg import EpisodeState
from resfit_policy.convert import set_stamp
from resfit_policy.episode_log import Arm, Phase
from resfit_policy.runtime import PolicyRuntime
from resfit_policy.sampler import Sampler
from resfit_policy.task import Task

COLOURS = {Phase.RUNNING: (1.0, 1.0, 1.0), Phase.SUCCESS: (0.2, 0.8, 0.3), Phase.FAILURE: (0.9, 0.3, 0.2)}


def overview(task: Task, sampler: Sampler, episode: EpisodeState, runtime: PolicyRuntime) -> MarkerArray:
    """One sphere per object pose, and one line of text above the robot."""
    phase, arm = Phase(episode.phase), Arm(episode.arm)
    stamp = max(sampler.stamp, 0)
    text = _marker('run', 0, stamp, Marker.TEXT_VIEW_FACING, (0.0, 0.0, 1.9), 0.08)
    text.text = (
        f'{task.name}  episode {episode.episode_id}  {arm.name}  {phase.name}'
        f'\nauthority {runtime.authority:.2f}  weights {runtime.version}'
    )
    text.color.r, text.color.g, text.color.b = COLOURS.get(phase, (0.7, 0.7, 0.7))
    spheres = []
    for index, pose in enumerate(sampler.object_positions()):
        sphere = _marker('objects', index, stamp, Marker.SPHERE, pose, 0.05)
        sphere.color.r, sphere.color.g, sphere.color.b = 0.95, 0.6, 0.2
        spheres.append(sphere)
    return MarkerArray(markers=[text, *spheres])


def _marker(space: str, index: int, stamp: int, kind: int, at: tuple[float, float, float], size: float) -> Marker:
    marker = Marker(ns=space, id=index, type=kind, action=Marker.ADD)
    marker.header.frame_id = 'world'
    set_stamp(marker.header.stamp, stamp)
    marker.pose.position.x, marker.pose.position.y, marker.pose.position.z = at
    marker.pose.orientation.w = 1.0
    marker.scale.x = marker.scale.y = marker.scale.z = size
    marker.color.a = 1.0
    return marker
