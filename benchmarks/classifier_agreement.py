"""The image classifier as the source of success on a live graph, against the simulation's oracle.

Starts the graph of ``vega_collect`` with a classifier and listens to the oracle, which decides nothing there. An
episode is a success to the oracle where it ever says so while the episode runs. In doubt an operator is asked for a
label: here the oracle's word.

    python benchmarks/classifier_agreement.py --classifier FILE --base FOLDER [--episodes N] [--seed S] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from pathlib import Path
from typing import Any

from std_msgs.msg import String

from resfit_bringup.graph import Options, collect_graph
from resfit_bringup.runner import Runner
from resfit_msgs.msg import EpisodeState, Reward
from resfit_msgs.srv import LabelEpisode
from resfit_policy.convert import stamp_ns
from resfit_policy.episode_log import Phase
from resfit_policy.rate import wilson
from resfit_policy.ros import EVENT, LATCHED
from resfit_policy.task import load_task
from resfit_policy.testing import Probe, isolated_domain


class Referee:
    """Hears what the oracle says of each episode, and what became of it."""

    def __init__(self, probe: Probe) -> None:
        self.episode, self.begun = 0, 0
        self.achieved: dict[int, int] = {}  # episode -> ns, when the oracle first saw success
        self.labels: dict[int, Reward] = {}
        self.doubtful: set[int] = set()
        probe.node.create_subscription(EpisodeState, 'episode', self.on_episode, LATCHED)
        probe.node.create_subscription(Reward, 'oracle', self.on_oracle, EVENT)
        probe.node.create_subscription(Reward, 'reward', self.on_reward, EVENT)
        self.label = probe.node.create_client(LabelEpisode, 'label')

    def on_episode(self, message: EpisodeState) -> None:
        self.episode = message.episode_id if message.phase == Phase.RUNNING else 0
        self.begun = stamp_ns(message.header.stamp)

    def on_oracle(self, message: Reward) -> None:
        stamp = stamp_ns(message.header.stamp)
        if self.episode and message.success and stamp > self.begun:
            self.achieved.setdefault(self.episode, stamp)

    def on_reward(self, message: Reward) -> None:
        self.labels[message.episode_id] = message

    def answer(self, asked_for: str) -> None:
        """Label a doubtful episode."""
        if 'doubtful' in asked_for and self.episode not in self.doubtful:
            self.doubtful.add(self.episode)
            self.label.call_async(LabelEpisode.Request(success=self.episode in self.achieved, operator_name='oracle'))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--classifier', required=True)
    parser.add_argument('--base', required=True)
    parser.add_argument('--task', default='woolly_ball')
    parser.add_argument('--variant', default='unseen')
    parser.add_argument('--episodes', type=int, default=100)
    parser.add_argument('--seed', type=int, default=2600)
    parser.add_argument('--json', type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, isolated_domain():
        options = Options(
            run_dir=Path(folder),
            task=arguments.task,
            seed=arguments.seed,
            base=arguments.base,
            variant=arguments.variant,
            classifier=arguments.classifier,
            max_episodes=arguments.episodes,
        )
        result = watch(options)
    print(json.dumps(result, indent=2))
    if arguments.json:
        arguments.json.write_text(json.dumps(result))


def watch(options: Options) -> dict[str, Any]:
    """Run the graph to its end and compare."""
    probe = Probe('referee')
    referee = Referee(probe)
    probe.node.create_subscription(String, 'attention', lambda message: referee.answer(message.data), LATCHED)
    with Runner(collect_graph(options)) as runner:
        runner.wait(lambda: probe.spin(0.4), 0.0)
        probe.spin(0.5)
    probe.close()
    period = load_task(options.task).period_ns
    table = {'both': 0, 'classifier_only': 0, 'oracle_only': 0, 'neither': 0}
    late = []
    for episode, label in referee.labels.items():
        if episode in referee.doubtful:
            continue
        achieved = referee.achieved.get(episode)
        if label.success:
            table['both' if achieved else 'classifier_only'] += 1
        else:
            table['oracle_only' if achieved else 'neither'] += 1
        if achieved and label.success:
            late.append((stamp_ns(label.header.stamp) - achieved) / period)
    judged = sum(table.values())
    agreed = wilson(table['both'] + table['neither'], judged)
    return {
        'episodes': len(referee.labels),
        'doubtful': len(referee.doubtful),
        **table,
        'agreement': [round(value, 4) for value in (agreed.success, agreed.low, agreed.high)],
        'steps_after_the_oracle': {'median': statistics.median(late), 'highest': max(late)} if late else None,
    }


if __name__ == '__main__':
    main()
