"""From the graph's description to launch actions; the launch files only say which graph."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

from launch.actions import DeclareLaunchArgument, ExecuteProcess, OpaqueFunction, Shutdown
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from launch import LaunchDescription
from resfit_bringup.graph import CONTROLLERS, HARDWARE, Graph, Options, Process, train_graph
from resfit_bringup.job import load_job
from resfit_bringup.pipeline import seeds
from resfit_bringup.runner import MAX_RESPAWNS, REFUSED, RESPAWN_DELAY, parameters_file, refuse_others
from resfit_bringup.runs import new_run, point_latest
from resfit_policy.task import ConfigError

# name: (default, description, choices)
ARGUMENTS: dict[str, tuple[str, str, tuple[str, ...]]] = {
    'run_dir': ('', 'folder of the run: episodes, checkpoints, events; empty: a new one in runs/', ()),
    'task': ('woolly_ball', 'task name, or path of a task YAML', ()),
    'seed': ('0', 'seed of scenes, exploration and learning', ()),
    'base': ('', 'frozen base, see docs/bases.md: folder, file, ros:service ...; empty: the simulated default', ()),
    'base_ahead': ('0', 'control steps by which a slow base is asked before its next chunk is needed', ()),
    'base_successes': ('0', 'of base_episodes: where residual episodes fall below that, authority falls to 0', ()),
    'base_episodes': ('0', 'episodes in which the base alone was counted, as by vega_eval; 0: nobody has', ()),
    'namespace': ('', 'namespace of all nodes and topics', ()),
    'use_sim_time': ('auto', 'take time from the clock topic; auto: with hardware direct', ('auto', 'true', 'false')),
    'params_file': ('', 'ROS parameter YAML whose values go over the defaults', ()),
    'hardware': (
        'direct',
        'direct: the simulation, without ros2_control. With a controller manager: mock: commands are the state; '
        'sim: the simulation behind it; robot: a bridge to the robot behind it (docs/ros2_control.md)',
        HARDWARE,
    ),
    'controller': ('position', 'with ros2_control: the controller that the streamer commands', tuple(CONTROLLERS)),
    'urdf': ('', "with ros2_control: the robot's URDF or xacro file; empty: Vega's", ()),
    'lockstep': ('true', 'hardware direct: as fast as it goes; false: real time', ('true', 'false')),
    'variant': ('', "simulation: objects as demonstrated, or unseen by the base; empty: as the task's job has it", ()),
    'vision': ('false', 'observe with the cameras of the task', ('true', 'false')),
    'classifier': (
        '',
        'file of "resfit reward train": judges success by the cameras in place of oracle or operator',
        (),
    ),
    'rviz': ('false', 'show robot, cameras and markers in RViz', ('true', 'false')),
    'web': ('false', "serve the operator's page (docs/operator.md)", ('true', 'false')),
    'web_address': ('127.0.0.1', 'with web: where to listen; 0.0.0.0 for all of the network, with a token', ()),
    'record': ('false', 'also record all topics with ros2 bag (episodes are always recorded)', ('true', 'false')),
    'max_steps': ('0', 'end when the log holds this many control steps; 0: run until Ctrl-C', ()),
    'max_episodes': ('0', 'end when the log holds this many episodes; 0: run until Ctrl-C', ()),
}
# value of an argument as text -> value of the option
PARSERS: dict[str, Callable[[str], Any]] = {
    'int': int,
    'bool': lambda text: text == 'true',
    'bool | None': {'auto': None, 'true': True, 'false': False}.__getitem__,
    'Path': lambda text: Path(text).expanduser().absolute(),
}


def describe(
    make: Callable[..., Graph],
    extra: dict[str, tuple[str, str]],
    fill: Callable[[dict[str, str]], dict[str, str]],
    starts: int,
) -> LaunchDescription:
    """A launch description of the graph that ``make(options, **extra)`` describes.

    ``fill(values)`` gives the arguments that stand in for those that the user left empty.
    ``starts``: where the seeds of its scenes begin, so that no simulated start is both trained and evaluated on.
    """
    arguments = {**ARGUMENTS, **{name: (*about, ()) for name, about in extra.items()}}
    declared = [
        DeclareLaunchArgument(name, default_value=default, description=about, choices=list(choices) or None)
        for name, (default, about, choices) in arguments.items()
    ]

    def start(context: Any) -> list[Any]:
        def given(name: str) -> str:
            return str(LaunchConfiguration(name).perform(context))

        texts = {name: given(name) for name in arguments}
        if not texts['base'] and texts['hardware'] not in ('direct', 'sim'):
            raise ConfigError('launch argument base is required for a robot: ' + arguments['base'][1])
        observation = 'vision' if texts['vision'] == 'true' else 'state'
        texts['variant'] = texts['variant'] or load_job(texts['task'], observation=observation).variant
        texts |= fill(texts)
        texts['run_dir'] = texts['run_dir'] or str(new_run(texts['task'], int(texts['seed'])))
        values = {
            item.name: PARSERS.get(str(item.type), str)(texts[item.name])
            for item in fields(Options)
            if item.name in ARGUMENTS
        }
        values['seed'] = seeds(starts, values['seed'], 1)[0]
        graph = make(Options(**values), **{name: texts[name] for name in extra})
        refuse_others(graph)
        if make is train_graph:  # what is evaluated or collected is no run that others could go on from
            point_latest(graph.options.run_dir)
        return [action(process, graph.options) for process in graph.processes]

    return LaunchDescription([*declared, OpaqueFunction(function=start)])


def action(process: Process, options: Options) -> Any:
    """The launch action of one process."""
    common: dict[str, Any] = {'name': process.name, 'output': 'screen', 'additional_env': {'OMP_NUM_THREADS': '1'}}
    common['on_exit'] = Shutdown(reason=f'{process.name} has ended') if process.essential else give_up(process)
    if process.respawn:
        common |= {'respawn': True, 'respawn_delay': RESPAWN_DELAY, 'respawn_max_retries': MAX_RESPAWNS}
    if not process.package:
        return ExecuteProcess(cmd=[process.executable, *process.arguments], **common)
    # Not a dictionary: launch_ros would give that to the node of this name alone, not to a manager's controllers.
    parameters = [parameters_file(process, options, options.run_dir / 'log')]
    if options.params_file:
        parameters.append(options.params_file)
    return Node(
        package=process.package,
        executable=process.executable,
        namespace=options.namespace,
        parameters=parameters,
        arguments=list(process.arguments),
        # rclpy listens to the clock under its absolute name
        remappings=[('/clock', 'clock')] if options.namespace else [],
        **common,
    )


def give_up(process: Process) -> Callable[[Any, Any], Any]:
    """What ends the launch where a process was told something impossible or died too often, as ``Runner.check``."""
    ends = 0

    def look(event: Any, context: Any) -> Any:
        nonlocal ends
        ends += 1
        hopeless = event.returncode == REFUSED or (process.respawn and ends > MAX_RESPAWNS)
        return Shutdown(reason=f'{process.name} has ended; it says above why') if hopeless else None

    return look
