"""What may take the policy's authority away: the dial, the fall-back, the emergency stop.

The policy node asks ``stopped`` before it acts and gives ``authority`` to its runtime. The streamer, another process,
keeps the stop; this side only ceases to act, and repeats the stop for a streamer that starts anew.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic
from typing import Any

from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from std_msgs.msg import Bool

from resfit_msgs.msg import AuthorityState, EpisodeState, LearnerStatus
from resfit_msgs.srv import SetAuthority
from resfit_policy.episode_log import Arm, Phase
from resfit_policy.fallback import Fallback, FallbackConfig
from resfit_policy.ros import LATCHED


@dataclass(frozen=True)
class GuardOptions:
    """Start values of a guard."""

    authority: float  # [0, 1]
    base: tuple[int, int] | None  # successes and episodes of the base alone, None where nobody has counted
    silence: float | None  # s without a heartbeat of the learner, None where there is to be none


class Guard:
    """The policy node's authority: ``authority`` in [0, 1], ``stopped``, ``reason``."""

    def __init__(self, node: Node, options: GuardOptions, changed: Callable[[], None]) -> None:
        """``changed`` is called after authority or stop have changed. Raises ValueError for a bad base count."""
        self.node, self.changed = node, changed
        self.fallback = Fallback(options.base, FallbackConfig(silence=options.silence) if options.silence else None)
        self.authority, self.stopped, self.reason = options.authority, False, ''
        self.helped = False  # a person took over in this episode: its success is not the policy's
        self.state = node.create_publisher(AuthorityState, 'policy/authority', LATCHED)
        self.stop = node.create_publisher(Bool, 'emergency_stop', LATCHED)
        node.create_service(SetAuthority, 'set_authority', self.on_authority)
        node.create_subscription(Bool, 'emergency_stop', self.on_stop, LATCHED)
        if options.silence:
            node.create_subscription(LearnerStatus, 'learner/status', self.on_learner, LATCHED)
        node.create_timer(0.5, self.look, clock=Clock(clock_type=ClockType.STEADY_TIME))
        self.publish()

    def on_authority(self, request: Any, response: Any) -> Any:
        """Set the residual's share. A share above 0 says that whatever was wrong is known and mended."""
        if not (math.isfinite(request.authority) and 0 <= request.authority <= 1):
            response.success, response.message = False, 'authority must lie in [0, 1]'
            return response
        if request.authority > 0:
            self.fallback.clear()
        self.set(float(request.authority), '')
        response.success, response.message = True, f'authority is {request.authority:.3f}'
        return response

    def on_stop(self, message: Bool) -> None:
        """Anyone may stop the robot. What says that it goes on comes from the streamer, which keeps the stop."""
        if message.data == self.stopped:
            return
        self.stopped = message.data
        self.stop.publish(message)  # a streamer that starts anew hears it from here
        self.node.get_logger().error('emergency stop' if self.stopped else 'the emergency stop was released')
        self.publish()
        self.changed()

    def on_learner(self, message: LearnerStatus) -> None:
        """A heartbeat of the learner."""
        if message.updates:
            self.fallback.learner_seen(monotonic(), message.q_mean, message.critic_loss)
        self.look()

    def on_episode(self, message: EpisodeState) -> None:
        """An episode begins or is over."""
        if message.phase == Phase.RUNNING:
            self.helped = False
        elif message.phase in (Phase.SUCCESS, Phase.FAILURE, Phase.TIMEOUT) and not self.helped:
            self.fallback.episode(Arm(message.arm), message.phase == Phase.SUCCESS)
            self.look()

    def look(self) -> None:
        """Fall back where there is reason to."""
        reason = self.fallback.check(monotonic())
        if reason and self.authority > 0:
            self.node.get_logger().error(f'authority falls to 0, the base acts alone: {reason}')
            self.set(0.0, reason)

    def set(self, authority: float, reason: str) -> None:
        """Turn the dial."""
        self.authority, self.reason = authority, reason
        self.publish()
        self.changed()

    def publish(self) -> None:
        """Say how things stand."""
        reason = 'emergency stop' if self.stopped else self.reason
        message = AuthorityState(authority=self.authority, stopped=self.stopped, reason=reason)
        message.header.stamp = self.node.get_clock().now().to_msg()
        self.state.publish(message)
