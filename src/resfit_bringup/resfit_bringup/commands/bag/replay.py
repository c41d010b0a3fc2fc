"""``resfit bag replay``: what was seen, through the policy once more: does it do what was recorded, to the bit?"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from resfit_bringup.commands.bag.inspect import tell_left_out
from resfit_bringup.progress import Progress
from resfit_bringup.runs import base_of, how_it_ran, newest_actor
from resfit_learner.bags import read_log
from resfit_learner.checkpoint import latest_checkpoint
from resfit_learner.reacting import RecordedBase, about_version, as_recorded, load_policy, replay, versions_acted
from resfit_policy.episode_log import Episode
from resfit_policy.runtime import PolicyRuntime
from resfit_policy.task import ConfigError, Task, load_task, read_json, task_names


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('path', type=Path, help="a bag, a run's folder, or its folder of episodes")
    parser.add_argument('--weights', type=Path, help="actor.safetensors (default: the run's, or its newest)")
    parser.add_argument('--base', help="frozen base, see docs/bases.md (default: the run's, else as recorded)")
    parser.add_argument('--online', action='store_true', help='through a node that hears the bags as they are played')
    parser.add_argument('--rate', type=float, default=10.0, help='online: times as fast as recorded (%(default)s)')
    parser.add_argument('--explored', action='store_true', help='with the noise of --seed (a run folder knows)')


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Replay every episode through one policy; say what differs, and where first."""
    if args.online:
        return online(args)
    problems: list[str] = []
    episodes = list(read_log(args.path, problems.append))
    left_out = tell_left_out(args.path, problems, len(episodes))
    task = task_of(episodes, args.task)
    runtime, explored = replaying(args, task, episodes)
    equal = base_only = 0
    differences = []
    started = time.perf_counter()
    with Progress('replay', len(episodes), 'episodes') as progress:
        for done, episode in enumerate(episodes, start=1):
            outcome = replay(episode, runtime, explored)
            equal, base_only = equal + outcome.equal, base_only + outcome.base_only
            if outcome.difference:
                found = outcome.difference
                differences.append({'episode': episode.episode_id, **asdict(found)})
                print(found.text(episode.episode_id, task.robot.names))  # noqa: T201
            progress.update(done)
    speed = (equal + base_only) / (time.perf_counter() - started) / task.control_hz
    print(  # noqa: T201
        f'{equal} steps equal to the bit, {base_only} more in the base action (held, taken over, other weights); '
        f'{len(differences)} of {len(episodes)} episodes differ; {speed:.0f} times real time'
    )
    return {
        'equal': equal, 'base_only': base_only, 'differences': differences, 'times_real_time': round(speed, 1),
        'left_out': left_out,
    }  # fmt: skip


def online(args: argparse.Namespace) -> dict[str, Any]:
    """The same over ROS, with a player and a node, as vega_bag_eval.launch.py does it."""
    from resfit_bringup.bag_graph import bag_eval_graph
    from resfit_bringup.stages import run_graph

    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / 'result.json'
        first = next(iter(read_log(args.path, lambda problem: None)), None)  # damaged ones are named by the node
        task = '' if first is None or first.task in task_names() else args.task
        graph = bag_eval_graph(
            args.path, task=task, weights=str(args.weights or ''), base=args.base or '', seed=args.seed,
            explored=args.explored, rate=args.rate, player='resfit', result=str(result),
        )  # fmt: skip
        run_graph(graph, lambda: None)
        said = (graph.options.run_dir / 'log' / 'bag_eval_node.log').read_text().splitlines()
        print('\n'.join(line.partition('bag_eval_node]: ')[2] or line for line in said))  # noqa: T201
        return read_json(result)


def task_of(episodes: list[Episode], given: str) -> Task:
    """The task of all episodes, as the policy saw it. Raises ConfigError."""
    name = episodes[0].task
    if others := {episode.task for episode in episodes} - {name}:
        raise ConfigError(f'these are episodes of several tasks: {name}, {", ".join(sorted(others))}')
    task = load_task(name if name in task_names() else given)
    if task.name != name:
        raise ConfigError(f'these are episodes of the task {name}: give its YAML file with --task')
    return as_recorded(task, episodes[0].state.shape[1])


def replaying(args: argparse.Namespace, task: Task, episodes: list[Episode]) -> tuple[PolicyRuntime, bool]:
    """The policy that is asked again, as the run's log says that it ran, and whether it explored."""
    home = home_of(args.path)
    ran, features = how_it_ran(home), episodes[0].features
    base, weights = args.base or base_of(home), args.weights or weights_of(home, ran)
    runtime = load_policy(task, base, weights, ran.get('seed', args.seed), features.shape[1] if features.size else 0)
    acts = 'as recorded' if isinstance(runtime.base, RecordedBase) else base
    print(f'base: {acts}; weights: {weights or "none"}, version {runtime.version}')  # noqa: T201
    if weights and (note := about_version(runtime.version, set().union(*map(versions_acted, episodes)))):
        print(f'note: {note}')  # noqa: T201
    return runtime, args.explored or bool(ran.get('explore'))


def home_of(path: Path) -> Path:
    """The run folder that a log or one of its bags lies in; ``path`` itself where there is none."""
    places = (path, *list(path.absolute().parents)[:2])
    return next((place for place in places if (place / 'log' / 'policy_node.yaml').exists()), path)


def weights_of(path: Path, ran: dict[str, Any]) -> Path | None:
    """The weights that acted in a run folder, else its newest; None where there are none."""
    if ran.get('weights'):
        return Path(ran['weights'])
    return newest_actor(path) if latest_checkpoint(path / 'checkpoints') else None
