"""``resfit ab``: base against base + residual on the robot or its simulation, blind."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from resfit_bringup import report
from resfit_bringup.graph import CONTROLLERS, HARDWARE, Options, eval_graph
from resfit_bringup.pipeline import ALONE, EVALUATION_SEEDS, hash_bytes, seeds
from resfit_bringup.progress import Progress
from resfit_bringup.runs import LATEST, base_of, newest_actor, scene_of
from resfit_bringup.stages import add_graph_arguments, graph_options, read_curve, run_graph
from resfit_learner.bags import read_log
from resfit_learner.evaluation import compare
from resfit_policy.episode_log import Arm, Phase
from resfit_policy.files import write_atomically
from resfit_policy.task import ConfigError, read_json

TASK = ''  # the run's


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        '--out', type=Path, required=True, help='folder for the bags; an unfinished one is gone on with'
    )
    parser.add_argument('--run', dest='run_dir', type=Path, default=LATEST, help='run folder (default: %(default)s)')
    parser.add_argument('--base', help="frozen base policy, see docs/bases.md (default: the run's)")
    parser.add_argument('--weights', type=Path, help="actor.safetensors (default: the run's newest checkpoint)")
    parser.add_argument('--episodes', type=int, default=20, help='episodes of each of the two (default: %(default)s)')
    parser.add_argument(
        '--hardware', choices=HARDWARE, default='direct', help='as of ros2 launch (default: %(default)s)'
    )
    parser.add_argument(
        '--controller', choices=tuple(CONTROLLERS), default='position', help='with ros2_control (default: %(default)s)'
    )
    parser.add_argument('--urdf', default='', help="with ros2_control: the robot's URDF or xacro (default: Vega's)")
    parser.add_argument('--params-file', default='', help='ROS parameter YAML whose values go over the defaults')
    parser.add_argument(
        '--vision', action='store_true', help='observe with the cameras of the task, as a run with vision does'
    )
    add_graph_arguments(parser)


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Run both in an order drawn for each pair; who labels is not told which, before the end."""
    if args.episodes < 1:
        raise ConfigError('--episodes must be 1 or more')
    weights = args.weights or newest_actor(args.run_dir)
    if not weights.is_file():
        raise ConfigError(f'{weights} does not exist: give an actor.safetensors')
    task, observation, variant = scene_of(args.run_dir)
    args.task = args.task or task
    given = graph_options(args) | {'vision': args.vision or observation == 'vision', 'variant': variant}
    given |= {name: getattr(args, name) for name in ('hardware', 'controller', 'urdf', 'params_file')}
    total = 2 * args.episodes
    options = Options(
        run_dir=args.out,
        task=args.task,
        seed=seeds(EVALUATION_SEEDS, args.seed, 1)[0],
        base=args.base or base_of(args.run_dir.resolve()) or str(args.run_dir.resolve() / 'base'),
        max_episodes=total,
        **given,
    )
    about = {name: getattr(options, name) for name in ('task', 'base', 'vision', 'variant', 'hardware')}
    open_session(args.out, about | {'seed': args.seed, 'weights': hash_bytes(weights.read_bytes())})
    args.resume = []
    with Progress('blind A/B', total, 'episodes') as progress:
        run_graph(
            eval_graph(options, weights=str(weights.resolve()), blind=True),
            lambda: progress.update(len(read_curve(args.out).success)),
        )
    log = [item for item in read_log(args.out) if item.outcome != Phase.ABORTED][:total]
    arms = [[item for item in log if item.arm == arm and not item.helped] for arm in (Arm.BASE, Arm.RESIDUAL)]
    if not all(arms):
        raise ConfigError(f'{args.out} holds {len(log)} episodes, and none of one of the two: go on with it')
    comparison = compare(*arms)
    if helped := sum(item.helped for item in log):
        print(f'{helped} episodes in which a person took over are not counted')  # noqa: T201
    if all(item.alone for item in arms[1]):
        print(ALONE)  # noqa: T201
    print(report.table(comparison))  # noqa: T201
    write_atomically(args.out / 'comparison.json', json.dumps(comparison.as_dict(), indent=2).encode())
    order = ''.join('BR'[episode.arm] for episode in log)
    return {'task': args.task, 'seed': args.seed, 'hardware': args.hardware, 'order': order, **comparison.as_dict()}


def open_session(folder: Path, about: dict[str, Any]) -> None:
    """Begin a session, or go on with one of the same two policies. Raises ConfigError."""
    file = folder / 'ab.json'
    if file.exists() and read_json(file) != about:
        raise ConfigError(f'{folder} was begun with another task, scene, seed, base or weights: choose a new folder')
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(file, json.dumps(about, indent=2).encode())
