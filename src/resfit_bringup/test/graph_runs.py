"""What tests of whole graphs share: a domain of their own, a run of the expert, and what it left behind."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from resfit_bringup.graph import Graph, Options, collect_graph
from resfit_bringup.runner import Runner
from resfit_policy.testing import isolated_domain

EXPERT = 'resfit_sim.experts:unseen'


@pytest.fixture(autouse=True)
def domain() -> Iterator[int]:
    with isolated_domain() as number:
        yield number


@pytest.fixture(scope='module')
def demonstrations(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp('demonstrations')
    with isolated_domain(), Runner(collect(folder, 3)) as runner:
        runner.wait(within(120))
    return folder


def within(seconds: float, meanwhile: Callable[[], None] = lambda: None) -> Callable[[], None]:
    """Does ``meanwhile``, and fails when it is called after that time."""
    end = time.monotonic() + seconds

    def check() -> None:
        assert time.monotonic() < end, 'the graph has not come to its end'
        meanwhile()

    return check


def collect(folder: Path, episodes: int = 0, **options: Any) -> Graph:
    return collect_graph(Options(run_dir=folder, base=EXPERT, seed=40, max_episodes=episodes, **options))


def index(folder: Path) -> list[dict[str, Any]]:
    path = folder / 'episodes' / 'index.json'
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
