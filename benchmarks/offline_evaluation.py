"""Do estimates from bags alone order policies as their true success does?

A training run keeps its bags and a checkpoint now and then; so does, but for the bags, one with the other recipe, which
corrects in another way. Each checkpoint's success is measured in the simulation, and ``resfit bag evaluate`` guesses it
from the bags of the first run. One folder per task in --out; what is there is not made again.

source setup.bash && python benchmarks/offline_evaluation.py --out runs/offline --json docs/results/offline.json
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import pyplot as plt
from numpy.typing import NDArray

from resfit_bringup.commands.bag.evaluate import read_actor
from resfit_bringup.commands.experiment import INTERMEDIATE_SEEDS
from resfit_bringup.job import load_job
from resfit_bringup.pipeline import TRAINING_SEEDS, cached_base, expert_demonstrations, seeds
from resfit_bringup.progress import Progress, window
from resfit_bringup.report import BASE_COLOUR, RESFIT_COLOUR
from resfit_learner.bags import read_log
from resfit_learner.bc import relabel
from resfit_learner.checkpoint import load_critic, save_checkpoint
from resfit_learner.demonstrations import read_demonstrations
from resfit_learner.evaluation import wilson
from resfit_learner.export import write_episode
from resfit_learner.method import Setup
from resfit_learner.offline import believed, estimate, happened, usable
from resfit_learner.rollout import run_episode
from resfit_learner.training import ResFiT
from resfit_policy.actor import unpack_actor
from resfit_policy.base_policy import load_base
from resfit_policy.episode_log import Arm
from resfit_policy.files import write_atomically
from resfit_sim.env import VegaEnv

STEPS = {'woolly_ball': 9000, 'package_handover': 30_000, 'box_cleanup': 30_000}
OTHER = {'resfit_ros': 'resfit_steps', 'resfit_steps': 'resfit_ros'}
POLICIES = {'own': 8, 'other': 5}
ESTIMATES = ('fitted', 'matched', 'critic', 'happened')
Array = NDArray[np.float64]


def prepare(task_name: str, seed: int, kind: str) -> tuple[VegaEnv, ResFiT]:
    """The environment, and a training with the job's recipe or the other one that has not begun."""
    job = load_job(task_name, None)
    if kind == 'other':
        job = load_job(task_name, None, recipe=OTHER[job.recipe])
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
    return env, ResFiT(setup)


def record(method: ResFiT, folder: Path, steps: int, kind: str) -> None:
    """Train; keep checkpoints, closer together where more is learned, and of the ``own`` run every episode as a bag."""
    due = [round(at) for at in np.geomspace(steps / 40, steps, POLICIES[kind])]
    with Progress(f'training, {kind}', steps) as progress:
        while due:
            before = len(method.curve.success)
            method.advance()
            if kind == 'own' and len(method.curve.success) > before:  # it acted, and did not only learn
                assert method.newest is not None
                name = f'{method.newest.episode_id:06d}'
                write_episode(folder / 'episodes' / f'{name}-{name}', method.newest)
            progress.update(min(method.env_steps, steps), window(method.curve.success))
            if method.env_steps >= due[0]:
                due = [at for at in due if at > method.env_steps]
                made = save_checkpoint(method.learner, folder / 'checkpoints')
                os.rename(made, folder / f'{kind}-{method.env_steps:06d}')


def measure(env: VegaEnv, method: ResFiT, folder: Path, count: int, seed: int) -> None:
    """Success of each checkpoint in ``count`` episodes on the same starts, into truth.json."""
    truth: dict[str, list[int]] = {}
    policies = sorted([*folder.glob('own-*'), *folder.glob('other-*')])
    with Progress('truth', len(policies), 'policies') as progress:
        for done, policy in enumerate(policies, start=1):
            method.runtime.set_weights(*unpack_actor((policy / 'actor.safetensors').read_bytes()))
            starts = seeds(INTERMEDIATE_SEEDS, seed, count)
            won = [run_episode(env, method.runtime, seed=start, arm=Arm.RESIDUAL).success for start in starts]
            truth[policy.name] = [sum(won), count]
            progress.update(done, f'{policy.name}: {sum(won)} of {count}')
    write_atomically(folder / 'truth.json', json.dumps(truth, indent=2).encode())


def guess(folder: Path, share: float) -> list[dict[str, Any]]:
    """Of each checkpoint: its true success, and every estimate from the first ``share`` of the bags."""
    truth: dict[str, list[int]] = json.loads((folder / 'truth.json').read_text())
    episodes = list(read_log(folder))
    kept = usable(episodes[: round(share * len(episodes))])
    rows: list[dict[str, Any]] = []
    with Progress(f'estimates, {folder.name}', len(truth), 'policies') as progress:
        for name, (won, count) in truth.items():
            actor, version = read_actor(folder / name, kept[0])
            found, real = estimate(kept, actor), wilson(won, count)
            near = happened(kept, version) if name.startswith('own') else None
            rows.append({
                'policy': name, 'episodes': len(kept), 'truth': real.success, 'truth_interval': [real.low, real.high],
                'fitted': found.fitted.success, 'fitted_interval': [found.fitted.low, found.fitted.high],
                'matched': found.matched.success, 'matched_interval': [found.matched.low, found.matched.high],
                'covered': found.covered, 'critic': believed(kept, actor, load_critic(folder / name, actor)),
                'happened': near.success if near else None,
            })  # fmt: skip
            progress.update(len(rows))
    return rows


def rank_correlation(first: Array, second: Array) -> float:
    """Spearman's rho; ties share their ranks."""
    ranks = [np.array([(values < x).sum() + (values == x).sum() / 2 for x in values]) for values in (first, second)]
    return float(np.corrcoef(*ranks)[0, 1]) if all(part.std() > 0 for part in ranks) else 0.0


def correlate(rows: list[dict[str, Any]], count: int) -> dict[str, Any]:
    """Rank correlation of each estimate with the true success, with a 95 % bootstrap interval; and its error.

    The bootstrap draws policies, and of each its ``count`` measured episodes again.
    """
    random, found = np.random.default_rng(0), {}
    for name in ESTIMATES:
        kept = [row for row in rows if row[name] is not None]
        if len(kept) < 8:
            continue
        truth, value = (np.array([row[key] for row in kept]) for key in ('truth', name))
        drawn = []
        for _ in range(2000):
            chosen = random.integers(0, len(kept), len(kept))
            drawn.append(rank_correlation(random.binomial(count, truth[chosen]) / count, value[chosen]))
        low, high = np.quantile(drawn, [0.025, 0.975])
        found[name] = {
            'rank_correlation': rank_correlation(truth, value), 'low': float(low), 'high': float(high),
            'policies': len(kept), 'root_mean_square_error': float(np.sqrt(np.square(truth - value).mean())),
        }  # fmt: skip
        if name in ('fitted', 'matched'):
            inside = [row[f'{name}_interval'][0] <= row['truth'] <= row[f'{name}_interval'][1] for row in kept]
            found[name]['truth_within_interval'] = float(np.mean(inside))
    return found


def draw(path: Path, results: dict[str, Any]) -> None:
    """True success against both estimates, a panel per task."""
    figure, axes = plt.subplots(1, len(results), figsize=(4.2 * len(results), 4.4), layout='constrained', squeeze=False)
    for axis, (task, about) in zip(axes[0], results.items(), strict=True):
        axis.plot([0, 1], [0, 1], color='#c9ccd1', zorder=0)
        for name, colour, shift in (('fitted', RESFIT_COLOUR, -0.004), ('matched', BASE_COLOUR, 0.004)):
            for kind, marker in (('own', 'o'), ('other', 's')):
                rows = [row for row in about['all']['policies'] if row['policy'].startswith(kind)]
                x = np.array([row['truth'] for row in rows]) + shift
                y, ends = (np.array([row[key] for row in rows]) for key in (name, f'{name}_interval'))
                bars = np.abs(ends.T - y)
                label = f'{name}, {kind} run' if axis is axes[0][0] else None
                axis.errorbar(x, y, bars, fmt=marker, color=colour, ms=5, lw=0.8, alpha=0.8, label=label)
        rho = {name: about['all']['correlation'][name]['rank_correlation'] for name in ('fitted', 'matched')}
        axis.set_title(
            f'{task}\nrank correlation {rho["fitted"]:.2f} fitted, {rho["matched"]:.2f} matched', fontsize=10
        )
        axis.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.03), xlabel='true success', aspect='equal')
    axes[0][0].set_ylabel('estimate from bags')
    figure.legend(loc='outside lower center', ncols=4, frameon=False, fontsize=9)
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--task', nargs='+', default=list(STEPS), choices=STEPS)
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--episodes', type=int, default=60, help='that measure a policy (default: %(default)s)')
    parser.add_argument('--out', type=Path, required=True)
    parser.add_argument('--json', type=Path, help='the result; the picture lies beside it')
    arguments = parser.parse_args()
    results: dict[str, Any] = {}
    for task in arguments.task:
        folder = arguments.out / f'{task}-{arguments.seed}'
        if not (folder / 'truth.json').exists():
            for kind in POLICIES:
                if not (folder / kind).exists():
                    for unfinished in [folder / 'episodes', *folder.glob(f'{kind}-*')]:
                        if kind == 'own' or unfinished.name != 'episodes':
                            shutil.rmtree(unfinished, ignore_errors=True)
                    (folder / 'episodes').mkdir(parents=True, exist_ok=True)
                    _, method = prepare(task, arguments.seed, kind)
                    record(method, folder, STEPS[task], kind)
                    (folder / kind).touch()  # done
            measure(*prepare(task, arguments.seed, 'own'), folder, arguments.episodes, arguments.seed)
        results[task] = {}
        for name, share in (('all', 1.0), ('first half', 0.5)):
            rows = guess(folder, share)
            results[task][name] = {'correlation': correlate(rows, arguments.episodes), 'policies': rows}
            print(task, f'{name} of the bags', json.dumps(results[task][name]['correlation'], indent=2))
    if arguments.json:
        arguments.json.write_text(json.dumps({'seed': arguments.seed, **results}, indent=1) + '\n')
        draw(arguments.json.with_suffix('.png'), results)


if __name__ == '__main__':
    main()
