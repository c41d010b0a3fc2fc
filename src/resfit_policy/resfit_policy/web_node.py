"""The operator's page: cameras, the state of the run, and a desk with buttons, in any browser, also a phone's.

Messages become the page's state here and its commands those of the desk. The page is served from a thread of its own,
which hands over what it hears.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from functools import partial
from importlib.resources import files
from time import monotonic
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rcl_interfaces.srv import GetParameters
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import Image
from std_msgs.msg import Bool

from resfit_msgs.msg import AuthorityState, EpisodeState, LearnerStatus, PolicyStep, ReplayStatus, Reward
from resfit_msgs.srv import SetAuthority
from resfit_policy.convert import image_to_jpeg
from resfit_policy.desk import Desk
from resfit_policy.health import Health, State
from resfit_policy.page_state import PageState
from resfit_policy.ros import COMMAND, EVENT, LATCHED, SENSOR, declare, param, run_node
from resfit_policy.task import ConfigError, load_task
from resfit_policy.web_access import link, listen, make_access
from resfit_policy.web_server import Command, PageServer

PERIOD = 0.1  # s between two states, if something has changed
PULSE = 0.5  # s between two states, if nothing has: a page that hears less says that the connection is lost


@dataclass(frozen=True)
class Parameters:
    """Parameters of the page."""

    task: str = param('woolly_ball', 'task name, or path of a task YAML')
    address: str = param('127.0.0.1', 'where to listen; 0.0.0.0 for all of the network, which needs the token')
    port: int = param(8080, 'TCP port; 0: a free one')
    token: str = param(
        '', 'what the address of the page must have as ?token=; empty: none on localhost, else a new one'
    )
    base_successes: int = param(0, 'of base_episodes, to compare with while the base alone is not run')
    base_episodes: int = param(0, 'episodes in which the base alone was counted; 0: nobody has')
    camera_hz: float = param(15.0, 'Hz, the most that is shown of a camera; nothing is while no page is open')
    camera_width: int = param(640, 'pixels, the most of a picture on the page')


class WebNode(Node):
    """Thin shell around ``Desk``, ``PageState`` and ``PageServer``."""

    def __init__(self) -> None:
        super().__init__('web_node')
        self.parameters = parameters = declare(self, Parameters)
        if not (parameters.camera_hz > 0 and parameters.camera_width > 0):
            raise ConfigError('parameters camera_hz and camera_width must be above 0')
        if not 0 <= parameters.base_successes <= parameters.base_episodes:
            raise ConfigError('parameter base_successes must be from 0 to base_episodes')
        self.task = load_task(parameters.task)
        counted = (parameters.base_successes, parameters.base_episodes) if parameters.base_episodes else None
        self.page = PageState(self.task.name, self.task.cameras, counted)
        self.desk = Desk(self, '', self.page.say)
        self.inbox: deque[Command] = deque()
        self.shown: dict[str, Any] = {}
        self.pulse = 0.0  # s, when the page was last told something
        self.open_until = 0.0  # s, until when the reward node's word counts that the session is not blind
        self.pictures: list[Any] = []  # subscriptions, while somebody looks
        self.due = dict.fromkeys(self.task.cameras, 0.0)  # s, the next picture

        self.health = Health(self, self.state, ('episode', 'step', 'picture'))
        self.set_authority = self.create_client(SetAuthority, 'set_authority')
        self.ask = self.create_client(GetParameters, 'reward_node/get_parameters')
        self.others = {'reward_node': self.desk.label, 'streamer_node': self.desk.stop}
        self.others['policy_node'] = self.set_authority
        self.silent = list(self.others)  # of them, those that are not there
        self.create_subscription(EpisodeState, 'episode', self.on_episode, LATCHED)
        self.create_subscription(Reward, 'reward', self.page.on_reward, EVENT)
        self.create_subscription(PolicyStep, 'policy/step', self.on_step, COMMAND)
        self.create_subscription(AuthorityState, 'policy/authority', self.page.on_authority, LATCHED)
        self.create_subscription(Bool, 'emergency_stop', self.on_stop, EVENT)
        self.create_subscription(LearnerStatus, 'learner/status', self.on_learner, LATCHED)
        self.create_subscription(ReplayStatus, 'replay/status', self.page.on_replay, LATCHED)
        self.create_subscription(DiagnosticArray, 'diagnostics', self.on_diagnostics, EVENT)
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(PERIOD, self.look, clock=steady)
        self.create_timer(1.0, self.ask_around, clock=steady)

        access = make_access(parameters.address, parameters.token)
        listener = listen(parameters.address, parameters.port)
        html = (files('resfit_policy') / 'page.html').read_bytes()
        self.server = PageServer(listener, access, html, self.on_command, self.wake)
        self.get_logger().info(f"the operator's page: {link(access, listener)}")

    def on_command(self, command: Command) -> None:
        """Called in the server's thread."""
        self.inbox.append(command)
        self.wake()

    def wake(self) -> None:
        """Have ``look`` called in the executor's thread, now."""
        if self.executor is not None:
            self.executor.create_task(self.look)

    def look(self) -> None:
        """Do what was asked for, and show what has changed, if somebody looks."""
        while self.inbox:
            self.obey(self.inbox.popleft())
        viewers = self.server.viewers
        if bool(viewers) != bool(self.pictures):
            self.watch(viewers > 0)
        if not viewers:
            return
        now = monotonic()
        view = self.page.view(now, self.blind, self.silent)
        if view != self.shown or now - self.pulse > PULSE:
            self.shown, self.pulse = view, now
            self.server.show(view)

    @property
    def blind(self) -> bool:
        """Whether nobody may know who acts; so it is until the reward node says that it is not."""
        return monotonic() > self.open_until

    def obey(self, command: Command) -> None:
        """One command of a page."""
        self.get_logger().info(f'{command.name}: {command.action}')
        self.page.say(f'{command.name}: {command.action}')
        if command.action == 'authority' and self.blind:
            self.page.say('refused: in a blind session nobody turns the dial')
        elif command.action == 'authority':
            self.desk.call(self.set_authority, SetAuthority.Request(authority=command.authority))
        else:
            self.desk.operator = command.name
            self.desk.act(command.action, command.episode_id)

    def watch(self, wanted: bool) -> None:
        """Subscribe to the cameras, or cease to."""
        for subscription in self.pictures:
            self.destroy_subscription(subscription)
        self.pictures = []
        for camera in self.task.cameras if wanted else ():
            heard = partial(self.on_image, camera)
            self.pictures.append(self.create_subscription(Image, f'{camera}/image', heard, SENSOR, raw=True))

    def on_image(self, camera: str, data: bytes) -> None:
        """Encode a camera's picture once for all who look, if it is time for one and somebody is ready for it."""
        now, index = monotonic(), self.task.cameras.index(camera)
        if now < self.due[camera] or not self.server.wanted(index):
            return
        self.due[camera] = max(self.due[camera] + 1 / self.parameters.camera_hz, now)
        try:
            jpeg = image_to_jpeg(deserialize_message(data, Image), self.parameters.camera_width)
        except ValueError as error:
            self.page.on_diagnostics(camera, str(error), now)
            return
        self.health.took('encode', 1e3 * (monotonic() - now))
        self.health.saw('picture')
        self.server.picture(index, jpeg)

    def on_episode(self, message: EpisodeState) -> None:
        """A new phase."""
        self.health.saw('episode')
        self.page.on_episode(message)

    def on_step(self, message: PolicyStep) -> None:
        """A control step."""
        self.health.saw('step')
        self.page.on_step(message)

    def on_stop(self, message: Bool) -> None:
        """The emergency stop, before the policy repeats it."""
        self.page.stopped = message.data

    def on_learner(self, message: LearnerStatus) -> None:
        """A heartbeat of the learner."""
        self.page.on_learner(message, monotonic())

    def on_diagnostics(self, message: DiagnosticArray) -> None:
        """What the nodes say about themselves."""
        for status in message.status:
            problem = '' if status.level == DiagnosticStatus.OK else status.message
            self.page.on_diagnostics(status.name, problem, monotonic())

    def ask_around(self) -> None:
        """Who is there, and whether the session is blind."""
        self.silent = [name for name, client in self.others.items() if not client.service_is_ready()]
        if self.ask.service_is_ready():
            self.ask.call_async(GetParameters.Request(names=['blind'])).add_done_callback(self.on_blind)

    def on_blind(self, future: Any) -> None:
        """The reward node's word."""
        answer = future.result()
        if answer is not None and answer.values and not answer.values[0].bool_value:
            self.open_until = monotonic() + 3.0
        else:
            self.open_until = 0.0

    def state(self) -> State:
        """For ``diagnostics``."""
        return '', 'serving', {'viewers': self.server.viewers}

    def close(self) -> None:
        """Say goodbye to the pages."""
        self.server.close()


def main() -> None:
    """Entry point."""
    run_node(WebNode, WebNode.close)
