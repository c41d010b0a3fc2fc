"""Evaluation: base against base + residual on the same starts, interleaved."""

from launch import LaunchDescription
from resfit_bringup.graph import eval_graph
from resfit_bringup.launching import ARGUMENTS, describe
from resfit_bringup.pipeline import EVALUATION_SEEDS
from resfit_bringup.runs import LATEST, base_of, newest_actor, scene_of
from resfit_policy.task import ConfigError


def of_newest_run(given: dict[str, str]) -> dict[str, str]:
    """Without a base: the newest run's, its weights and its scene. Those of one base are no good on another."""
    if given['base']:
        return {}
    run = LATEST.resolve()
    task, observation, variant = scene_of(run)
    if given['task'] not in (task, ARGUMENTS['task'][0]):
        raise ConfigError(f'the newest run, {run}, is of task {task}, not {given["task"]}: give base and weights')
    return {
        'task': task,
        'vision': str(observation == 'vision').lower(),
        'variant': variant,
        'base': base_of(run) or str(run / 'base'),
        'weights': given['weights'] or str(newest_actor(run)),
    }


def generate_launch_description() -> LaunchDescription:
    """See ``ros2 launch resfit_bringup vega_eval.launch.py --show-args``."""
    weights = {'weights': ('', "actor.safetensors of a checkpoint; without base, empty: the newest run's")}
    return describe(eval_graph, weights, of_newest_run, EVALUATION_SEEDS)
