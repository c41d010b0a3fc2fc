"""The main job by its command: stopped in each stage with Ctrl-C, gone on with, and finished."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from resfit_bringup.stages import read_curve
from resfit_learner.bags import read_log
from resfit_learner.checkpoint import latest_checkpoint
from resfit_policy.testing import isolated_domain

JOB = """
demonstrations: 2
bc: {steps: 60, hidden: [32]}
learner: {heads: 2, critic_hidden: [16], actor_hidden: [16], batch: 32, min_steps: 100, utd: 0.5, warm_start: 50}
steps: 600
evaluation_episodes: 6
"""


@pytest.fixture(autouse=True)
def domain() -> Iterator[int]:
    with isolated_domain() as number:
        yield number


class Command:
    """``resfit train`` in a folder of its own, as a user starts it."""

    def __init__(self, folder: Path, words: list[str]) -> None:
        command = [sys.executable, '-m', 'resfit_bringup.cli', *words]
        self.said = folder / 'said.txt'
        with open(self.said, 'wb') as file:
            self.process = subprocess.Popen(command, cwd=folder, stdout=file, stderr=subprocess.STDOUT)

    def stop_when(self, reached: Callable[[str], object]) -> list[str]:
        """Ctrl-C once ``reached`` what has been said; return the words of the command that goes on."""
        end = time.monotonic() + 90
        while not reached(self.said.read_text()):
            assert self.process.poll() is None and time.monotonic() < end, self.said.read_text()
            time.sleep(0.02)
        self.process.send_signal(signal.SIGINT)
        assert self.process.wait(40) == 130, self.said.read_text()
        text = self.said.read_text()
        assert 'Traceback' not in text
        assert not left_over(), 'a process is left'
        return shlex.split(text.splitlines()[-1].partition('go on with: resfit ')[2])


def left_over() -> list[str]:
    """Nodes in this test's domain."""
    mine = f'ROS_DOMAIN_ID={os.environ["ROS_DOMAIN_ID"]}'.encode()
    found = []
    for path in Path('/proc').glob('[0-9]*'):
        try:
            command, environment = (path / 'cmdline').read_bytes(), (path / 'environ').read_bytes().split(b'\0')
        except OSError:
            continue
        if b'--ros-args' in command and mine in environment:
            found.append(command.replace(b'\0', b' ').decode())
    return found


def test_stopped_in_any_stage_it_goes_on_from_there_and_reports(tmp_path: Path) -> None:
    (tmp_path / 'job.yaml').write_text(JOB)
    words = ['train', '--job', 'job.yaml', '--seed', '3']
    latest = tmp_path / 'runs' / 'latest'

    words = Command(tmp_path, words).stop_when(lambda said: read_curve(latest / 'demonstrations').success)
    assert words[-2] == '--run' and Path(words[-1]) == latest.resolve()
    first = (latest / 'demonstrations' / 'episodes' / '000001-000001' / 'metadata.yaml').read_bytes()

    again = Command(tmp_path, words).stop_when(lambda said: 'base policy: 60' in said)
    assert again == words

    Command(tmp_path, words).stop_when(lambda said: (read_curve(latest).steps or [0])[-1] > 200)
    base, before = (latest / 'base' / 'policy.safetensors').read_bytes(), read_curve(latest)
    assert latest_checkpoint(latest / 'checkpoints') is not None

    Command(tmp_path, words).stop_when(lambda said: 'evaluation: ' in said)
    whole = read_curve(latest)
    assert whole.steps[: len(before.steps)] == before.steps and whole.steps[-1] >= 600
    assert not (latest / 'summary.json').exists()

    command = Command(tmp_path, words)
    assert command.process.wait(120) == 0, command.said.read_text()
    assert 'ResFiT: ' not in command.said.read_text(), 'a finished stage was run again'
    summary = json.loads((latest / 'summary.json').read_text())
    assert summary['env_steps'] == whole.steps[-1] and summary['seed'] == 3
    assert summary['base']['n'] == summary['start']['n'] == summary['resfit']['n'] == 6
    assert summary['utd'] == pytest.approx(0.5, abs=0.01)
    assert summary['wall_s'] > 20, 'the time of the stopped tries is missing'
    assert (latest / 'learning_curve.png').stat().st_size > 10_000
    assert f'n = {len(whole.success)}' in (latest / 'report.html').read_text()
    assert list((latest / 'tensorboard').rglob('events*'))
    assert (latest / 'base' / 'policy.safetensors').read_bytes() == base
    assert json.loads((latest / 'base_count.json').read_text())['episodes'] == 3
    assert (latest / 'demonstrations' / 'episodes' / '000001-000001' / 'metadata.yaml').read_bytes() == first
    ids = [episode.episode_id for episode in read_log(latest)]
    assert ids == sorted(set(ids)) and len(ids) == summary['episodes']
