"""``resfit label``: an operator's keys, beside a graph that runs."""

from __future__ import annotations

import argparse
import os
import select
import sys
import termios
import tty
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import rclpy

from resfit_policy.desk import Desk

KEYS = {
    's': ('success', 'success: ends the running episode, or corrects the newest one'),
    'f': ('failure', 'failure, likewise'),
    'a': ('abort', 'abort: ends the episode without a result'),
    'u': ('undo', 'undo the newest correction'),
    'r': ('ready', 'the scene is ready'),
    ' ': ('stop', 'emergency stop (space)'),
    'R': ('release', 'release the emergency stop (capital R)'),
}
HELP = '\n'.join(f'  {key if key != " " else "space":6} {about}' for key, (_, about) in KEYS.items())


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--namespace', default='', help='ROS namespace of the graph')
    who = os.environ.get('USER') or 'operator'
    parser.add_argument('--name', default=who, help='who labels, for the record (default: %(default)s)')


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Until q, Ctrl-C or the end of the input: one key, one action. Works with keys that are piped in, too."""
    rclpy.init(args=[])
    node = rclpy.create_node('operator', namespace=args.namespace)
    given = 0
    try:
        desk = Desk(node, args.name, lambda text: print(text, flush=True))  # noqa: T201
        print(f'{HELP}\n  q      end', flush=True)  # noqa: T201
        with keys() as pressed:
            for key in pressed:
                rclpy.spin_once(node, timeout_sec=0.02)
                if key == 'q':
                    break
                if key in KEYS:
                    desk.act(KEYS[key][0])
                    given += 1
            for _ in range(10):  # what the last key led to
                rclpy.spin_once(node, timeout_sec=0.05)
    finally:
        node.destroy_node()
        rclpy.try_shutdown()
    return {'operator': args.name, 'keys': given}


@contextmanager
def keys() -> Iterator[Iterator[str]]:
    """Keys as they are pressed, without Enter, and '' while there is none; until the input ends."""
    source = sys.stdin.fileno()
    before = termios.tcgetattr(source) if os.isatty(source) else None

    def read() -> Iterator[str]:
        while True:
            if not select.select([source], [], [], 0)[0]:
                yield ''
                continue
            data = os.read(source, 1)
            if not data:
                return
            yield data.decode(errors='replace')

    try:
        if before is not None:
            tty.setcbreak(source)
        yield read()
    finally:
        if before is not None:
            termios.tcsetattr(source, termios.TCSADRAIN, before)
