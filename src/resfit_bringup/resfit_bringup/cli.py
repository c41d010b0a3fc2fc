"""The ``resfit`` command: one verb per module in ``resfit_bringup.commands``."""

from __future__ import annotations

import argparse
import importlib
import json
import logging
import os
import shlex
import signal
import sys
from pathlib import Path
from typing import Any

os.environ.setdefault('OMP_NUM_THREADS', '1')  # before numpy: in many small operations threads are in each other's way

from resfit_policy.files import write_atomically
from resfit_policy.task import ConfigError

COMMANDS = {
    'train': 'the main job: demonstrations, base, ResFiT on the ROS graph, evaluation, report',
    'expert': 'run the scripted expert of a task and count its successes',
    'collect': 'record demonstrations of the expert as bags, through the ROS graph',
    'bc': 'train a base policy on demonstrations and freeze it',
    'experiment': 'ResFiT in-process on any Gymnasium environment, without ROS',
    'evaluate': 'base against base + residual on the same starts, interleaved',
    'ab': 'base against base + residual on the graph, blind: who labels is not told which acts',
    'label': 'label, correct, abort and stop with keys, beside a running graph',
    'bag': 'bags as evidence: inspect, replay, play, evaluate, report; to and from LeRobot datasets',
    'reward': 'an image classifier as the source of success: train, test',
}
PROGRAM = os.environ.get('RESFIT_COMMAND', 'resfit')  # as the user called it


def main(arguments: list[str] | None = None) -> int:
    """Parse, run, and say in one line what went wrong and what to do; exit code 0 only on success."""
    words = sys.argv[1:] if arguments is None else arguments
    args = argparse.Namespace(command='', resume=None, words=words)
    if arguments is None:  # as a program: what ends it from outside is a Ctrl-C, after which nothing is left behind
        for number in (signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) == signal.SIG_DFL:  # and not ignored, as under nohup
                signal.signal(number, signal.default_int_handler)
    try:
        parse(words, args)
        logging.basicConfig(level=logging.WARNING, format='%(message)s', stream=sys.stderr)
        logging.getLogger('resfit_bringup').setLevel(logging.INFO)  # libraries only speak up when something is wrong
        if args.json is not None:
            check_writable(args.json)
        result: dict[str, Any] = args.run(args)
        if args.json is not None:
            write_atomically(args.json, one_line_per_key(result).encode())
    except (ConfigError, OSError) as error:
        print(f'resfit {args.command}: error: {error}', file=sys.stderr)  # noqa: T201
        return 2
    except KeyboardInterrupt:
        print(f'resfit {args.command}: stopped', file=sys.stderr)  # noqa: T201
        if args.resume is not None:
            again = shlex.join([PROGRAM, *words, *args.resume])
            print(f'nothing is lost; go on with: {again}', file=sys.stderr)  # noqa: T201
        # A signal that came inside an exec (an import that makes a dataclass) is remembered by the interpreter, and
        # python -m would end by it in place of 130; the next exec forgets it.
        exec('')  # noqa: S102
        return 130
    return 0


def parse(words: list[str], args: argparse.Namespace) -> None:
    """Parse the command line into ``args``; ``args.run`` is the command's function.

    A command whose work can be gone on with sets ``args.resume``: the arguments to add for that.
    """
    parser = argparse.ArgumentParser(
        prog=PROGRAM, description='ResFiT for ROS 2: residual off-policy RL over a frozen policy.'
    )
    add_verbs(parser, 'command', 'resfit_bringup.commands', COMMANDS, words)
    parser.parse_args(words, args)


def add_verbs(
    parser: argparse.ArgumentParser, dest: str, package: str, commands: dict[str, str], words: list[str]
) -> None:
    """One verb per module of ``package``; a module with ``COMMANDS`` of its own is a package of further verbs.

    Only the chosen one is imported: the others' imports (torch, mujoco) would only make --help slow.
    """
    verbs = parser.add_subparsers(dest=dest, metavar='COMMAND', required=True)
    chosen = next((word for word in words if not word.startswith('-')), None)
    for name, about in commands.items():
        verb = verbs.add_parser(name, help=about, description=about[0].upper() + about[1:] + '.')
        if name != chosen:
            continue
        module = importlib.import_module(f'{package}.{name.replace("-", "_")}')
        if hasattr(module, 'COMMANDS'):
            add_verbs(verb, f'{dest} {name}', module.__name__, module.COMMANDS, words[words.index(name) + 1 :])
            continue
        task = getattr(module, 'TASK', 'woolly_ball')
        verb.add_argument(
            '--task', default=task, help=f'name or YAML file of the task (default: {task or "that of the run"})'
        )
        verb.add_argument('--seed', type=seed, default=0, help='seed of all that is random (default: %(default)s)')
        verb.add_argument('--json', type=Path, metavar='FILE', help='write the result there as JSON')
        module.add_arguments(verb)
        verb.set_defaults(run=module.run)


def seed(text: str) -> int:
    """A number that every random generator takes, also when scenes count on from a multiple. Raises ValueError."""
    value = int(text)
    if not 0 <= value < 2**31:
        raise ValueError(text)
    return value


def one_line_per_key(result: dict[str, Any]) -> str:
    """JSON to read and to compare line by line, in which a curve of a thousand episodes is one line."""
    lines = (f'  {json.dumps(key)}: {json.dumps(value)}' for key, value in result.items())
    return '{\n' + ',\n'.join(lines) + '\n}\n'


def check_writable(path: Path) -> None:
    """Refuse a result file that could not be written, before the work and not after it. Raises ConfigError."""
    folder = path.absolute().parent
    if path.is_dir() or not folder.is_dir() or not os.access(folder, os.W_OK):
        raise ConfigError(f'cannot write {path}: give a file in a folder that exists and can be written')


if __name__ == '__main__':
    sys.exit(main())
