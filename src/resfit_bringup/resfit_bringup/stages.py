"""The parts of the main job that run on the ROS graph. Each goes on from where an earlier try stopped."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from resfit_bringup.graph import Graph, Options, collect_graph, train_graph
from resfit_bringup.job import Job
from resfit_bringup.pipeline import DEMONSTRATION_SEEDS, TRAINING_SEEDS, seeds
from resfit_bringup.progress import Progress, window
from resfit_bringup.runner import GraphError, Runner
from resfit_learner.curve import Curve
from resfit_policy.episode_log import Phase
from resfit_policy.task import ConfigError


def add_graph_arguments(parser: argparse.ArgumentParser) -> None:
    """What the commands that start the graph have in common."""
    parser.add_argument('--namespace', default='', help='ROS namespace of all nodes and topics')
    parser.add_argument('--rviz', action='store_true', help='show robot, objects and episodes in RViz')
    parser.add_argument(
        '--web',
        nargs='?',
        const='127.0.0.1',
        metavar='ADDRESS',
        help="serve the operator's page; 0.0.0.0 for all of the network, with a token (see web_node.log)",
    )


def graph_options(args: argparse.Namespace) -> dict[str, Any]:
    """Options of the graph from ``add_graph_arguments``. Raises ConfigError where they cannot be met."""
    given = {'namespace': args.namespace, 'rviz': args.rviz, 'web': args.web is not None}
    given |= {'web_address': args.web} if args.web else {}
    Options(run_dir=Path(), task=args.task, **given)
    return given


def read_curve(run_dir: Path) -> Curve:
    """Lengths and labels of the episodes in a run's replay log, from its index."""
    curve = Curve()
    try:
        lines = (run_dir / 'episodes' / 'index.json').read_text().splitlines()
    except OSError:
        return curve
    position: dict[int, int] = {}
    for line in lines:
        entry = json.loads(line)
        if entry['phase'] == Phase.ABORTED:
            continue  # has no result, and nothing is learned from it
        if entry['correction']:
            curve.success[position[entry['episode_id']]] = entry['success']
        elif entry['steps']:
            position[entry['episode_id']] = len(curve.success)
            curve.steps.append((curve.steps[-1] if curve.steps else 0) + entry['steps'])
            curve.success.append(entry['success'])
    return curve


def collect_demonstrations(folder: Path, task: str, job: Job, seed: int, **given: Any) -> Curve:
    """Run the scripted expert on the graph until ``folder`` holds the job's demonstrations.

    ``given``: options of the graph, as ``graph_options`` makes them.
    """
    options = Options(
        run_dir=folder,
        task=task,
        seed=seeds(DEMONSTRATION_SEEDS, seed, 1)[0],
        base=f'resfit_sim.experts:{job.demonstrated}',
        variant=job.demonstrated,
        max_episodes=job.demonstrations,
        **given,
    )
    with Progress('demonstrations', job.demonstrations, 'episodes') as progress:

        def poll() -> None:
            success = read_curve(folder).success
            progress.update(len(success), window(success))

        run_graph(collect_graph(options), poll)
    return read_curve(folder)


def train_on_graph(
    run_dir: Path,
    task: str,
    job: Job,
    seed: int,
    demonstrations: Path,
    base: Path,
    counted: tuple[int, int],
    **given: Any,
) -> Curve:
    """Run policy, learner and simulation until the replay log holds the job's online steps.

    ``counted``: successes and episodes of the base alone; where the residual does worse, it loses its authority.
    ``given``: options of the graph, as ``graph_options`` makes them.
    """
    options = Options(
        run_dir=run_dir,
        task=task,
        seed=seeds(TRAINING_SEEDS, seed, 1)[0],
        base=str(base),
        base_successes=counted[0],
        base_episodes=counted[1],
        variant=job.variant,
        max_steps=job.steps,
        **given,
    )
    graph = train_graph(
        options, demonstrations=str(demonstrations), recipe=job.recipe, learner_config=str(run_dir / 'learner.yaml')
    )
    with Progress('ResFiT', job.steps) as progress:

        def poll() -> None:
            curve = read_curve(run_dir)
            if curve.steps:
                progress.update(min(curve.steps[-1], job.steps), window(curve.success))

        run_graph(graph, poll)
    return read_curve(run_dir)


def run_graph(graph: Graph, poll: Callable[[], None]) -> None:
    """Run a graph to its end. Raises ConfigError with the failed process's own words."""
    try:
        with Runner(graph) as runner:
            runner.wait(poll)
    except GraphError as error:
        raise ConfigError(str(error)) from None
    poll()
