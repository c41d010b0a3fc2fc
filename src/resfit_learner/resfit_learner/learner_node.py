"""Pulls episodes from the replay log, learns in small slices, and publishes weights while the policy acts."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np
from rclpy.clock import Clock, ClockType
from rclpy.node import Node

from resfit_learner.bc import relabel
from resfit_learner.checkpoint import open_learner, save_checkpoint
from resfit_learner.config import load_config
from resfit_learner.demonstrations import read_demonstrations
from resfit_learner.events import Events
from resfit_learner.learner import Learner
from resfit_msgs.msg import LearnerStatus, PolicyWeights, ReplayStatus
from resfit_msgs.srv import FetchEpisodes
from resfit_policy.actor import config_hash
from resfit_policy.base_policy import seen_by
from resfit_policy.convert import read_episode_messages, to_array
from resfit_policy.files import lock_folder
from resfit_policy.health import Health, State, disk_free_gb
from resfit_policy.remote_base import waiting_base
from resfit_policy.ros import LATCHED, cleaner, declare, param, refuse_second, run_node, signals_wait
from resfit_policy.task import ConfigError, load_task

SLICE = 0.04  # s of updates between two looks at the messages
FETCH = 4  # episodes per request
PATIENCE = 60.0  # s that the next entry of the log may stay unreadable


@dataclass(frozen=True)
class Parameters:
    """Parameters of the learner."""

    task: str = param('woolly_ball', 'task name, or path of a task YAML')
    base: str = param('', 'the base that the policy node acts with')
    demonstrations: str = param('', 'folder of recorded episodes to learn from, as resfit collect writes it')
    directory: str = param('', 'folder of the run; checkpoints and TensorBoard events go there')
    recipe: str = param('resfit_ros', 'named set of hyper-parameters')
    config: str = param('', 'YAML file of hyper-parameters that differ from the recipe')
    seed: int = param(0, 'seed of initial weights and of sampling')
    checkpoint_period: float = param(30.0, 's of wall time between checkpoints')
    publish_period: float = param(1.0, 's of wall time between weights while learning')


class LearnerNode(Node):
    """Thin shell around ``Learner``."""

    def __init__(self) -> None:
        super().__init__('learner_node')
        self.parameters = parameters = declare(self, Parameters)
        if not parameters.directory:
            raise ConfigError('parameter directory is empty: give the folder of the run')
        self.folder = Path(parameters.directory)
        taken = f'{self.folder} already has a learner: stop it, or choose another run folder'
        self.lock = lock_folder(self.folder, '.learner.lock', taken)
        refuse_second(self, 'learner/weights')
        self.learner = self.make_learner()
        refuse_second(self, 'learner/weights')  # one may have started while this one was made
        self.events = Events(self.folder / 'tensorboard', self.learner.counters.updates)
        self.newest, self.rate = 0, 0.0  # sequence number in the log; updates per second
        self.asked = 0.0  # wall time of the pending request, 0: none
        self.problem, self.stuck = '', 0.0  # why the next entry cannot be had, since this wall time
        self.last_publish = self.last_checkpoint = self.last_status = monotonic()
        self.saved_updates = self.last_updates = self.learner.counters.updates

        self.health = Health(self, self.state, ('replay', 'weights', 'checkpoint'))
        self.fetch = self.create_client(FetchEpisodes, 'replay/fetch')
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(0.01, self.work, clock=steady)
        self.create_timer(1.0, self.beat, clock=steady)
        self.meet_log()

    def make_learner(self) -> Learner:
        """A learner from the demonstrations, or from the run folder's newest checkpoint. Raises ConfigError."""
        parameters = self.parameters
        task = seen_by(parameters.base, load_task(parameters.task))
        base = waiting_base(self, parameters.base, task)
        config = load_config(parameters.recipe, parameters.config or None)
        config.refuse_on_graph()
        recorded = read_demonstrations(task, Path(parameters.demonstrations))
        demonstrations = [relabel(episode, base, config.from_pixels(task)) for episode in recorded]
        with signals_wait() as leave_if_told:

            def show(step: int) -> None:
                leave_if_told()
                text = f'warm start: {step} updates on the demonstrations so far'  # before there are weights
                self.get_logger().info(text, throttle_duration_sec=5.0)

            learner, self.checkpoint = open_learner(
                self.folder / 'checkpoints', config, task, demonstrations, parameters.seed, show
            )
        if self.checkpoint is not None:
            self.get_logger().info(f'goes on from {self.checkpoint}')
        return learner

    def meet_log(self) -> None:
        """Wait for a log to learn from; until then there are no weights, and no sign of life, for any run."""
        self.published: tuple[int, int] | None = None  # updates and entries behind the weights on offer
        self.forget_log = cleaner(self)
        self.weights = self.create_publisher(PolicyWeights, 'learner/weights', LATCHED)
        self.status = self.create_publisher(LearnerStatus, 'learner/status', LATCHED)
        self.create_subscription(ReplayStatus, 'replay/status', self.on_replay, LATCHED)

    def on_replay(self, message: ReplayStatus) -> None:
        """The log has grown. One of another run is none to go on with: what was learned must not act in that one."""
        self.health.saw('replay')
        learner, identity = self.learner, message.header.frame_id
        known = max(learner.counters.sequence, learner.resumed_from.sequence)
        if identity != (learner.log or identity) or (known and not message.sequence):
            raise ConfigError(
                f'the replay log in {message.directory} is not the one that {self.folder} has learned from: '
                'end the other run, or give the learner a new folder (parameter directory)'
            )
        self.newest, learner.log = message.sequence, identity
        if self.published is None:  # not before it is sure in which run they are going to act
            self.publish_weights()
            self.publish_status()
        self.pull()

    def pull(self) -> None:
        """Ask for the next entries, one request at a time; a request without an answer is made again."""
        behind = self.learner.counters.sequence < self.newest
        if not behind:
            self.problem = ''
        pending = self.asked and monotonic() - self.asked < 10.0
        if behind and not pending and self.fetch.service_is_ready():
            self.asked = monotonic()
            request = FetchEpisodes.Request(after_sequence=self.learner.counters.sequence, max_episodes=FETCH)
            self.fetch.call_async(request).add_done_callback(self.on_episodes)

    def on_episodes(self, future: Any) -> None:
        """Ingest what came, then ask for more."""
        self.asked = 0.0
        response = future.result()
        if response is None or not response.success:
            self.stuck = self.stuck if self.problem else monotonic()
            self.problem = f'learning cannot go on: {response.message if response else "no answer"}'
            self.get_logger().error(self.problem, throttle_duration_sec=10.0)
            return
        self.problem = ''
        for record in response.episodes:
            if record.sequence <= self.learner.counters.sequence:
                continue  # an answer that came after all, twice
            try:
                episode = read_episode_messages(record.episode, record.reward, record.steps)
                self.learner.ingest(record.sequence, episode)
                self.events.write_episode(episode)
            except ValueError as error:
                self.get_logger().error(f'entry {record.sequence} is left out: {error}')
                self.learner.counters.sequence = record.sequence
        self.publish_status()
        self.pull()

    def work(self) -> None:
        """A slice of updates, and now and then weights and a checkpoint."""
        learner, until = self.learner, monotonic() + SLICE
        while learner.owed and monotonic() < until:
            learner.update()
        now, updates = monotonic(), learner.counters.updates
        if self.published is not None:
            fresh = self.published != (updates, learner.counters.sequence)
            learning = self.published[0] != updates and now - self.last_publish > self.parameters.publish_period
            if learning or (fresh and not learner.owed and not learner.reading_again):
                self.publish_weights()
                self.publish_status()
        if updates != self.saved_updates and now - self.last_checkpoint > self.parameters.checkpoint_period:
            self.save()

    def save(self) -> None:
        """Write a checkpoint; a full disk is reported and learning goes on."""
        self.last_checkpoint, self.saved_updates = monotonic(), self.learner.counters.updates
        try:
            self.checkpoint = save_checkpoint(self.learner, self.folder / 'checkpoints')
            self.health.saw('checkpoint')
        except OSError as error:
            self.get_logger().error(f'no checkpoint written: {error}')

    def publish_weights(self) -> None:
        """Publish the actor under a new version."""
        data = self.learner.weights()
        counters = self.learner.counters
        message = PolicyWeights(version=counters.version, config_hash=config_hash(self.learner.actor.config))
        message.sha256 = hashlib.sha256(data).hexdigest()
        message.data = to_array(np.frombuffer(data, np.uint8), 'B')
        message.header.stamp = self.get_clock().now().to_msg()
        self.weights.publish(message)
        self.health.saw('weights')
        self.last_publish, self.published = monotonic(), (counters.updates, counters.sequence)

    def beat(self) -> None:
        """Heartbeat, once a second."""
        now, updates = monotonic(), self.learner.counters.updates
        self.rate = (updates - self.last_updates) / max(now - self.last_status, 1e-3)
        self.last_updates, self.last_status = updates, now
        if self.problem and now - self.stuck > PATIENCE:
            # Nothing is skipped unasked, and who waits for a learner that lives and reads no further waits for ever.
            raise ConfigError(f'{self.problem}: put that right and start the run again')
        if self.published is not None and not self.get_publishers_info_by_topic('replay/status'):
            self.forget_log()  # latched weights would act in whatever run begins here next
            self.meet_log()
        self.pull()
        if self.published is not None:
            self.publish_status()
        self.events.write(self.learner)

    def state(self) -> State:
        """For ``diagnostics``."""
        learner, counters = self.learner, self.learner.counters
        values = {
            'update_hz': self.rate,
            'updates_owed': learner.owed,
            'entries_behind': self.newest - counters.sequence,
            'weights_version': counters.version,
            'disk_free_gb': disk_free_gb(self.folder),
        }
        doing = 'reading the log again' if learner.reading_again else 'waiting for episodes'
        return self.problem, 'learning' if learner.owed else doing, values

    def publish_status(self) -> None:
        """Say how far learning is."""
        learner, counters = self.learner, self.learner.counters
        message = LearnerStatus(sequence=counters.sequence, env_steps=counters.env_steps, updates=counters.updates)
        message.utd = learner.config.utd_held(counters.env_steps, counters.updates)
        message.updates_per_second = self.rate
        message.backlog, message.weights_version = learner.owed, counters.version
        for name in ('q_mean', 'critic_loss', 'actor_loss'):
            setattr(message, name, float(learner.metrics.get(name, 0.0)))
        message.checkpoint = str(self.checkpoint or '')
        message.header.stamp = self.get_clock().now().to_msg()
        self.status.publish(message)

    def close(self) -> None:
        """Save what was learned since the last checkpoint."""
        if self.learner.counters.updates != self.saved_updates:
            self.save()
        self.events.close()


def main() -> None:
    """Entry point."""
    run_node(LearnerNode, LearnerNode.close)
