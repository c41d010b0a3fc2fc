"""A base behind the service PredictChunk: a policy of any size, in any process, on any machine.

Both ends are here: the client that a policy node acts with, and what a server makes of a request.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import numpy as np
import rclpy
from rclpy.node import Node

from resfit_msgs.srv import PredictChunk
from resfit_policy.ahead import Ahead, AheadConfig, Chunk, in_worker
from resfit_policy.base_policy import REMOTE, load_base
from resfit_policy.convert import floats, set_stamp, to_array
from resfit_policy.observation import NO_IMAGES, BasePolicy, Float, Observation
from resfit_policy.sampler import NotReady
from resfit_policy.task import ConfigError, Task, parse_config

PATIENCE = 60.0  # s that somebody with time waits for one action of a remote base

Moment = Callable[[], tuple[int, int]]  # episode id, and ns of ROS time of the newest joint states


def make_base(node: Node, given: Any, task: Task, moment: Moment, wake: Callable[[], None]) -> BasePolicy:
    """The base that a policy node acts with: ``ros:<service>``, or one of this process, asked ahead if so configured.

    ``given``: the node's parameters base, base_ahead, base_execute, base_deadline, and max_age, which is 0 in lockstep.
    ``wake`` is called in the node's executor when an answer has come. Raises ConfigError.
    """
    values = {'ahead': given.base_ahead, 'execute': given.base_execute, 'deadline': given.base_deadline}
    config = parse_config(AheadConfig, {**values, 'patient': given.max_age == 0}, 'parameters base_...')
    if given.base.startswith(REMOTE):
        client = _Client(node, given.base.removeprefix(REMOTE), task, moment)
        return Ahead(client, task.action_size, config, _waker(node, wake))
    base = load_base(given.base, task)
    return in_worker(base, task.action_size, config, _waker(node, wake)) if config.ahead else base


def waiting_base(node: Node, where: str, task: Task, deadline: float = 10.0) -> BasePolicy:
    """The base ``where`` for somebody who has time, as when demonstrations are labelled. Raises ConfigError."""
    if not where.startswith(REMOTE):
        return load_base(where, task)
    config = AheadConfig(deadline=deadline, patient=True)
    count = iter(range(1, 2**63))
    episode = [0]
    client = _Client(node, where.removeprefix(REMOTE), task, lambda: (episode[0], 0))
    base = Ahead(client, task.action_size, config, forget=lambda: episode.__setitem__(0, next(count)))
    return Waiting(base, lambda: rclpy.spin_once(node, timeout_sec=0.05), where)


class Waiting:
    """A base that is late, for a caller that can wait."""

    def __init__(self, base: BasePolicy, spin: Callable[[], None], where: str) -> None:
        self._base, self._spin, self._where = base, spin, where

    def reset(self) -> None:
        """Forget the last episode."""
        self._base.reset()

    def act(self, observation: Observation) -> Float:
        """Action (A,) rad. Raises ConfigError where there is none within PATIENCE."""
        end = time.monotonic() + PATIENCE
        while True:
            try:
                return self._base.act(observation)
            except NotReady as problem:
                if time.monotonic() > end:
                    raise ConfigError(f'base {self._where}: {problem}') from None
            self._spin()


class _Client:
    """Asks a server, and turns its response into a chunk."""

    def __init__(self, node: Node, service: str, task: Task, moment: Moment) -> None:
        if not service:
            raise ConfigError('base "ros:" names no service: give "ros:predict_chunk", or what the server calls it')
        self._task, self._moment = task, moment
        self._client = node.create_client(PredictChunk, service)

    def __call__(self, observation: Observation, step: int) -> Future[Chunk]:
        answer: Future[Chunk] = Future()
        if not self._client.service_is_ready():
            answer.set_exception(NotReady(f'there is no server of {self._client.srv_name}'))
            return answer
        episode_id, stamp = self._moment()
        call = self._client.call_async(fill_request(self._task, observation, episode_id, step, stamp))
        answer.add_done_callback(lambda given_up: self._client.remove_pending_request(call))

        def arrived(call: Any) -> None:
            if answer.cancelled():
                return
            try:
                answer.set_result(read_response(call.result(), self._task))
            except (NotReady, ValueError) as problem:
                answer.set_exception(problem)

        call.add_done_callback(arrived)
        return answer


def fill_request(task: Task, observation: Observation, episode_id: int, step: int, stamp: int) -> Any:
    """A request for the chunk due in ``observation``; ``stamp`` in ns."""
    request = PredictChunk.Request(episode_id=episode_id, step=step, joint_names=list(task.robot.names))
    set_stamp(request.header.stamp, stamp)
    request.instruction = task.instruction or task.name
    request.state = to_array(observation.state)
    if len(observation.images):
        request.camera_names = list(task.cameras)
        request.images = to_array(observation.images, 'B')
        request.image_height, request.image_width = observation.images.shape[1:3]
    return request


def read_response(response: Any, task: Task) -> Chunk:
    """A server's chunk; what it holds is checked by ``Ahead``. Raises NotReady where it is none, or of other joints."""
    if not response.success:
        raise NotReady(f'the server says: {response.message or "nothing"}')
    names, size = tuple(response.joint_names), task.action_size
    if names != task.robot.names:
        wrong = next((name for name, wanted in zip(names, task.robot.names, strict=False) if name != wanted), 'its end')
        raise NotReady(f'a chunk is for other joints, or in another order ({len(names)} of {size}, from {wrong} on)')
    actions = floats(response.actions)
    if actions.size % size:
        raise NotReady(f'a chunk has {actions.size} numbers, which are no rows of {size}')
    actions = actions.reshape(-1, size)
    return Chunk(actions, int(response.execute) or len(actions))


def read_request(request: Any, task: Task) -> Observation:
    """What the server's base sees; ``task`` as that base sees it. Raises ValueError where the request does not fit."""
    if tuple(request.joint_names) != task.robot.names:
        raise ValueError(f'the joints asked for are not those of robot {task.robot.name}, in its order')
    state, images = floats(request.state), NO_IMAGES
    if len(state) < task.state_size:
        raise ValueError(f'the state has {len(state)} numbers, {task.name} has {task.state_size}')
    if len(request.images):
        if tuple(request.camera_names) != task.cameras:
            raise ValueError(f'cameras are {list(request.camera_names)}, {task.name} has {list(task.cameras)}')
        shape = (len(task.cameras), request.image_height, request.image_width, 3)
        if shape[1:3] != (task.image_size, task.image_size) or len(request.images) != np.prod(shape):
            raise ValueError(f'{len(request.images)} bytes of images {shape[1:3]}, wanted {task.image_size} squared')
        images = np.array(request.images, np.uint8).reshape(shape)
    elif task.from_pixels:
        raise ValueError('the base sees images, and none came: set vision to true in the policy node')
    return Observation(state[: task.state_size], images)  # a base that looks knows no object poses


def _waker(node: Node, wake: Callable[[], None]) -> Callable[[], None]:
    """``wake``, from any thread, in the node's executor. (The events executor knows no guard conditions.)"""

    def trigger() -> None:
        executor = node.executor
        if executor is not None:
            executor.create_task(wake)

    return trigger
