"""Recording: the base alone, such as a scripted expert, acts; its episodes become demonstrations."""

from launch import LaunchDescription
from resfit_bringup.graph import collect_graph
from resfit_bringup.launching import describe


def generate_launch_description() -> LaunchDescription:
    """See ``ros2 launch resfit_bringup vega_collect.launch.py --show-args``."""
    return describe(collect_graph, {})
