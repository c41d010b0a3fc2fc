"""The reward node's side of the operator's desk: what operators may ask of it, and what it asks of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rclpy.node import Node
from std_msgs.msg import String
from std_srvs.srv import Trigger

from resfit_msgs.srv import LabelEpisode
from resfit_policy.episode_log import Phase
from resfit_policy.episode_machine import EpisodeMachine, Outcome
from resfit_policy.labels import Label, Labels, Refused
from resfit_policy.ros import LATCHED

STOP = 'the emergency stop to be released: call set_emergency_stop with data: false'


class Operators:
    """Services ``label``, ``ready`` and ``abort``, and the topic ``attention``. Any number of operators may call."""

    def __init__(
        self,
        node: Node,
        machine: EpisodeMachine,
        labels: Labels,
        set_scene: bool,
        run: Callable[[int], None],
        end: Callable[[Outcome | None], None],
        publish: Callable[[Label], None],
    ) -> None:
        """``set_scene``: operators do, not the simulation. ``run`` is given the stamp [ns] from which on it is set."""
        self.node, self.machine, self.labels = node, machine, labels
        self.set_scene, self.run, self.end, self.publish = set_scene, run, end, publish
        self.stopped = False  # emergency stop
        self.last = 0  # newest episode of the log
        self.asked_for = ''
        self.attention = node.create_publisher(String, 'attention', LATCHED)
        self.attention.publish(String())
        node.create_service(LabelEpisode, 'label', self.on_label)
        node.create_service(Trigger, 'ready', self.on_ready)
        node.create_service(Trigger, 'abort', self.on_abort)

    def ask(self) -> None:
        """Say what is asked for now, '' for nothing: the scene, a label, or the release of the emergency stop."""
        wanted = ''
        if self.machine.doubtful:
            wanted = f'episode {self.machine.episode_id} is doubtful: label it success or failure'
        elif self.machine.phase == Phase.RESETTING and self.set_scene:
            wanted = f'waiting for {STOP}' if self.stopped else 'set the scene, then say that it is ready'
        if wanted != self.asked_for:
            self.asked_for = wanted
            self.attention.publish(String(data=wanted))
            if wanted:
                self.node.get_logger().warning(wanted)

    def on_label(self, request: Any, response: Any) -> Any:
        """A label: ends the running episode, or corrects one that is over."""
        machine, name = self.machine, request.operator_name
        response.success = True
        if machine.phase == Phase.RUNNING and request.episode_id in (0, machine.episode_id):
            if not machine.begun_to_act:
                response.success, response.message = False, 'the policy has not acted yet: abort, or label it later'
                return response
            self.labels.give(machine.episode_id, request.success, name)
            self.end(machine.on_label(request.success))
            over = machine.phase != Phase.RUNNING
            response.message = f'it is over: {machine.phase.name}' if over else 'the episode ends at the next step'
            return response
        busy = machine.episode_id if machine.phase in (Phase.RUNNING, Phase.RESETTING) else 0
        try:
            label = self.labels.correct(request.episode_id, request.success, name, last=self.last, busy=busy)
        except Refused as problem:
            response.success, response.message = False, str(problem)
            return response
        self.publish(label)
        response.revision = label.revision
        response.message = f'episode {label.episode_id} is now labelled by {name or "an operator"}'
        return response

    def on_ready(self, request: Any, response: Any) -> Any:
        """The scene has been set."""
        asked_for = self.set_scene and self.machine.phase == Phase.RESETTING
        response.success = asked_for and not self.stopped
        response.message = 'running' if response.success else f'not asked for: {self.machine.phase.name}'
        if asked_for and self.stopped:
            response.message = f'waiting for {STOP}'
        if response.success:
            self.run(self.node.get_clock().now().nanoseconds)
        return response

    def on_abort(self, request: Any, response: Any) -> Any:
        """The running episode ends without a result: nothing is learned from it."""
        response.success = self.machine.phase == Phase.RUNNING
        response.message = f'episode {self.machine.episode_id} is aborted' if response.success else 'no episode runs'
        if response.success:
            self.end(self.machine.abort())
        return response
