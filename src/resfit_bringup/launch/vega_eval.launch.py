"""Evaluation: base against base + residual on the same starts, interleaved."""

from launch import LaunchDescription
from resfit_bringup.graph import eval_graph
from resfit_bringup.launching import describe


def generate_launch_description() -> LaunchDescription:
    """See ``ros2 launch resfit_bringup vega_eval.launch.py --show-args``."""
    return describe(
        eval_graph, {'weights': ('', 'actor.safetensors of a checkpoint; empty: the base against itself')}
    )
