"""Replay online: recorded observations played to a policy; what it does now, against what was done, to the bit."""

from pathlib import Path
from typing import Any

from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.substitutions import LaunchConfiguration

from launch import LaunchDescription
from resfit_bringup.bag_graph import PLAYERS, bag_eval_graph
from resfit_bringup.launching import action

# name: (default, description, choices); without a default it must be given
ARGUMENTS: dict[str, tuple[str | None, str, tuple[str, ...]]] = {
    'bag': (None, "a bag, a run's folder, or its folder of episodes", ()),
    'weights': ('', "actor.safetensors; empty: the run's, or its newest", ()),
    'base': ('', "frozen base, see docs/bases.md; empty: the run's, else base actions as recorded", ()),
    'task': ('', "task name, or path of a task YAML; empty: the bag's", ()),
    'seed': ('0', 'seed of the policy that was recorded (a run folder knows)', ()),
    'explored': ('false', 'with the noise of that seed (a run folder knows)', ('true', 'false')),
    'rate': ('1.0', 'times as fast as recorded', ()),
    'player': (
        'auto',
        'ros2: ros2 bag play, one bag; resfit: whole logs; none: you play under recorded/',
        PLAYERS,
    ),
    'namespace': ('', 'namespace of all nodes and topics', ()),
    'rviz': ('false', 'show the recorded robot, and ghosts where the policy wants it now', ('true', 'false')),
    'result': ('', 'JSON file to write at the end; empty: none', ()),
}


def start(context: Any) -> list[Any]:
    """The graph's processes; the end of the player is the end of all."""
    given = {name: str(LaunchConfiguration(name).perform(context)) for name in ARGUMENTS}
    graph = bag_eval_graph(
        Path(given.pop('bag')).expanduser().absolute(),
        rate=float(given.pop('rate')),
        seed=int(given.pop('seed')),
        explored=given.pop('explored') == 'true',
        rviz=given.pop('rviz') == 'true',
        **given,
    )
    return [action(process, graph.options) for process in graph.processes]


def generate_launch_description() -> LaunchDescription:
    """See ``ros2 launch resfit_bringup vega_bag_eval.launch.py --show-args``."""
    declared = [
        DeclareLaunchArgument(name, default_value=default, description=about, choices=list(choices) or None)
        for name, (default, about, choices) in ARGUMENTS.items()
    ]
    return LaunchDescription([*declared, OpaqueFunction(function=start)])
