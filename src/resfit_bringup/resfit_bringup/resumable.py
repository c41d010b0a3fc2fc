"""An online training that may be stopped at any moment, and then gives the same result as one that was not.

All that the next step depends on is in one safetensors file: the method's arrays, and in its metadata, as JSON,
the rest and the curve so far. It is written about once a minute, at Ctrl-C or SIGTERM, and at the end.
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from resfit_learner.curve import Curve
from resfit_learner.method import Method
from resfit_policy.files import sync_folder
from resfit_policy.task import ConfigError

FORMAT = 'resfit-run-2'
EVERY = 60.0  # s between checkpoints, at least
SHARE = 0.05  # of the time, at most, goes into writing them
STOPS = signal.SIGINT, signal.SIGTERM, signal.SIGHUP  # but for those that are ignored, as the last is under nohup


@dataclass
class Log:
    """What a run has to tell beside its curve; all times are of training alone, over all tries together."""

    seconds: list[float] = field(default_factory=list)  # since the start of training, at each episode's end
    cpu_seconds: list[float] = field(default_factory=list)  # processor time: what a busy machine does not stretch
    elapsed: float = 0.0  # s of training so far
    cpu: float = 0.0  # s of processor time in it
    evaluations: list[dict[str, Any]] = field(default_factory=list)  # of intermediate policies
    warm_s: float = 0.0  # of a warm start, before the training
    warm_cpu_s: float = 0.0


def train_resumable(
    method: Method,
    steps: int,
    *,
    log: Log | None = None,
    file: Path | None = None,
    identity: dict[str, Any] | None = None,
    progress: Callable[[], None] = lambda: None,
    evaluate: Callable[[], dict[str, Any]] | None = None,
    evaluate_every: int = 0,
) -> Log:
    """Advance ``method`` to at least ``steps`` online steps, from where ``file`` was left if that is there.

    ``log``: what is told of the time before the training. ``identity``: the settings that decide the run; a file of
    other settings is refused with ConfigError.
    ``evaluate`` is called about every ``evaluate_every`` online steps. Raises KeyboardInterrupt after one of ``STOPS``,
    once everything is on disk.
    """
    log, identity = log or Log(), json.loads(json.dumps(identity or {}))
    if file and file.exists():
        log = _load(method, file, identity)
    begun, saved, cost = time.monotonic() - log.elapsed, time.monotonic(), 0.0
    with _stopping() as stopped:
        while method.env_steps < steps and not stopped:
            before, cpu = method.env_steps, time.process_time()
            method.advance()
            log.cpu += time.process_time() - cpu
            log.elapsed = time.monotonic() - begun
            new = len(method.curve.success) - len(log.seconds)
            log.seconds += [log.elapsed] * new
            log.cpu_seconds += [log.cpu] * new
            progress()
            if evaluate and evaluate_every and method.env_steps // evaluate_every > before // evaluate_every:
                log.evaluations.append({'steps': method.env_steps, **evaluate()})
            if file and time.monotonic() - saved > max(EVERY, cost / SHARE):
                saved = time.monotonic()
                _save(method, log, file, identity)
                cost = time.monotonic() - saved
            begun = time.monotonic() - log.elapsed  # neither evaluations nor checkpoints are training
        if file:
            _save(method, log, file, identity)
        if stopped:
            raise KeyboardInterrupt
    return log


def told_by(file: Path) -> dict[str, Any]:
    """What the method in ``file`` said of itself, {} where there is no such file or it cannot be read."""
    try:
        with safe_open(file, 'pt') as reader:
            return dict(json.loads((reader.metadata() or {}).get('run', '{}')).get('method', {}))
    except (OSError, SafetensorError):
        return {}


@contextmanager
def _stopping() -> Iterator[list[int]]:
    """The first SIGINT, SIGTERM or SIGHUP only puts its number into the list; the second one interrupts at once."""
    received: list[int] = []

    def receive(number: int, frame: Any) -> None:
        if received:
            raise KeyboardInterrupt
        received.append(number)

    before = {number: signal.signal(number, receive) for number in STOPS if signal.getsignal(number) != signal.SIG_IGN}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _save(method: Method, log: Log, file: Path, identity: dict[str, Any]) -> None:
    about = {
        'format': FORMAT, 'identity': identity, 'log': asdict(log), 'curve': asdict(method.curve),
        'method': method.about(),
    }  # fmt: skip
    temporary = file.with_name(f'.{file.name}.partial')
    tensors = method.tensors() | {'global_torch_rng': torch.get_rng_state()}
    save_file(tensors, temporary, {'run': json.dumps(about)})  # straight to disk: a buffer may be most of the memory
    with open(temporary, 'rb') as written:
        os.fsync(written.fileno())
    os.replace(temporary, file)
    sync_folder(file.parent)


def differing(now: Any, before: Any) -> str:
    """Of two sets of settings, the keys that differ, as words to put behind their name."""
    if not isinstance(now, dict) or not isinstance(before, dict):
        return ''
    return ': ' + ' and '.join(key for key in now | before if now.get(key) != before.get(key))


def _load(method: Method, file: Path, identity: dict[str, Any]) -> Log:
    try:
        with safe_open(file, 'pt') as reader:
            about = json.loads((reader.metadata() or {}).get('run', '{}'))
            if about.get('format') != FORMAT:
                raise ConfigError(f'{file}: not a run of this version; choose another --out')
            before = about['identity']
            changed = [key for key in identity | before if identity.get(key) != before.get(key)]
            if changed:
                named = ', '.join(f'{key}{differing(identity.get(key), before.get(key))}' for key in changed)
                raise ConfigError(
                    f'{file} was begun with other settings ({named}): choose another --out, or the old settings'
                )
            tensors = {name: reader.get_tensor(name) for name in reader.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise ConfigError(f'{file}: cannot be read ({error}); remove it to start again') from None
    try:
        method.curve = Curve(**about['curve'])
        torch.set_rng_state(tensors.pop('global_torch_rng'))
        method.restore(tensors, about['method'])
        return Log(**about['log'])
    except (KeyError, RuntimeError, TypeError, ValueError) as error:  # the settings are the same, what they make is not
        raise ConfigError(f'{file}: not a run of this version ({error}); choose another --out') from None
