"""``resfit bag evaluate``: what would a policy achieve that was not run? Estimates from the bags alone."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import Any

from resfit_bringup.progress import Progress
from resfit_learner.bags import read_log
from resfit_learner.checkpoint import load_critic
from resfit_learner.evaluation import Rate, wilson
from resfit_learner.offline import LEAST_MATCHED, Estimate, believed, estimate, happened, usable
from resfit_policy.actor import ResidualActor, unpack_actor
from resfit_policy.episode_log import Arm, Episode
from resfit_policy.task import ConfigError

COVERED = 0.8  # share of phases below which an estimate is not to be trusted
WIDE = 0.3  # width of an interval above which it says little


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('path', type=Path, help="a run's folder, or its folder of episodes")
    parser.add_argument(
        '--weights', type=Path, nargs='+', metavar='PATH', help="checkpoints or their actors (default: the run's)"
    )


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Estimate the success of every checkpoint, and of the base alone."""
    episodes = list(read_log(args.path))
    kept = usable(episodes)
    policies = {str(path): read_actor(path, kept[0]) for path in args.weights or checkpoints(args.path)}
    where = next(iter(policies))
    rows: dict[str, dict[str, Any]] = {}
    with Progress('estimates', len(policies) + 1, 'policies') as progress:
        for name, (actor, version) in {'base alone': policies[where], **policies}.items():
            alone = name == 'base alone'
            about = about_base(kept) if alone else about_policy(kept, Path(name), actor, version)
            found = estimate(kept, actor, authority=0.0 if alone else 1.0, seed=args.seed)
            rows[name] = {'fitted': found.fitted, 'matched': found.matched, 'covered': found.covered, **about}
            rows[name]['doubt'] = doubts(found)
            progress.update(len(rows))
    recorded = wilson(sum(item.success for item in kept), len(kept))
    print(table(rows, recorded))  # noqa: T201
    plain = {name: {key: asdict(value) if isinstance(value, Rate) else value for key, value in row.items()}
             for name, row in rows.items()}  # fmt: skip
    return {'episodes': len(kept), 'recorded': asdict(recorded), 'policies': plain}


def checkpoints(run_dir: Path) -> list[Path]:
    """The checkpoints of a run. Raises ConfigError where it has none."""
    found = sorted(path.parent for path in (run_dir / 'checkpoints').glob('*/actor.safetensors'))
    if not found:
        raise ConfigError(f'{run_dir} has no checkpoints: give --weights')
    return found


def read_actor(path: Path, episode: Episode) -> tuple[ResidualActor, int]:
    """The actor of a checkpoint or a file, and its version. Raises ConfigError, also where ``episode`` is not its."""
    file = path / 'actor.safetensors' if path.is_dir() else path
    try:
        actor, _, version = unpack_actor(file.read_bytes())
    except OSError as error:
        raise ConfigError(f'cannot read {file}: {error.strerror}; give a checkpoint or an actor.safetensors') from None
    shape, size, joints = actor.config, episode.seen.shape[1] - 1, episode.base_action.shape[1]
    if (shape.state_size, shape.action_size) != (size, joints):
        raise ConfigError(
            f'{file} corrects {shape.action_size} joints and sees a state of {shape.state_size} numbers, these '
            f'episodes have {joints} and {size}: they are of another task or observation'
        )
    return actor, version


def about_policy(episodes: list[Episode], path: Path, actor: ResidualActor, version: int) -> dict[str, Any]:
    """What the learner's critic expects of a policy, and what came of its neighbours in the log."""
    folder = path if path.is_dir() else path.parent
    expected = believed(episodes, actor, load_critic(folder, actor)) if (folder / 'learner.json').exists() else None
    newer = version > max(int(item.weights_version.max()) for item in episodes)
    return {'version': version, 'critic': expected, 'happened': happened(episodes, version), 'newer': newer}


def about_base(episodes: list[Episode]) -> dict[str, Any]:
    """What came of the base, where it acted alone."""
    alone = [item.success for item in episodes if item.arm == Arm.BASE]
    return {'version': 0, 'critic': None, 'happened': wilson(sum(alone), len(alone)) if alone else None, 'newer': False}


def doubts(found: Estimate) -> str:
    """Why an estimate is not to be trusted, '' where nothing speaks against it."""
    said = []
    if found.covered < COVERED:
        said.append(f'in {1 - found.covered:.0%} of the phases nobody ever tried such corrections')
    if found.fitted.high - found.fitted.low > WIDE:
        said.append('too few episodes')
    if found.matched.n < LEAST_MATCHED or not found.matched.low <= found.fitted.success <= found.matched.high:
        said.append('the two estimates disagree')
    return ', '.join(said)


def table(rows: dict[str, dict[str, Any]], recorded: Rate) -> str:
    """For the terminal."""

    def rate(value: Rate | None) -> str:
        return f'{value.success:4.0%} [{value.low:3.0%}, {value.high:4.0%}] {value.n:4}' if value else f'{"-":>22}'

    titles = ('fitted Q', 'matched episodes', 'what happened')
    lines = ['  '.join([f'{"":24}', *(f'{title + ", n":>22}' for title in titles), 'covered', 'critic'])]
    for name, row in rows.items():
        critic = '-' if row['critic'] is None else f'{row["critic"]:.2f}'
        cells = [rate(row[key]) for key in ('fitted', 'matched', 'happened')]
        lines.append('  '.join([f'{name[-24:]:24}', *cells, f'{row["covered"]:7.0%}', f'{critic:>6}']))
        lines += [f'    not to be trusted: {row["doubt"]}'] if row['doubt'] else []
        lines += ['    newer than every recorded episode: it has not been run in them'] if row['newer'] else []
    lines.append(f'recorded: {recorded.success:.0%} of {recorded.n}; intervals: 95 %, without the bias of an estimate')
    lines.append('Where little was recorded, estimates lean towards that rate. The critic counts discounted returns.')
    return '\n'.join(lines)
