"""Steps that several commands share: demonstrations, base, evaluation."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np

import resfit_sim
from resfit_bringup.job import Job, digest
from resfit_bringup.progress import Progress
from resfit_learner.act_training import train_act
from resfit_learner.bags import read_log
from resfit_learner.bc import relabel, train_base
from resfit_learner.demonstrations import split
from resfit_learner.evaluation import Comparison, Rate, compare, interleaved, wilson
from resfit_learner.export import write_episode
from resfit_learner.rollout import run_episode
from resfit_policy.act import ActNet
from resfit_policy.base_policy import ChunkNet, load_base, save_base
from resfit_policy.episode_log import Arm, Episode
from resfit_policy.files import new_folder, write_atomically
from resfit_policy.observation import BasePolicy
from resfit_policy.runtime import PolicyRuntime
from resfit_policy.task import ConfigError, Task
from resfit_sim.env import VegaEnv
from resfit_sim.experts import make_expert

EVALUATION_SEEDS = 5000  # + seed * 100000; training starts count up from seed * 100000 + 10000
COUNTING_SEEDS = 8000
TRAINING_SEEDS = 10_000
DEMONSTRATION_SEEDS = 1000

ALONE = 'the labels so far say that the base is the better one, so in place of what was learned it acted alone'


def cache_folder() -> Path:
    """Where results that are a function of their inputs are kept."""
    return Path(os.environ.get('XDG_CACHE_HOME', Path.home() / '.cache')) / 'resfit'


def seeds(first: int, seed: int, count: int) -> list[int]:
    """``count`` seeds of scene starts; those of demonstrations, training and evaluation never meet."""
    return [seed * 100_000 + first + index for index in range(count)]


def record_demonstrations(
    folder: Path, env: gymnasium.Env[Any, Any], task: Task, expert: BasePolicy, count: int, seed: int
) -> list[Episode]:
    """``count`` successful expert episodes, in-process, as bags in ``folder`` (kept and reused)."""
    if folder.exists():
        return list(read_log(folder))
    try:
        with new_folder(folder) as partial:
            return _recorded(partial, env, PolicyRuntime(task, expert), count, seed)
    except OSError:
        if not folder.exists():
            raise
        return list(read_log(folder))  # somebody else was quicker


def _recorded(
    folder: Path, env: gymnasium.Env[Any, Any], runtime: PolicyRuntime, count: int, seed: int
) -> list[Episode]:
    tried, kept = 0, list[Episode]()
    with Progress('demonstrations', count, 'episodes') as progress:
        while len(kept) < count:
            if tried >= 2 * count + 20:
                raise ConfigError(
                    f'the demonstrator succeeded only {len(kept)} times in {tried}: too weak to learn from'
                )
            episode = run_episode(
                env,
                runtime,
                seed=seeds(DEMONSTRATION_SEEDS, seed, tried + 1)[-1],
                arm=Arm.BASE,
                episode_id=len(kept) + 1,
            )
            tried += 1
            if episode.success:
                kept.append(episode)
                write_episode(folder / f'{len(kept):06d}-{len(kept):06d}', episode)
                progress.update(len(kept))
    return kept


def expert_demonstrations(task: Task, job: Job, seed: int) -> Path:
    """Bags of the task's scripted expert on the demonstrated objects, made in-process once and kept."""
    sources = [hash_bytes(path.read_bytes()) for path in sorted(Path(resfit_sim.__file__).parent.glob('*.py'))]
    key = digest(task, job.demonstrated, job.demonstrations, seed, sources)  # another simulation shows other things
    folder = cache_folder() / 'demonstrations' / f'{task.name}-{key}'
    if not folder.exists():
        env = VegaEnv(task, observation='both' if task.from_pixels else 'state', variant=job.demonstrated)
        expert = make_expert(task.name, job.demonstrated)
        record_demonstrations(folder, env, env.task, expert, job.demonstrations, seed)
    return folder


def train_and_save_base(
    folder: Path, task: Task, demonstrations: Sequence[Episode], job: Job, seed: int
) -> dict[str, Any]:
    """Train on all but the held-out demonstrations, freeze into ``folder``, return what is worth knowing."""
    training, held_out = split(demonstrations, job.learner_config().held_out)
    with Progress('base policy', job.act.steps if task.from_pixels else job.bc.steps) as progress:

        def show(step: int, loss: float) -> None:
            progress.update(step, f'loss {loss:.3f}')

        net: ChunkNet | ActNet
        if task.from_pixels:
            net = train_act(job.act, task, training, seed, show)
        else:
            net = train_base(job.bc, task, training, seed, show)
    about: dict[str, Any] = {'demonstrations': len(training), 'held_out': len(held_out), 'seed': seed}
    save_base(folder, net, task, about)
    base = load_base(str(folder), task)
    errors = [relabel(episode, base) for episode in held_out]
    about['held_out_error_rad'] = float(
        np.mean([np.abs(item.base_action - item.executed_action).mean() for item in errors])
    )
    return about


def cached_base(task: Task, demonstrations: Sequence[Episode], job: Job, seed: int) -> Path:
    """The base of these demonstrations, trained once and kept under the hash of what it is made from."""
    key = digest(
        task,
        job.act if task.from_pixels else job.bc,
        job.learner_config().held_out,
        seed,
        contents(demonstrations),
    )
    folder = cache_folder() / 'bases' / key
    if not (folder / 'policy.json').exists():
        train_and_save_base(folder, task, demonstrations, job, seed)
    return folder


def contents(demonstrations: Sequence[Episode]) -> list[str]:
    """A hash of what each of them shows, and of its label."""
    parts = [(item.executed_action, item.state, item.images) for item in demonstrations]
    labels = [b'' if item.success else b'failure' for item in demonstrations]
    return [
        hash_bytes(b''.join(part.tobytes() for part in item) + label) for item, label in zip(parts, labels, strict=True)
    ]


def fingerprint(base: str) -> str:
    """A hash of the files of a base; where it is none of files, its name."""
    path = Path(base)
    files = sorted(item for item in path.rglob('*') if item.is_file()) if path.is_dir() else [path]
    return digest([hash_bytes(item.read_bytes()) for item in files]) if path.exists() else base


def hash_bytes(data: bytes) -> str:
    """Short content hash."""
    return hashlib.sha256(data).hexdigest()[:16]


def count_base(file: Path, env: VegaEnv, base: Path, episodes: int, seed: int) -> tuple[int, int]:
    """Successes and episodes of the base alone, on starts of their own; counted once and kept in ``file``."""
    if not file.exists():
        runtime, successes = PolicyRuntime(env.task, load_base(str(base), env.task)), 0
        with Progress('base alone', episodes, 'episodes') as progress:
            for done, start in enumerate(seeds(COUNTING_SEEDS, seed, episodes), start=1):
                successes += run_episode(env, runtime, seed=start, arm=Arm.BASE).success
                progress.update(done, f'success {successes / done:.0%}')
        write_atomically(file, json.dumps({'successes': successes, 'episodes': episodes}).encode())
    counted = json.loads(file.read_text())
    return counted['successes'], counted['episodes']


def evaluate(
    env: gymnasium.Env[Any, Any], runtime: PolicyRuntime, episodes: int, seed: int
) -> tuple[Comparison, list[Episode], list[Episode]]:
    """Base against base + residual on the same fresh starts, with a progress line."""
    with Progress('evaluation', episodes, 'starts') as progress:

        def show(done: int, so_far: Comparison) -> None:
            progress.update(done, f'base {so_far.base.success:.0%}, ResFiT {so_far.resfit.success:.0%}')

        base, resfit = interleaved(env, runtime, seeds(EVALUATION_SEEDS, seed, episodes), show)
    if runtime.alone:
        print(ALONE)  # noqa: T201
    return compare(base, resfit), base, resfit


def evaluate_start(env: gymnasium.Env[Any, Any], runtime: PolicyRuntime, episodes: int, seed: int) -> Rate:
    """What the warm start alone does on the starts of ``evaluate``: all that was learned online is taken away."""
    learned, won = runtime.exploration, 0
    runtime.exploration = replace(learned, limit=0.0, base_share=0.0)
    with Progress('start alone', episodes, 'starts') as progress:
        for done, start in enumerate(seeds(EVALUATION_SEEDS, seed, episodes), 1):
            won += run_episode(env, runtime, seed=start, arm=Arm.RESIDUAL).success
            progress.update(done, f'success {won / done:.0%}')
    runtime.exploration = learned
    return wilson(won, episodes)
