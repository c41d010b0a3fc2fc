"""The one description of the graph: which processes, with which parameters. Read by launch files and runner."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from resfit_bringup.share import share_folder
from resfit_learner.config import load_config
from resfit_policy.task import ConfigError, load_task

# direct: the simulation takes the streamer's commands itself. The others have a controller manager of ros2_control,
# with mock hardware, the simulation or a robot behind it.
Hardware = Literal['direct', 'mock', 'sim', 'robot']
HARDWARE = ('direct', 'mock', 'sim', 'robot')
# name of the controller that the streamer commands -> its command topic
CONTROLLERS = {
    'position': 'position_controller/commands',
    'trajectory': 'trajectory_controller/joint_trajectory',
}
GHOSTS = ('base_target', 'target')  # topics of joint targets that RViz can show as a robot


@dataclass(frozen=True)
class Process:
    """One process of the graph: a node of a package, or, without a package, a program on the path."""

    package: str
    executable: str
    name: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    arguments: tuple[str, ...] = ()
    respawn: bool = False  # started again when it dies; its work goes on from where it was
    essential: bool = True  # its end is the end of the graph


@dataclass(frozen=True)
class Options:
    """What a run is about. Launch arguments and the command line mirror these."""

    run_dir: Path
    task: str = 'woolly_ball'
    seed: int = 0
    base: str = ''  # frozen base policy: folder, file, module:factory, lerobot:folder or ros:service
    base_ahead: int = 0  # control steps by which a slow base is asked before its next chunk is needed
    base_successes: int = 0  # of base_episodes: where residual episodes fall below that, authority falls to 0
    base_episodes: int = 0  # in which the base alone was counted; 0: nobody has
    hardware: Hardware = 'direct'
    controller: Literal['position', 'trajectory'] = 'position'  # with ros2_control: which one the streamer commands
    urdf: str = ''  # with ros2_control: the robot's URDF or xacro file; '' is Vega's
    namespace: str = ''
    use_sim_time: bool | None = None  # None: with hardware direct only
    lockstep: bool = True  # hardware direct only: as fast as it goes; False is real time
    variant: str = 'unseen'  # simulation only: which objects
    vision: bool = False
    classifier: str = ''  # file of "resfit reward train": judges success by the cameras, in doubt an operator does
    params_file: str = ''  # ROS parameter YAML that overrides the graph's
    rviz: bool = False
    web: bool = False  # serve the operator's page
    web_address: str = '127.0.0.1'  # where; any other one asks for a token
    record: bool = False  # also record all topics with ros2 bag
    max_steps: int = 0
    max_episodes: int = 0

    def __post_init__(self) -> None:
        if self.hardware not in HARDWARE:
            raise ConfigError(f'hardware "{self.hardware}": choose one of {", ".join(HARDWARE)}')
        if self.controller not in CONTROLLERS:
            raise ConfigError(f'controller "{self.controller}": choose one of {", ".join(CONTROLLERS)}')
        if self.hardware == 'direct' and (self.controller != 'position' or self.urdf):
            raise ConfigError('controller and urdf are for ros2_control: choose hardware mock, sim or robot')
        if self.params_file and not Path(self.params_file).is_file():
            raise ConfigError(f'params_file {self.params_file} does not exist')
        if self.classifier and not Path(self.classifier).is_file():
            raise ConfigError(f'classifier {self.classifier} does not exist: train one with "resfit reward train"')
        if self.rviz and not (os.environ.get('DISPLAY') or os.environ.get('WAYLAND_DISPLAY')):
            raise ConfigError(
                'rviz needs a display, and neither DISPLAY nor WAYLAND_DISPLAY is set: leave rviz out, or run it on '
                'another machine of this ROS domain'
            )
        load_task(self.task)

    @property
    def sim_time(self) -> bool:
        """use_sim_time of every node."""
        return self.hardware == 'direct' if self.use_sim_time is None else self.use_sim_time

    @property
    def simulated(self) -> bool:
        """There is a simulated scene, with an oracle and resets."""
        return self.hardware in ('direct', 'sim')

    @property
    def in_lockstep(self) -> bool:
        """The simulation waits for every command. With ros2_control it cannot: the manager keeps its own time."""
        return self.hardware == 'direct' and self.lockstep


@dataclass(frozen=True)
class Graph:
    """Processes in the order in which they are started; they are ended in the opposite one."""

    options: Options
    processes: tuple[Process, ...]

    def named(self, name: str) -> Process:
        """The process called ``name``."""
        return next(process for process in self.processes if process.name == name)


def train_graph(
    options: Options,
    *,
    demonstrations: str,
    recipe: str = 'resfit_ros',
    learner_config: str = '',
    max_backlog: int = 1000,
    learner: str = 'local',
) -> Graph:
    """Policy, learner and everything between; the policy explores.

    ``max_backlog``: the next episode waits while the learner owes more critic updates than this, so that the
    configured UTD is held. ``learner``: 'local', or 'remote' when it is started on another machine.
    """
    if learner not in ('local', 'remote'):
        raise ConfigError(f'learner "{learner}": choose local or remote')
    if learner == 'local' and not demonstrations:
        raise ConfigError('demonstrations is required with a base of your own: a folder, as "resfit collect" writes it')
    learner_node = Process(
        'resfit_learner',
        'learner_node',
        'learner_node',
        {
            'task': options.task,
            'base': options.base,
            'demonstrations': demonstrations,
            'directory': str(options.run_dir),
            'recipe': recipe,
            'config': learner_config,
            'seed': options.seed,
        },
        respawn=True,
        essential=False,
    )
    own_encoder = options.vision and load_config(recipe, learner_config or None).encoder != 'frozen'
    policy = _policy(options, explore=True, pixels=own_encoder)
    reward = _reward(options, arms='residual', max_backlog=max_backlog)
    learners = (learner_node,) if learner == 'local' else ()
    return Graph(options, (*_body(options), _replay(options), policy, *learners, reward))


def eval_graph(options: Options, *, weights: str, blind: bool = False) -> Graph:
    """Base against base + residual on the same seeds, in an order drawn for each.

    ``weights``: an actor.safetensors. ``blind``: nobody is told which of them acts.
    """
    if not weights:
        raise ConfigError('weights is required: the actor.safetensors of a checkpoint')
    if blind and options.rviz:
        raise ConfigError('rviz shows who acts, and this comparison is blind: leave it out')
    policy, reward = _policy(options, weights=weights), _reward(options, arms='alternate', blind=blind)
    return Graph(options, (*_body(options), _replay(options), policy, reward))


def collect_graph(options: Options) -> Graph:
    """Episodes of the base alone, such as a scripted expert: demonstrations."""
    return Graph(options, (*_body(options), _replay(options), _policy(options), _reward(options, arms='base')))


def _policy(options: Options, weights: str = '', explore: bool = False, pixels: bool = False) -> Process:
    parameters = {
        'task': options.task,
        'base': options.base,
        'base_ahead': options.base_ahead,
        'base_successes': options.base_successes,
        'base_episodes': options.base_episodes,
        'weights': weights,
        'seed': options.seed,
        'explore': explore,
        'vision': options.vision,
        'pixels': pixels,
        'max_age': 0.0 if options.in_lockstep else 0.1,
        'autostart': True,
    }
    return Process('resfit_policy', 'policy_node', 'policy_node', parameters, respawn=True, essential=False)


def _reward(options: Options, *, arms: str, max_backlog: int = 0, blind: bool = False) -> Process:
    parameters = {
        'task': options.task,
        'seed': options.seed,
        'arms': arms,
        'blind': blind,
        'success_source': 'classifier' if options.classifier else 'sim' if options.simulated else 'operator',
        'reset': 'sim' if options.simulated else 'operator',
        'max_steps': options.max_steps,
        'max_episodes': options.max_episodes,
        'max_backlog': max_backlog,
        'exit_when_done': True,
    }
    return Process('resfit_policy', 'reward_node', 'reward_node', parameters)


def _replay(options: Options) -> Process:
    return Process('resfit_learner', 'replay_node', 'replay_node', {'directory': str(options.run_dir)})


def _body(options: Options) -> tuple[Process, ...]:
    """What stands for the robot, the streamer in front of it, and what shows or records it."""
    lockstep, with_manager = options.in_lockstep, options.hardware != 'direct'
    processes: list[Process] = []
    if options.simulated:
        # Drawn for whoever looks: policy, RViz, the page, the classifier.
        cameras = options.vision or options.rviz or options.web or bool(options.classifier)
        parameters = {'task': options.task, 'variant': options.variant, 'vision': cameras, 'lockstep': lockstep}
        parameters['ros2_control'] = with_manager
        processes.append(Process('resfit_sim', 'sim_node', 'sim_node', parameters))
    if options.rviz or with_manager:
        description = {'robot_description': described(options)}
        processes.append(
            Process('robot_state_publisher', 'robot_state_publisher', 'robot_state_publisher', description)
        )
    if with_manager:
        processes += _ros2_control(options, description['robot_description'])
    streamer = {'task': options.task, 'lockstep': lockstep, 'autostart': True}
    streamer |= {'controller': options.controller, 'commands': CONTROLLERS[options.controller]}
    processes.append(Process('resfit_policy', 'streamer_node', 'streamer_node', streamer))
    if options.classifier:
        judge = {'task': options.task, 'classifier': options.classifier}
        processes.append(
            Process('resfit_policy', 'classifier_node', 'classifier_node', judge, respawn=True, essential=False)
        )
    if options.rviz:
        processes += watching(options)
    if options.web:
        parameters = {'task': options.task, 'address': options.web_address}
        parameters |= {'base_successes': options.base_successes, 'base_episodes': options.base_episodes}
        processes.append(Process('resfit_policy', 'web_node', 'web_node', parameters, essential=False))
    if options.record:
        folders = (options.run_dir / f'bag{number}' for number in ('', *(f'-{again}' for again in range(2, 1000))))
        folder = next(path for path in folders if not path.exists())  # the recorder refuses one that is there
        arguments = ('bag', 'record', '--all', '--storage', 'mcap', '--output', str(folder))
        processes.append(Process('', 'ros2', 'bag', arguments=arguments, essential=False))
    return tuple(processes)


def watching(options: Options, topics: Mapping[str, str] | None = None) -> list[Process]:
    """RViz, what it shows beside the robot, and a ghost of the robot at each target: the base's, the executed one.

    A ghost is a second set of frames, whose names begin with the target's topic. ``topics``: where another name than
    a run's stands for one of its topics.
    """
    topics = topics or {}
    config = str(share_folder() / 'config' / 'vega.rviz')
    processes = [
        Process('resfit_policy', 'watch_node', 'watch_node', {'task': options.task}, remap(topics), essential=False),
        Process('rviz2', 'rviz2', 'rviz2', arguments=('-d', config), essential=False),
    ]
    for target in GHOSTS:
        parameters = {'robot_description': described(options), 'frame_prefix': f'{target}/'}
        names = {'joint_states': topics.get(target, target), 'robot_description': f'{target}/robot_description'}
        root = ('--frame-id', 'world', '--child-frame-id', f'{target}/world')
        processes += [
            Process(
                'robot_state_publisher',
                'robot_state_publisher',
                f'{target}_ghost',
                parameters,
                remap(names),
                essential=False,
            ),
            Process('tf2_ros', 'static_transform_publisher', f'{target}_root', arguments=root, essential=False),
        ]
    return processes


def remap(topics: Mapping[str, str]) -> tuple[str, ...]:
    """Arguments by which a node uses other topics than its own."""
    words = [word for topic, other in topics.items() for word in ('-r', f'{topic}:={other}')]
    return ('--ros-args', *words) if words else ()


def _ros2_control(options: Options, description: str) -> list[Process]:
    """The controller manager, and the node that brings up its controllers and watches them."""
    from resfit_bringup.ros2_control import offered_states

    settings = ('--ros-args', '--params-file', str(share_folder() / 'config' / 'controllers.yaml'))
    # The manager hands its parameters on to its controllers: each commands the joints of every action, and the
    # broadcaster publishes their `interfaces`.
    robot = load_task(options.task).robot
    shared = {'joints': list(robot.names), 'interfaces': offered_states(description, robot)}
    manager = Process('controller_manager', 'ros2_control_node', 'controller_manager', shared, settings)
    watched = '' if options.hardware == 'mock' else 'hardware/joint_states'
    parameters = {'task': options.task, 'controller': options.controller, 'feedback': watched}
    return [manager, Process('resfit_policy', 'controllers_node', 'controllers_node', parameters)]


def described(options: Options) -> str:
    """The robot's URDF."""
    from resfit_bringup.description import robot_description

    hardware = 'sim' if options.hardware == 'direct' else options.hardware
    return str(robot_description(hardware, load_task(options.task).robot, options.urdf))
