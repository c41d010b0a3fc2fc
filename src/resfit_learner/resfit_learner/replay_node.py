"""Records every episode as a bag and serves them by sequence number (design section 3)."""

from __future__ import annotations

import shutil
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Any

from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.serialization import deserialize_message, serialize_message

from resfit_learner.bags import DAMAGED, EPISODE, REWARD, STEP, read_raw
from resfit_learner.recording import Recording
from resfit_learner.replay_log import Entry, ReplayLog
from resfit_learner.unwritten import Unwritten
from resfit_msgs.msg import EpisodeRecord, EpisodeState, PolicyStep, ReplayStatus, Reward
from resfit_msgs.srv import FetchEpisodes
from resfit_policy.convert import stamp_ns
from resfit_policy.episode_log import Phase
from resfit_policy.health import Health, State, disk_free_gb
from resfit_policy.ros import EVENT, LATCHED, LOG, declare, param, run_node
from resfit_policy.task import ConfigError

CACHED = 16  # episodes served from memory
KINDS = {STEP: PolicyStep, REWARD: Reward, EPISODE: EpisodeState}
LOW_DISK = 2.0  # GB left of the log's disk, below which to warn


@dataclass(frozen=True)
class Parameters:
    """Parameters of the replay node."""

    directory: str = param('', "folder of the run; episodes go to its folder 'episodes'")
    patience: float = param(5.0, 's to wait for the rest of an episode after its end was announced')


class ReplayNode(Node):
    """Thin shell around ``ReplayLog`` and ``Recording``."""

    def __init__(self) -> None:
        super().__init__('replay_node')
        self.parameters = declare(self, Parameters)
        if not self.parameters.directory:
            raise ConfigError('parameter directory is empty: give the folder of the run')
        self.log = ReplayLog(Path(self.parameters.directory) / 'episodes', self.get_logger().warning)
        self.recording: Recording | None = None
        self.last_id = self.log.last_episode_id  # highest episode id seen
        said = self.get_logger()
        self.unwritten = Unwritten(self.log.directory, said.error, said.info)
        self.ended = 0.0  # wall time at which the running episode's end was announced
        self.cache: OrderedDict[int, EpisodeRecord] = OrderedDict()  # by episode id

        self.health = Health(self, self.state, ('step', 'reward', 'fetch'))
        self.status = self.create_publisher(ReplayStatus, 'replay/status', LATCHED)
        self.create_service(FetchEpisodes, 'replay/fetch', self.on_fetch)
        self.create_subscription(PolicyStep, STEP, self.on_step, LOG, raw=True)
        self.create_subscription(Reward, REWARD, self.on_reward, EVENT, raw=True)
        self.create_subscription(EpisodeState, EPISODE, self.on_episode, LATCHED, raw=True)
        self.create_timer(0.5, self.look, clock=Clock(clock_type=ClockType.STEADY_TIME))
        self.publish_status()

    def recording_of(self, episode_id: int) -> Recording | None:
        """The recording that a message belongs to, opened at an episode's first message; None if it is over."""
        if episode_id > self.last_id:
            if self.recording is not None:
                self.give_up('the next episode has begun')
            self.last_id = episode_id
            self.recording = Recording(episode_id, partial(self.log.begin, episode_id))
        current = self.recording
        return current if current is not None and current.episode_id == episode_id else None

    def on_step(self, raw: bytes) -> None:
        """Record a control step."""
        self.health.saw('step')
        message = deserialize_message(raw, PolicyStep)
        recording = self.recording_of(message.episode_id)
        if recording is not None:
            recording.on_step(message, stamp_ns(message.header.stamp), raw)
            self.try_commit()

    def on_reward(self, raw: bytes) -> None:
        """Record a label, or append the correction of an earlier one."""
        self.health.saw('reward')
        message = deserialize_message(raw, Reward)
        recording = self.recording_of(message.episode_id)
        if recording is not None:
            recording.on_reward(message, stamp_ns(message.header.stamp), raw)
            self.try_commit()
        else:
            self.write(message.episode_id, partial(self.correct, message))

    def on_episode(self, raw: bytes) -> None:
        """Record the beginning and the end of an episode."""
        message = deserialize_message(raw, EpisodeState)
        if message.phase in (Phase.IDLE, Phase.RESETTING) or not message.episode_id:
            return
        recording = self.recording_of(message.episode_id)
        if recording is not None:
            recording.on_episode(message, stamp_ns(message.header.stamp), raw)
            self.ended = monotonic()
            self.try_commit()

    def try_commit(self) -> None:
        """Make the episode part of the log once all of it is there."""
        recording = self.recording
        if recording is None or not recording.complete:
            return
        self.recording = None
        self.write(recording.episode_id, partial(self.commit, recording))

    def commit(self, recording: Recording) -> None:
        """Write a whole episode. Raises OSError."""
        closing, reward, episode_id = recording.closing, recording.reward, recording.episode_id
        bag = recording.write()
        try:
            self.log.commit(bag, episode_id=episode_id, phase=closing.phase, steps=closing.step, success=reward.success)
        except OSError as error:
            recording.fail(error)
            raise
        self.remember(EpisodeRecord(episode=closing, reward=reward, steps=recording.kept_steps()))

    def write(self, episode_id: int, action: Callable[[], None]) -> None:
        """Do ``action`` now, or, where the disk is full, once there is room."""
        self.unwritten.add(episode_id, action)
        self.publish_status()

    def give_up(self, why: str) -> None:
        """Leave an incomplete episode outside the log."""
        recording, self.recording = self.recording, None
        assert recording is not None
        self.get_logger().warning(f'episode {recording.episode_id} is incomplete and not used: {why}')
        with suppress(OSError):
            self.log.give_up(recording.write())
        self.publish_status()

    def look(self) -> None:
        """Do not wait for ever for the rest of an episode; try again what could not be written."""
        if self.unwritten.problem:
            self.unwritten.catch_up()
            self.publish_status()
        recording = self.recording
        if recording is not None and recording.closing is not None:
            if monotonic() - self.ended > self.parameters.patience:
                self.give_up(recording.missing())

    def correct(self, reward: Reward) -> None:
        """Append a correction under its own sequence number. Raises OSError."""
        entry, newest = self.log.find(reward.episode_id), self.log.newest(reward.episode_id)
        if entry is None or newest is None or reward.revision == 0:
            return
        try:
            record = self.record_of(entry)
        except ConfigError as error:
            self.get_logger().error(f'the new label of episode {reward.episode_id} is not kept: {error}')
            return
        reward.header.stamp, reward.step = record.reward.header.stamp, record.reward.step
        reward.revision = max(reward.revision, newest.revision + 1)
        stamp = stamp_ns(reward.header.stamp)
        messages = [
            (REWARD, stamp, serialize_message(reward)),
            (EPISODE, stamp, serialize_message(record.episode)),
        ]
        self.log.correct(reward.episode_id, reward.revision, reward.success, messages)
        record.reward = reward

    def on_fetch(self, request: Any, response: Any) -> Any:
        """Serve entries in order, from memory or from the bags."""
        self.health.saw('fetch')
        try:
            for entry in self.log.after(request.after_sequence, max(1, request.max_episodes)):
                whole = self.log.find(entry.episode_id)
                assert whole is not None
                record = self.record_of(whole)
                # A message of its own for each entry: an episode and its correction may be in the same answer.
                response.episodes.append(
                    EpisodeRecord(
                        sequence=entry.sequence, episode=record.episode, reward=record.reward, steps=record.steps
                    )
                )
        except ConfigError as error:
            if not response.episodes:  # those before the damaged one are good
                response.success, response.message = False, str(error)
                return response
        response.success, response.newest_sequence = True, self.log.sequence
        return response

    def record_of(self, entry: Entry) -> EpisodeRecord:
        """An episode under its newest label. Raises ConfigError when its bag cannot be read."""
        if entry.episode_id not in self.cache:
            recording = Recording(entry.episode_id)
            for topic, stamp, data in read_raw(self.log.path(entry)):
                recording.on_message(topic, deserialize_message(data, KINDS[topic]), stamp)
            if not recording.complete:
                raise ConfigError(f'{self.log.path(entry)} {DAMAGED} ({recording.missing()})')
            steps = recording.kept_steps()
            self.remember(EpisodeRecord(episode=recording.closing, reward=recording.reward, steps=steps))
        record = self.cache[entry.episode_id]
        newest = self.log.newest(entry.episode_id)
        if newest is not None:
            record.reward.success, record.reward.revision = newest.success, newest.revision
        return record

    def remember(self, record: EpisodeRecord) -> None:
        """Keep a record in memory, in place of the oldest."""
        self.cache[record.episode.episode_id] = record
        while len(self.cache) > CACHED:
            self.cache.popitem(last=False)

    def state(self) -> State:
        """For ``diagnostics``."""
        free = disk_free_gb(self.log.directory)
        problem = self.unwritten.problem or (f'{free:.1f} GB left for {self.log.directory}' if free < LOW_DISK else '')
        doing = 'waiting' if self.recording is None else f'recording episode {self.recording.episode_id}'
        values = {'sequence': self.log.sequence, 'episodes': len(self.log.closed), 'disk_free_gb': free}
        return problem, doing, values

    def publish_status(self) -> None:
        """Say how far the log is."""
        closed = self.log.closed
        message = ReplayStatus(sequence=self.log.sequence, episodes=len(closed))
        # The reward node begins no episode before the last one is in the log.
        waiting = self.unwritten.episodes + ([self.last_id] if self.recording else [])
        message.last_episode_id = min(waiting) - 1 if waiting else self.last_id
        message.transitions = sum(entry.steps for entry in closed)
        message.bytes_free = shutil.disk_usage(self.log.directory).free
        message.directory, message.header.frame_id = str(self.log.directory), self.log.identity
        message.header.stamp = self.get_clock().now().to_msg()
        self.status.publish(message)

    def close(self) -> None:
        """Keep what there is of the running episode, and say so where that cannot be."""
        self.unwritten.give_up()
        if self.recording is not None:
            with suppress(OSError):
                self.log.give_up(self.recording.write())
        self.log.close()


def main() -> None:
    """Entry point."""
    run_node(ReplayNode, ReplayNode.close)
