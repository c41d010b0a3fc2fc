"""Checkpoints of the learner: a folder of safetensors and JSON, written whole or not at all.

A checkpoint holds networks, targets, optimisers, random states and counters. The buffer is not in it: the
replay log is the source of truth, and a restarted learner fills its buffer from there.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from resfit_learner.config import LearnerConfig
from resfit_learner.learner import Counters, Learner, Resumed, make_critic
from resfit_learner.networks import EnsembleCritic
from resfit_policy.actor import Exploration, ResidualActor, unpack_actor
from resfit_policy.episode_log import Episode
from resfit_policy.files import sync_folder, write_atomically
from resfit_policy.task import ConfigError, Task, parse_config, read_json

FORMAT = 'resfit-checkpoint-4'
KEEP = 3
MODULES = ('actor', 'critic', 'target_actor', 'target_critic', 'acting')


def save_checkpoint(learner: Learner, root: Path) -> Path:
    """Write ``root/<updates>`` and point ``root/latest`` to it; the oldest beyond three are removed.

    Raises OSError (disk full, read-only); what was there before stays whole.
    """
    name = f'{learner.counters.updates:09d}'
    final, temporary = root / name, root / f'.{name}.partial'
    root.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    data = save(learner_tensors(learner))
    about = {
        'format': FORMAT,
        'task': learner.task.name,
        'config': asdict(learner.config),
        'counters': asdict(learner.counters),
        'log': learner.log,
        'numpy_rng': learner.rng.bit_generator.state,
        'sha256': hashlib.sha256(data).hexdigest(),
    }
    write_atomically(temporary / 'learner.safetensors', data)
    write_atomically(temporary / 'learner.json', json.dumps(about, indent=2).encode())
    write_atomically(temporary / 'actor.safetensors', learner.weights(new_version=False))
    shutil.rmtree(final, ignore_errors=True)  # the same update written twice
    os.replace(temporary, final)
    sync_folder(root)
    link = root / '.latest'
    link.unlink(missing_ok=True)
    link.symlink_to(name)
    os.replace(link, root / 'latest')
    kept = sorted(path for path in root.iterdir() if path.is_dir() and path.name.isdigit())
    for path in kept[:-KEEP]:
        shutil.rmtree(path, ignore_errors=True)
    return final


def latest_checkpoint(root: Path) -> Path | None:
    """The newest whole checkpoint, or None where there is none yet.

    By the folders: what ``latest`` points to may have been damaged and removed, with older ones still there.
    """
    whole = (path.parent for path in root.glob('*/learner.json') if path.parent.name.isdigit())
    return max(whole, default=None)


def read_actor(folder: Path) -> tuple[ResidualActor, Exploration]:
    """What acts by a checkpoint, and how it explores. Raises ConfigError where it is damaged."""
    file = folder / 'actor.safetensors'
    try:
        return unpack_actor(file.read_bytes())[:2]
    except OSError as error:
        raise ConfigError(f'cannot read {file}: {error.strerror}') from None
    except ConfigError as error:
        raise ConfigError(f'{file}: {error}') from None


def load_critic(folder: Path, actor: ResidualActor) -> EnsembleCritic:
    """The critic alone of a checkpoint whose actor is ``actor``. Raises ConfigError where it is damaged."""
    about = folder / 'learner.json'
    critic = make_critic(parse_config(LearnerConfig, read_json(about)['config'], str(about)), actor.config)
    try:
        tensors = load((folder / 'learner.safetensors').read_bytes())
        own = {name.removeprefix('critic.'): value for name, value in tensors.items() if name.startswith('critic.')}
        critic.load_state_dict(own)
    except (OSError, SafetensorError, RuntimeError) as error:
        raise ConfigError(f'{folder}: learner.safetensors does not hold the critic of its actor ({error})') from None
    return critic


def load_checkpoint(learner: Learner, folder: Path) -> None:
    """Bring a freshly made ``learner`` to the state of a checkpoint; then ingest the log again.

    Raises ConfigError where it is damaged, of another task, or of another architecture.
    """
    about = read_json(folder / 'learner.json')
    if about.get('format') != FORMAT:
        raise ConfigError(f'{folder}: format {about.get("format")!r}, this version reads {FORMAT!r}')
    if about.get('task') != learner.task.name:
        raise ConfigError(
            f'{folder} belongs to task {about.get("task")}, not {learner.task.name}: use another run folder'
        )
    try:
        data = (folder / 'learner.safetensors').read_bytes()
    except OSError as error:
        raise ConfigError(f'cannot read {folder}: {error.strerror}') from None
    if hashlib.sha256(data).hexdigest() != about.get('sha256'):
        raise ConfigError(f'{folder}: learner.safetensors does not match its sha256; remove this checkpoint')
    try:
        tensors = load(data)
    except SafetensorError as error:
        raise ConfigError(f'{folder}: {error}') from None
    wanted = {name: value.shape for name, value in _modules(learner).items()}
    held = {name: value.shape for name, value in tensors.items() if name.partition('.')[0] in MODULES}
    wrong = [name for name in wanted | held if wanted.get(name) != held.get(name)]
    if not wrong and about['config'].get('directions') != learner.config.directions:
        wrong = ['actor.basis']  # made with as many as before, whatever is asked for now
    if wrong:
        changed = [key for key, value in asdict(learner.config).items() if _plain(value) != about['config'].get(key)]
        raise ConfigError(
            f'{folder} is of another architecture ({wrong[0]} and {len(wrong) - 1} more differ; changed settings: '
            f'{", ".join(changed) or "none, so another version made it"}): resume with the old settings or start a new '
            'run folder'
        )
    restore_learner(learner, tensors, about['numpy_rng'])
    counters = Counters(**about['counters'])
    # Steps and sequence are counted anew while the log is ingested again.
    learner.counters = Counters(updates=counters.updates, version=counters.version)
    learner.resumed_from = Resumed(counters.sequence, read_actor(folder)[1])
    learner.log = about.get('log', '')


def open_learner(
    root: Path, config: LearnerConfig, task: Task, demonstrations: list[Episode], seed: int,
    progress: Callable[[int], None],
) -> tuple[Learner, Path | None]:  # fmt: skip
    """A learner as the newest checkpoint in ``root`` left it, and that one; a new learner, and None, without any.

    Raises ConfigError where the checkpoint is none of these settings.
    """
    newest = latest_checkpoint(root)
    actor = read_actor(newest)[0].config if newest else None
    learner = Learner(config, task, demonstrations, seed, progress, actor)
    if newest is not None:
        load_checkpoint(learner, newest)
    return learner, newest


def restore_learner(learner: Learner, tensors: dict[str, Tensor], numpy_rng: dict[str, Any]) -> None:
    """Put networks, optimisers and random states back, as ``learner_tensors`` took them."""
    for module_name in MODULES:
        prefix = module_name + '.'
        own = {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
        getattr(learner, module_name).load_state_dict(own)
    for optimiser_name in ('actor_optimiser', 'critic_optimiser'):
        load_optimiser(getattr(learner, optimiser_name), optimiser_name, tensors)
    learner.fill_offline()  # with the correction that the actor was made with
    learner.generator.set_state(tensors['torch_rng'])
    learner.rng.bit_generator.state = numpy_rng


def _plain(value: Any) -> Any:
    return json.loads(json.dumps(value))


def _modules(learner: Learner) -> dict[str, Tensor]:
    return {f'{name}.{key}': value for name in MODULES for key, value in getattr(learner, name).state_dict().items()}


def learner_tensors(learner: Learner) -> dict[str, Tensor]:
    """Copies of networks, targets, optimisers and the torch generator's state, by name."""
    tensors = _modules(learner) | {'torch_rng': learner.generator.get_state()}
    for name in ('actor_optimiser', 'critic_optimiser'):
        tensors |= optimiser_tensors(getattr(learner, name), name)
    return {name: value.detach().to('cpu', copy=True).contiguous() for name, value in tensors.items()}


def optimiser_tensors(optimiser: torch.optim.Optimizer, name: str) -> dict[str, Tensor]:
    """An optimiser's moments and counts, under ``name``."""
    states = optimiser.state_dict()['state'].items()
    return {f'{name}.{i}.{key}': torch.as_tensor(value) for i, state in states for key, value in state.items()}


def load_optimiser(optimiser: torch.optim.Optimizer, name: str, tensors: dict[str, Tensor]) -> None:
    """Put back what ``optimiser_tensors`` gave."""
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        if key.startswith(name + '.'):
            _, index, field = key.split('.')
            state.setdefault(int(index), {})[field] = value
    whole = optimiser.state_dict()
    whole['state'] = state
    optimiser.load_state_dict(whole)
