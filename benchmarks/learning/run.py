"""Make the runs of a figure: those without a result, from where they were stopped.

source setup.bash && python benchmarks/learning/run.py main --jobs 2
python benchmarks/learning/run.py --list

One process per run. Ctrl-C and SIGTERM stop the runs at their next checkpoint; the same command goes on.
Results go to benchmarks/learning/results, checkpoints and logs to runs/learning.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import shlex
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

from figures import Run, load_figures

from resfit_policy.task import ConfigError


def main() -> int:
    figures = load_figures()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('figure', nargs='*', metavar='FIGURE', help=f'{", ".join(figures)} (default: all)')
    parser.add_argument('--seeds', type=int, nargs='+', help='only runs with these seeds')
    parser.add_argument('--only', metavar='TEXT', help='only runs with TEXT in their names')
    parser.add_argument('--steps', type=int, help='online steps in place of those of the figure, for a trial')
    parser.add_argument('--jobs', type=int, default=1, help='runs at the same time (default: %(default)s)')
    parser.add_argument('--stale', action='store_true', help='also make anew what was made with other settings')
    parser.add_argument('--list', action='store_true', help='only say what there is')
    args = parser.parse_args()
    if unknown := set(args.figure) - set(figures):
        parser.error(f'no figure {", ".join(sorted(unknown))}: choose from {", ".join(figures)}')
    runs = [run for name in args.figure or figures for run in figures[name].runs]
    runs = list({run.name: replace(run, steps=args.steps, trial=True) if args.steps else run for run in runs}.values())
    runs = [run for run in runs if (not args.seeds or run.seed in args.seeds) and (args.only or '') in run.name]
    if args.list:
        for run in runs:
            print(f'{run.figure:10} {run.name:50} {state(run)}')  # noqa: T201
        return 0
    todo = [run for run in runs if run.load() is None or (args.stale and stale(run))]
    say(f'{len(runs)} runs, {len(todo)} to make, {args.jobs} at a time')
    return make(todo, args.jobs)


def make(todo: list[Run], jobs: int) -> int:
    """Make the runs in order, ``jobs`` at a time. The number of runs that failed, at most 100; 130 when stopped."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    active: list[tuple[Run, subprocess.Popen[bytes], float]] = []
    failed = 0
    try:
        while todo or active:
            while todo and len(active) < jobs:
                try:
                    if (process := start(todo[0])) is not None:
                        active.append((todo[0], process, time.monotonic()))
                except ConfigError as error:
                    say(f'{todo[0].name}: not made: {error}')
                    failed += 1
                todo = todo[1:]
            time.sleep(0.5)
            for item in [item for item in active if item[1].poll() is not None]:
                active.remove(item)
                failed += report(*item)
    except KeyboardInterrupt:
        for _, process, _ in active:  # they have sessions of their own: this is the one signal they get
            process.terminate()  # a background job may ignore SIGINT, and its children with it
        for _, process, _ in active:
            process.wait()
        say('stopped; the same command goes on')
        return 130
    return min(failed, 100)


def start(run: Run) -> subprocess.Popen[bytes] | None:
    """Start a run; None where another process is at it. Raises ConfigError where its settings cannot be."""
    folder = run.folder()
    folder.mkdir(parents=True, exist_ok=True)
    run.result.parent.mkdir(parents=True, exist_ok=True)
    lock: IO[Any] = open(folder / 'lock', 'w')  # noqa: SIM115 - the child holds it as long as it lives
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        say(f'{run.name}: another process is at it')
        return None
    words = ['resfit', *run.words(), '--out', str(folder), '--json', str(_relative(run.result))]
    say(f'{run.name}: {shlex.join(words)}')
    with lock, open(folder / 'log.txt', 'ab') as log:
        return subprocess.Popen(
            [sys.executable, '-m', 'resfit_bringup.cli', *words[1:]], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            env=os.environ | {'OMP_NUM_THREADS': '1', 'RESFIT_COMMAND': 'resfit'}, start_new_session=True,
            pass_fds=[lock.fileno()],
        )  # fmt: skip


def report(run: Run, process: subprocess.Popen[bytes], begun: float) -> bool:
    """Say how a run ended; True where it failed."""
    result = run.load() if process.returncode == 0 else None
    if result is None:
        say(f'{run.name}: FAILED: {last_line(run)} ({run.folder() / "log.txt"})')
        return True
    say(f'{run.name}: {outcome(result)} after {time.monotonic() - begun:.0f} s')
    return False


def state(run: Run) -> str:
    """How far a run is, for people."""
    result = run.load()
    if result is None:
        return f'begun: {last_line(run)}' if last_line(run) else 'not run'
    changed = stale(run)
    return outcome(result) + (f'  STALE: other {", ".join(changed)}' if changed else '')


def outcome(result: dict[str, Any]) -> str:
    dip = result['dip']['ratio'] if result['dip'] else float('nan')
    return (
        f'base {result["base"]["success"]:.0%} -> {result["resfit"]["success"]:.0%}, dip {dip:.2f}, '
        f'{result["env_steps"]} steps at {result["env_steps_per_s"]}/s'
    )


def stale(run: Run) -> list[str]:
    try:
        return run.stale()
    except ConfigError:
        return ['settings that are not known now']


def last_line(run: Run) -> str:
    try:
        lines = (run.folder() / 'log.txt').read_text(errors='replace').splitlines()
    except (OSError, ConfigError):
        return ''
    return lines[-1] if lines else ''


def _relative(path: Path) -> Path:
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def say(text: str) -> None:
    print(f'{time.strftime("%H:%M:%S")} {text}', flush=True)  # noqa: T201


if __name__ == '__main__':
    sys.exit(main())
