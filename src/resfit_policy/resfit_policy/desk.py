"""What an operator does, whatever the device: labels, corrections, abort, the scene that is ready, the emergency stop.

``resfit label`` is a desk with keys, ``joystick_node`` one with buttons. Several may be open at once: the newest label
wins, and each is kept with the name of who gave it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rclpy.node import Node
from std_msgs.msg import String
from std_srvs.srv import SetBool, Trigger

from resfit_msgs.msg import EpisodeState, Reward
from resfit_msgs.srv import LabelEpisode
from resfit_policy.episode_log import Phase
from resfit_policy.ros import EVENT, LATCHED

ACTIONS = ('success', 'failure', 'abort', 'undo', 'ready', 'stop', 'release')


class Desk:
    """Turns actions into calls of the reward node's and the streamer's services, and says what came of them."""

    def __init__(self, node: Node, operator: str, say: Callable[[str], None]) -> None:
        """``operator``: who labels, for the record. ``say`` is given one line per answer or change."""
        self.operator, self.say = operator, say
        self.phase, self.episode_id = Phase.IDLE, 0
        self.labels: dict[int, list[bool]] = {}  # of each episode since the desk was opened, oldest first
        node.create_subscription(EpisodeState, 'episode', self.on_episode, LATCHED)
        node.create_subscription(Reward, 'reward', self.on_reward, EVENT)
        node.create_subscription(String, 'attention', self.on_attention, LATCHED)
        self.label = node.create_client(LabelEpisode, 'label')
        self.stop = node.create_client(SetBool, 'set_emergency_stop')
        self.triggers = {name: node.create_client(Trigger, name) for name in ('ready', 'abort')}

    def on_episode(self, message: EpisodeState) -> None:
        """The reward node's state."""
        before, self.phase, self.episode_id = (self.phase, self.episode_id), Phase(message.phase), message.episode_id
        if (self.phase, self.episode_id) != before:
            self.say(f'episode {self.episode_id}: {self.phase.name.lower()}')

    def on_reward(self, message: Reward) -> None:
        """A label, of whoever gave it."""
        if message.source != Reward.SCRIPT:  # that of an aborted episode is none
            self.labels.setdefault(message.episode_id, []).append(message.success)

    def on_attention(self, message: String) -> None:
        """What an operator is asked for, '' for nothing."""
        if message.data:
            self.say(message.data)

    def act(self, action: str, episode_id: int = 0) -> None:
        """Do one of ``ACTIONS``; success and failure are of ``episode_id``, 0: the running one, or the newest over.

        Raises ValueError for another action.
        """
        if action in ('success', 'failure'):
            request = LabelEpisode.Request(episode_id=episode_id, success=action == 'success')
            request.operator_name = self.operator
            self.call(self.label, request)
        elif action == 'undo':
            self.undo()
        elif action in ('stop', 'release'):
            self.call(self.stop, SetBool.Request(data=action == 'stop'))
        elif action in self.triggers:
            self.call(self.triggers[action], Trigger.Request())
        else:
            raise ValueError(f'{action}: choose one of {", ".join(ACTIONS)}')

    def undo(self) -> None:
        """Give the newest corrected episode the label back that it had before."""
        corrected = [episode for episode, given in self.labels.items() if len(given) > 1]
        if not corrected:
            self.say('nothing to undo: a label is corrected with success or failure')
            return
        newest = max(corrected)
        request = LabelEpisode.Request(episode_id=newest, success=self.labels[newest][-2])
        request.operator_name = self.operator
        self.call(self.label, request)

    def call(self, client: Any, request: Any) -> None:
        """Call a service; what it answers is said when it comes."""
        if not client.service_is_ready():
            self.say(f'nobody serves {client.srv_name}: is the graph running, in this ROS domain and namespace?')
            return
        client.call_async(request).add_done_callback(self.on_answer)

    def on_answer(self, future: Any) -> None:
        """A service's answer."""
        answer = future.result()
        self.say(answer.message if answer.success else f'refused: {answer.message}')
