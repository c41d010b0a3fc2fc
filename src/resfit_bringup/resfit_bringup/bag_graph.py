"""The graph of a replay online: a player of recorded observations, and the policy that is asked again."""

from __future__ import annotations

import shutil
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

from rosbags.rosbag2 import Reader
from rosbags.rosbag2.errors import ReaderError

from resfit_bringup.commands.bag.replay import home_of, weights_of
from resfit_bringup.graph import Graph, Options, Process, described, remap, watching
from resfit_bringup.runs import base_of, how_it_ran
from resfit_learner.bags import DAMAGED, METADATA, read_log, topic_of
from resfit_policy.task import ConfigError, load_task, task_names

PLAYERS = ('auto', 'ros2', 'resfit', 'none')
DELAY = 10  # s by which ``ros2 bag play`` begins later: it waits for nobody, and the node has torch to import


def bag_eval_graph(
    bag: Path,
    *,
    task: str = '',
    base: str = '',
    weights: str = '',
    seed: int = 0,
    explored: bool = False,
    rate: float = 1.0,
    player: str = 'auto',
    namespace: str = '',
    rviz: bool = False,
    result: str = '',
) -> Graph:
    """Play ``bag`` (one bag, or a run's log) to base and residual; what is not given is as the run's log says.

    ``player``: ``ros2 bag play``, which plays a single bag, ``resfit bag play``, which plays whole logs too, or none
    of them; auto is the first where it can. Raises ConfigError.
    """
    if player not in PLAYERS:
        raise ConfigError(f'player "{player}": choose one of {", ".join(PLAYERS)}')
    single = (bag / METADATA).exists()
    if player == 'ros2' and not single:
        raise ConfigError(f'"ros2 bag play" plays one bag, and {bag} is a log of several: leave player out')
    problems: list[str] = []
    first = next(iter(read_log(bag, problems.append)), None)
    if first is None:
        raise ConfigError(problems[0])
    task = task or (first.task if first.task in task_names() else '')
    if not task or load_task(task).name != first.task:
        raise ConfigError(f'{bag} is of the task {first.task}: give its name or YAML file as task')
    home = home_of(bag)
    ran = how_it_ran(home)
    residual = str(weights or weights_of(home, ran) or '')
    options = Options(
        run_dir=Path(tempfile.mkdtemp(prefix='resfit-bag-eval-')), task=task, namespace=namespace, use_sim_time=False,
        rviz=rviz,
    )  # fmt: skip
    parameters = {
        'task': task, 'base': base or base_of(home), 'weights': residual,
        'seed': int(ran.get('seed', seed)), 'explore': explored or bool(ran.get('explore')), 'result': result,
    }  # fmt: skip
    node = Process('resfit_learner', 'bag_eval_node', 'bag_eval_node', parameters)
    has_ros2_bag = bool(shutil.which('ros2') and find_spec('ros2bag'))
    if player == 'auto':
        player = 'ros2' if single and has_ros2_bag else 'resfit'
    if player == 'ros2' and not has_ros2_bag:
        raise ConfigError('player ros2 needs "ros2 bag" (package ros2bag), which is not installed: choose resfit')
    players = {
        'ros2': lambda: Process('', 'ros2', 'player', arguments=('bag', 'play', *ros2_play(bag, rate, namespace))),
        'resfit': lambda: Process(
            '', sys.executable, 'player',
            arguments=(
                '-m', 'resfit_bringup.cli', 'bag', 'play', str(bag), '--rate', str(rate), '--namespace', namespace,
            ),
        ),
    }  # fmt: skip
    played = (players[player](),) if player in players else ()
    return Graph(options, (*(shown(options) if rviz else ()), node, *played))


def ros2_play(bag: Path, rate: float, namespace: str) -> list[str]:
    """Arguments of ``ros2 bag play`` by which steps, labels and phases alone are played, and under ``recorded/``.

    A bag of a whole session also holds commands: they must not reach a robot. Raises ConfigError.
    """
    try:
        with Reader(bag) as reader:
            found = {item.topic: topic_of(item) for item in reader.connections if topic_of(item)}
    except (ReaderError, OSError, ValueError, KeyError) as error:
        raise ConfigError(f'{bag} {DAMAGED} ({error})') from None
    if not found:
        raise ConfigError(f'{bag} holds no policy steps: give the bag of an episode')
    under = f'/{namespace.strip("/")}/recorded'.replace('//', '/')
    remapped = [f'{topic}:={under}/{name}' for topic, name in found.items()]
    return [
        str(bag), '--rate', str(rate), '--delay', str(DELAY), '--disable-keyboard-controls', '--regex', '|'.join(found),
        '--wait-for-all-acked', '10000', '--remap', *remapped,
    ]  # fmt: skip


def shown(options: Options) -> list[Process]:
    """RViz: the robot as it was recorded, a ghost of it where the policy wants it now, and one where its base does."""
    topics = {
        'policy/step': 'now/policy/step', 'target': 'now/target', 'episode': 'recorded/episode',
        'reward': 'recorded/reward',
    }  # fmt: skip
    robot = Process(
        'robot_state_publisher', 'robot_state_publisher', 'robot_state_publisher',
        {'robot_description': described(options)}, remap({'joint_states': 'recorded/joint_states'}), essential=False,
    )  # fmt: skip
    return [robot, *watching(options, topics)]
