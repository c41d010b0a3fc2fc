"""What the figures consist of: runs, their names, and where their results lie."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import yaml

from resfit_bringup.job import digest, load_job
from resfit_policy.task import ConfigError

HERE = Path(__file__).resolve().parent
RESULTS = HERE / 'results'
# Settings that came after results were made, each with the value that means what was done before.
SINCE = {
    'averaging': 1.0,
    'caution': 0.0,
    'phase_directions': False,
    'warm_start': 0,
    'trust_episodes': 0,
    'picture': 0.0,
    'device': 'auto',
}
SCRATCH = Path('runs') / 'learning'  # in the folder one is in: checkpoints, logs, results of trials
OURS = 'ours'


def then(recorded: dict[str, Any], key: str, now: Any) -> Any:
    """What a setting, or each part of it, was when ``recorded`` was written."""
    value = recorded.get(key, SINCE.get(key))
    if not value or not isinstance(now, dict):
        return value
    return {**value, **{part: then(value, part, now[part]) for part in now}}


@dataclass(frozen=True)
class Run:
    """One training: what ``resfit experiment`` is told."""

    figure: str  # that owns the result
    seed: int
    task: str = ''
    env: str = ''
    method: str = 'resfit'
    recipe: str = ''
    observation: str = ''
    steps: int = 0
    set: dict[str, Any] = field(default_factory=dict)
    panel: str = ''  # title of a picture of its own within the figure
    trial: bool = False  # its result is not kept with the others

    @property
    def where(self) -> str:
        """Task or environment, and how it is seen."""
        name = self.task or self.env.replace(':', '_').replace('/', '_')
        return f'{name}-{self.observation}' if self.observation else name

    @property
    def label(self) -> str:
        """Method or recipe with what was changed in it."""
        name = self.method if self.method != 'resfit' else self.recipe or OURS
        return ' '.join([name, *(f'{key}={_in_short(value)}' for key, value in self.set.items())])

    @property
    def name(self) -> str:
        steps = [f'steps={self.steps}'] if self.steps else []
        return '-'.join([self.where, *self.label.split(), *steps, f's{self.seed}'])

    @property
    def result(self) -> Path:
        return (SCRATCH / 'trial' if self.trial else RESULTS / self.figure) / f'{self.name}.json'

    def words(self) -> list[str]:
        """Arguments of ``resfit``, without those that say where to write."""
        words = ['experiment', '--seed', str(self.seed), '--method', self.method]
        for key in ('task', 'env', 'recipe', 'observation', 'steps'):
            if value := getattr(self, key):
                words += [f'--{key}', str(value)]
        for key, value in self.set.items():
            words += ['--set', f'{key}={json.dumps(value)}']
        return words

    def plan(self) -> dict[str, Any]:
        """What decides the run as things are now: job and hyper-parameters. Raises ConfigError."""
        job = load_job(
            self.task or self.env,
            env=bool(self.env),
            steps=self.steps or None,
            recipe=self.recipe or None,
            observation=self.observation or None,
        )
        settings = asdict(job.learner_config(**self.set)) if self.method == 'resfit' else {}
        # recipe and learner are in the settings; only one of the two bases is trained
        elsewhere = ('recipe', 'learner', 'bc' if job.observation == 'vision' else 'act')
        there = {key: value for key, value in asdict(job).items() if key not in elsewhere}
        return json.loads(json.dumps({'job': there, 'settings': settings}))

    def load(self) -> dict[str, Any] | None:
        """The result, or None where there is none yet."""
        return json.loads(self.result.read_text()) if self.result.exists() else None

    def stale(self) -> list[str]:
        """Settings that are others now than when the result was made."""
        result = self.load()
        if result is None:
            return []
        plan = self.plan()
        return [key for part in plan for key, now in plan[part].items() if now != then(result[part], key, now)]

    def folder(self) -> Path:
        """Where the run keeps its checkpoints; other settings are another folder."""
        return SCRATCH / self.figure / f'{self.name}-{digest(self.plan())[:8]}'


@dataclass(frozen=True)
class Figure:
    """A question, and the runs that answer it."""

    name: str
    about: str
    runs: list[Run]
    beside: list[str]
    log: bool


def load_figures(path: Path = HERE / 'figures.yaml') -> dict[str, Figure]:
    """All figures. Raises ConfigError where a run has a key that is not known."""
    figures: dict[str, Figure] = {}
    owners: dict[str, Run] = {}
    for name, given in yaml.safe_load(path.read_text()).items():
        runs = []
        for pattern in given['runs']:
            for seed in pattern.get('seeds', given['seeds']):
                try:
                    found = [Run(name, seed, **values) for values in _expand(pattern)]
                except TypeError as error:
                    raise ConfigError(f'{path}, {name}: {error}') from None
                runs += [owners.setdefault(run.name, run) for run in found]
        figures[name] = Figure(name, given['about'], runs, given.get('beside', []), given.get('log', False))
    return figures


def with_beside(figure: Figure, figures: dict[str, Figure]) -> list[Run]:
    """The figure's runs after those of the figures it is shown beside, on the same tasks and seeds."""
    same = {(run.where, run.seed) for run in figure.runs}
    others = [run for name in figure.beside for run in figures[name].runs if (run.where, run.seed) in same]
    return list({run.name: run for run in others + figure.runs}.values())


def _in_short(value: Any) -> str:
    """A setting's value in a name: layers of a network as 64x64."""
    return 'x'.join(map(str, value)) if isinstance(value, list) else str(value)


def _expand(pattern: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """One dictionary per combination of the elements of lists."""
    pattern = {key: value for key, value in pattern.items() if key != 'seeds'}
    changed = pattern.pop('set', {})
    keys = [*pattern, *(('set', key) for key in changed)]
    values = [value if isinstance(value, list) else [value] for value in (*pattern.values(), *changed.values())]
    for chosen in itertools.product(*values):
        pairs = dict(zip(keys, chosen, strict=True))
        yield {
            **{key: value for key, value in pairs.items() if isinstance(key, str)},
            'set': {key[1]: value for key, value in pairs.items() if not isinstance(key, str)},
        }
