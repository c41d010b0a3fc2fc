"""Speed of the learner's update: updates/s for a recipe, on random episodes in the shape of a task.

source setup.bash && python benchmarks/update_speed.py --set heads=10 utd=2
"""

from __future__ import annotations

import argparse
import json
import time

import numpy as np
import torch
import yaml

from resfit_learner.config import load_config
from resfit_learner.learner import Learner
from resfit_policy.episode_log import Arm, Episode, Phase
from resfit_policy.task import Task, load_task


def random_episode(task: Task, number: int, length: int = 100) -> Episode:
    """A success of ``length`` steps along a random walk of the joints, near the base's action."""
    rng = np.random.default_rng(number)
    joints, others = task.action_size, task.state_size - task.action_size
    low, high = task.robot.lower, task.robot.upper
    motion = np.clip((low + high) / 2 + np.cumsum(rng.normal(0, 0.02, (length, joints)), 0), low, high)
    executed = np.clip(motion + rng.normal(0, 0.01, motion.shape), low, high).astype(np.float32)
    motion = motion.astype(np.float32)
    return Episode(
        episode_id=number, task=task.name, seed=number, arm=Arm.RESIDUAL, outcome=Phase.SUCCESS, success=True,
        final=False, state=np.concatenate([motion, rng.normal(0, 1, (length, others))], 1).astype(np.float32),
        images=np.zeros((length, 0, 0, 0, 3), np.uint8), base_action=motion, residual=executed - motion,
        executed_action=executed, authority=np.ones(length, np.float32),
        weights_version=np.ones(length, np.int64), flags=np.zeros(length, np.uint8), stamp=np.arange(length),
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--task', default='woolly_ball')
    parser.add_argument('--recipe', default='resfit_ros')
    parser.add_argument('--set', nargs='*', default=[], metavar='KEY=VALUE', help='changes to the recipe')
    parser.add_argument('--updates', type=int, default=500, help='measured, after a warm-up')
    parser.add_argument('--profile', action='store_true', help='print where the time goes')
    arguments = parser.parse_args()
    changes = {key: yaml.safe_load(value) for key, _, value in (pair.partition('=') for pair in arguments.set)}
    config = load_config(arguments.recipe, **{'critic_warmup': 0, 'warm_start': 0, **changes})
    task = load_task(arguments.task)
    learner = Learner(config, task, [random_episode(task, number) for number in range(40)])
    for number in range(100, 200):
        learner.ingest(number, random_episode(task, number))
    for _ in range(20):
        learner.update()
    if arguments.profile:
        with torch.profiler.profile() as profile:
            for _ in range(40):
                learner.update()
        print(profile.key_averages().table(sort_by='self_cpu_time_total', row_limit=30))  # noqa: T201
    started, cpu = time.perf_counter(), time.process_time()
    for _ in range(arguments.updates):
        learner.update()
    wall, cpu = time.perf_counter() - started, time.process_time() - cpu
    print(  # noqa: T201
        json.dumps(
            {
                'updates_per_s': round(arguments.updates / wall, 1),
                'updates_per_cpu_s': round(arguments.updates / cpu, 1),  # the same on a busy machine
                'env_steps_per_s': round(arguments.updates / wall / config.utd, 1),  # that the updates leave room for
                'heads': config.heads,
                'critic_hidden': config.critic_hidden,
                'threads': config.threads,
                'torch': torch.__version__,
            }
        )
    )


if __name__ == '__main__':
    main()
