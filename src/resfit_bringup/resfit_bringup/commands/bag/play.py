"""``resfit bag play``: a log through rclpy, episode after episode, to a node that evaluates or shows it.

``ros2 bag play`` plays one bag, and begins before anybody listens; this plays a whole log, and waits.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import rclpy
from rclpy.duration import Duration
from rclpy.node import Node

from resfit_bringup.progress import Progress
from resfit_learner.bags import EPISODE, REWARD, STEP, episode_folders, is_correction, read_raw
from resfit_msgs.msg import EpisodeState, PolicyStep, Reward
from resfit_policy.ros import PLAYED
from resfit_policy.task import ConfigError

KINDS = {STEP: PolicyStep, REWARD: Reward, EPISODE: EpisodeState}
UNDER = 'recorded'  # so that nothing that is played reaches a graph that runs
ACKNOWLEDGED = Duration(seconds=10)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('path', type=Path, help="a bag, a run's folder, or its folder of episodes")
    parser.add_argument('--rate', type=float, default=1.0, help='times as fast as recorded (default: %(default)s)')
    parser.add_argument('--namespace', default='', help='ROS namespace of the listener')
    parser.add_argument('--wait', type=float, default=60.0, help='s to wait for a listener (default: %(default)s)')


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Publish what was recorded under ``recorded/``, at its own pace."""
    if args.rate <= 0:
        raise ConfigError('--rate must be above 0')
    entries = episode_folders(args.path) or episode_folders(args.path / 'episodes')
    folders = [folder for _, _, folder in entries if not is_correction(folder)] or [args.path]
    left_out: list[str] = []
    rclpy.init(args=[])
    node = rclpy.create_node('bag_player', namespace=args.namespace)
    try:
        topics = {name: node.create_publisher(kind, f'{UNDER}/{name}', PLAYED) for name, kind in KINDS.items()}
        wait_for_listener(node, topics, args.wait)
        with Progress('play', len(folders), 'episodes') as progress:
            for done, folder in enumerate(folders, start=1):
                try:
                    play(read_raw(folder), topics, args.rate)
                except ConfigError as error:
                    left_out.append(str(error))
                    print(f'left out: {error}')  # noqa: T201
                for publisher in topics.values():
                    publisher.wait_for_all_acked(ACKNOWLEDGED)
                progress.update(done)
    finally:
        node.destroy_node()
        rclpy.try_shutdown()
    if len(left_out) == len(folders):
        raise ConfigError(left_out[0])
    return {'episodes': len(folders) - len(left_out), 'left_out': left_out}


def wait_for_listener(node: Node, topics: dict[str, Any], limit: float) -> None:
    """Until the steps and the episodes are subscribed to. Raises ConfigError."""
    until = time.monotonic() + limit
    while not all(topics[name].get_subscription_count() for name in (STEP, EPISODE)):
        if time.monotonic() > until:
            raise ConfigError(f'nobody listens to {topics[STEP].topic_name}: start bag_eval_node first')
        rclpy.spin_once(node, timeout_sec=0.1)


def play(messages: list[tuple[str, int, bytes]], topics: dict[str, Any], rate: float) -> None:
    """Publish messages as far apart as their stamps are, over ``rate``."""
    started, first = time.monotonic(), messages[0][1]
    for topic, stamp, data in messages:
        time.sleep(max(0.0, started + (stamp - first) * 1e-9 / rate - time.monotonic()))
        topics[topic].publish(data)
