"""Entry points. A signal that comes while the imports still run ends the process as quietly as one later."""

from __future__ import annotations

import importlib
import os
import signal
from types import FrameType


def _leave(number: int, frame: FrameType | None) -> None:
    os._exit(0)


def start(module: str) -> None:
    """Import a node's module, which may take seconds, and run its ``main``."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _leave)
    importlib.import_module(module).main()


def base_server_node() -> None:
    start('resfit_policy.base_server_node')


def policy_node() -> None:
    start('resfit_policy.policy_node')


def reward_node() -> None:
    start('resfit_policy.reward_node')


def streamer_node() -> None:
    start('resfit_policy.streamer_node')


def controllers_node() -> None:
    start('resfit_policy.controllers_node')


def watch_node() -> None:
    start('resfit_policy.watch_node')


def joystick_node() -> None:
    start('resfit_policy.joystick_node')


def web_node() -> None:
    start('resfit_policy.web_node')


def classifier_node() -> None:
    start('resfit_policy.classifier_node')
