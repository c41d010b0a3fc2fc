"""What a result was made with."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = 'torch', 'numpy', 'mujoco', 'gymnasium'


def versions() -> dict[str, str | int | None]:
    """Git commit (with ``-dirty`` where sources were changed since), Python, libraries, and number of cores."""
    found: dict[str, str | int | None] = {'commit': _commit(), 'python': platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = None
    return found | {'cores': os.cpu_count()}


def _commit() -> str | None:
    """None outside a checkout."""
    command = ['git', '-C', str(Path(__file__).resolve().parent), 'describe', '--always', '--dirty', '--abbrev=12']
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
