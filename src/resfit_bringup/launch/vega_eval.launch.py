"""Evaluation: base against base + residual on the same starts, interleaved."""

from launch import LaunchDescription
from resfit_bringup.graph import eval_graph
from resfit_bringup.launching import describe
from resfit_bringup.pipeline import EVALUATION_SEEDS
from resfit_bringup.runs import LATEST, newest_actor


def of_newest_run(given: dict[str, str]) -> dict[str, str]:
    """Without a base: that of the newest run, and its weights. Those of one base are no good on another."""
    if given['base']:
        return {}
    run = LATEST.resolve()
    return {'base': str(run / 'base'), 'weights': given['weights'] or str(newest_actor(run))}


def generate_launch_description() -> LaunchDescription:
    """See ``ros2 launch resfit_bringup vega_eval.launch.py --show-args``."""
    weights = {'weights': ('', "actor.safetensors of a checkpoint; without base, empty: the newest run's")}
    return describe(eval_graph, weights, of_newest_run, EVALUATION_SEEDS)
