"""Recording: the base alone, such as a scripted expert, acts; its episodes become demonstrations."""

from launch import LaunchDescription
from resfit_bringup.graph import collect_graph
from resfit_bringup.launching import describe
from resfit_bringup.pipeline import DEMONSTRATION_SEEDS


def expert(given: dict[str, str]) -> dict[str, str]:
    """Without a base: the scripted expert, for the objects in the scene."""
    return {'base': given['base'] or f'resfit_sim.experts:{given["variant"]}'}


def generate_launch_description() -> LaunchDescription:
    """See ``ros2 launch resfit_bringup vega_collect.launch.py --show-args``."""
    return describe(collect_graph, {}, expert, DEMONSTRATION_SEEDS)
