"""What seeing costs: a step of the environment, a control step, and an update of the learner for each encoder.

Medians of processor time on one thread, which other work on the machine does not stretch. The base is untrained:
its speed is that of a trained one.

    python benchmarks/vision_speed.py [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from resfit_learner.bc import relabel
from resfit_learner.config import LearnerConfig
from resfit_learner.learner import Learner
from resfit_learner.rollout import observe, run_episode
from resfit_policy.act import ActConfig, ActNet
from resfit_policy.actor import unpack_actor
from resfit_policy.base_policy import load_base, save_base
from resfit_policy.episode_log import Arm, Episode
from resfit_policy.runtime import PolicyRuntime
from resfit_sim.env import VegaEnv
from resfit_sim.experts import make_expert

TASK = 'woolly_ball'


def milliseconds(call: Callable[[], Any], repeats: int) -> float:
    """Median processor time of a call."""
    call()
    taken = []
    for _ in range(repeats):
        begun = time.process_time()
        call()
        taken.append(1e3 * (time.process_time() - begun))
    return round(statistics.median(taken), 2)


def recorded(episodes: int) -> list[Episode]:
    """Demonstrations with images and without object poses."""
    env = VegaEnv(TASK, observation='both', variant='demonstrated')
    runtime = PolicyRuntime(env.task, make_expert(TASK, 'demonstrated'))
    made = [run_episode(env, runtime, seed=1000 + index, arm=Arm.BASE, episode_id=index) for index in range(episodes)]
    return [replace(item, state=item.state[:, :29]) for item in made]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--json', type=Path)
    parser.add_argument('--repeats', type=int, default=20)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    env = VegaEnv(TASK, observation='vision')
    task = env.task
    observation = observe(env.reset(seed=0)[0])
    action = observation.state.copy()
    result: dict[str, Any] = {'environment_step_ms': milliseconds(lambda: env.step(action), arguments.repeats)}
    with tempfile.TemporaryDirectory() as folder:
        save_base(Path(folder), ActNet(ActConfig(joints=29, cameras=2, keypoints=32)), task, {})
        base = load_base(folder, task)
        demonstrations = recorded(4)
        for encoder in ('frozen', 'cnn', 'vit'):
            pixels = encoder != 'frozen'
            config = LearnerConfig(encoder=encoder, capacity=2000, device='cpu')
            learner = Learner(config, task, [relabel(item, base, pixels) for item in demonstrations])
            for index, item in enumerate(demonstrations):
                learner.ingest(index + 1, relabel(item, base, pixels))
            runtime = PolicyRuntime(task, base, pixels=pixels)
            runtime.set_weights(*unpack_actor(learner.weights()))
            runtime.begin(Arm.RESIDUAL, False)
            result[encoder] = {
                # A copy is a new observation, at which the base looks afresh.
                'control_step_ms': milliseconds(lambda r=runtime: r.step(replace(observation)), arguments.repeats),
                'update_ms': milliseconds(learner.update, 5 if encoder == 'vit' else arguments.repeats),
                'weights_kB': len(learner.weights()) // 1000,
            }
    print(json.dumps(result, indent=2))  # noqa: T201
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2) + '\n')


if __name__ == '__main__':
    main()
