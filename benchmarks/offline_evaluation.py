"""Do estimates from bags alone order policies as their true success does?

A training run keeps its bags and a checkpoint now and then; the success of each is measured in the simulation, and
``resfit bag evaluate`` guesses it from the bags.

source setup.bash && python benchmarks/offline_evaluation.py --task woolly_ball --out runs/offline
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

import numpy as np

from resfit_bringup.commands.experiment import INTERMEDIATE_SEEDS
from resfit_bringup.job import load_job
from resfit_bringup.pipeline import TRAINING_SEEDS, cached_base, expert_demonstrations, seeds
from resfit_bringup.progress import Progress, window
from resfit_learner.bc import relabel
from resfit_learner.checkpoint import save_checkpoint
from resfit_learner.demonstrations import read_demonstrations
from resfit_learner.export import write_episode
from resfit_learner.method import Setup
from resfit_learner.rollout import run_episode
from resfit_learner.training import ResFiT
from resfit_policy.actor import unpack_actor
from resfit_policy.base_policy import load_base
from resfit_policy.episode_log import Arm
from resfit_policy.files import write_atomically
from resfit_sim.env import VegaEnv


def prepare(task_name: str, seed: int, steps: int | None) -> tuple[VegaEnv, ResFiT, int]:
    """The environment, a training that has not begun, and its length in control steps."""
    job = load_job(task_name, None, steps=steps)
    env = VegaEnv(task_name, variant=job.variant)
    demonstrations = read_demonstrations(env.task, expert_demonstrations(env.task, job, seed))
    base = cached_base(env.task, demonstrations, job, seed)
    setup = Setup(
        task=env.task,
        make_env=lambda: VegaEnv(task_name, variant=job.variant),
        make_base=lambda: load_base(str(base), env.task),
        demonstrations=[relabel(item, load_base(str(base), env.task)) for item in demonstrations],
        config=job.learner_config(),
        bc=job.bc,
        seed=seed,
        first_start=seed * 100_000 + TRAINING_SEEDS,
    )
    return env, ResFiT(setup), job.steps


def record(method: ResFiT, env: VegaEnv, folder: Path, steps: int, count: int) -> None:
    """Train; keep every episode as a bag, and ``count`` checkpoints, closer together where more is learned."""
    due = [round(at) for at in np.geomspace(steps / 40, steps, count)]
    episodes = folder / 'episodes'
    episodes.mkdir(parents=True)
    with Progress('training', steps) as progress:
        while due:
            method.advance()
            assert method.newest is not None
            name = f'{method.newest.episode_id:06d}'
            write_episode(episodes / f'{name}-{name}', method.newest)
            progress.update(min(method.env_steps, steps), window(method.curve.success))
            if method.env_steps >= due[0]:
                due = [at for at in due if at > method.env_steps]
                made = save_checkpoint(method.learner, folder / 'checkpoints')
                os.rename(made, folder / f'policy-{method.env_steps:06d}')


def measure(method: ResFiT, env: VegaEnv, folder: Path, count: int, seed: int) -> None:
    """Success of each checkpoint in ``count`` episodes on the same starts, into truth.json."""
    truth: dict[str, list[int]] = {}
    policies = sorted(folder.glob('policy-*'))
    with Progress('truth', len(policies), 'policies') as progress:
        for done, policy in enumerate(policies, start=1):
            method.runtime.set_weights(*unpack_actor((policy / 'actor.safetensors').read_bytes()))
            starts = seeds(INTERMEDIATE_SEEDS, seed, count)
            won = [run_episode(env, method.runtime, seed=start, arm=Arm.RESIDUAL).success for start in starts]
            truth[policy.name] = [sum(won), count]
            progress.update(done, f'{sum(won)} of {count}')
    write_atomically(folder / 'truth.json', json.dumps(truth, indent=2).encode())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--task', default='woolly_ball')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--steps', type=int, help="online control steps (default: the job's)")
    parser.add_argument('--policies', type=int, default=12, help='checkpoints (default: %(default)s)')
    parser.add_argument('--episodes', type=int, default=100, help='that measure each of them (default: %(default)s)')
    parser.add_argument('--out', type=Path, required=True)
    arguments = parser.parse_args()
    env, method, steps = prepare(arguments.task, arguments.seed, arguments.steps)
    record(method, env, arguments.out, steps, arguments.policies)
    measure(method, env, arguments.out, arguments.episodes, arguments.seed)


if __name__ == '__main__':
    main()
