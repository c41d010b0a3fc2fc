"""Replay online: a recorded run is played to the policy by one process and asked of it by another."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import yaml
from rclpy.qos import QoSProfile
from rosbags.rosbag2 import StoragePlugin, Writer
from sessions import add, cut_off

from resfit_bringup import cli
from resfit_bringup.bag_graph import bag_eval_graph, ros2_play
from resfit_bringup.share import share_folder
from resfit_learner.bags import EPISODE, STEP, TYPES, read_log, typestore
from resfit_learner.replay_log import ReplayLog
from resfit_learner.rollout import run_episode
from resfit_msgs.msg import PolicyStep
from resfit_policy.actor import ActorConfig, Exploration, ResidualActor, pack_actor
from resfit_policy.episode_log import Arm
from resfit_policy.runtime import PolicyRuntime
from resfit_policy.task import ConfigError, load_task
from resfit_policy.testing import Probe, isolated_domain
from resfit_sim.env import VegaEnv
from resfit_sim.experts import make_expert

TASK = load_task('woolly_ball')
BASE = 'resfit_sim.experts:unseen'
EXPLORE = Exploration(std=0.2)
JOINTS = 'sensor_msgs/msg/JointState'
NODE = 'from resfit_learner.bag_eval_node import main; main()'


@pytest.fixture(autouse=True)
def domain() -> Iterator[int]:
    with isolated_domain() as number:
        yield number


def actor(spoilt: bool = False) -> ResidualActor:
    torch.manual_seed(2)
    made = ResidualActor(ActorConfig(TASK.state_size, TASK.action_size, 3, (16,)))
    with torch.no_grad():
        for parameter in made.parameters():
            torch.nn.init.normal_(parameter, std=0.1)
        made.basis.copy_(torch.eye(3, TASK.action_size)[None])
        if spoilt:
            made.net[-1].bias[1] += 1e-4
    return made.eval()


@pytest.fixture(scope='module')
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three episodes of expert and residual, which explored, as bags, and the weights."""
    folder = tmp_path_factory.mktemp('run')
    (folder / 'actor.safetensors').write_bytes(pack_actor(actor(), EXPLORE, 4))
    (folder / 'spoilt.safetensors').write_bytes(pack_actor(actor(spoilt=True), EXPLORE, 4))
    runtime, env = PolicyRuntime(TASK, make_expert('woolly_ball', 'unseen'), 11), VegaEnv('woolly_ball')
    runtime.set_weights(actor(), EXPLORE, 4)
    log = ReplayLog(folder / 'episodes')
    for number, arm in enumerate((Arm.RESIDUAL, Arm.BASE, Arm.RESIDUAL), start=1):
        episode = run_episode(env, runtime, seed=number, arm=arm, explore=True, episode_id=number)
        add(log, episode, folder / 'made' / f'{number}')
    log.close()
    return folder


def evaluate(
    folder: Path, run_dir: Path, weights: str = 'actor', task: str = 'woolly_ball', probe: Probe | None = None
) -> tuple[str, dict, int]:
    """Play the log to the node, once ``probe`` has found it; what it said, its result, its exit code."""
    given = {
        'task': task, 'base': BASE, 'weights': run_dir / f'{weights}.safetensors', 'seed': 11, 'explore': 'true',
        'result': folder / 'result.json',
    }  # fmt: skip
    words = [word for name, value in given.items() for word in ('-p', f'{name}:={value}')]
    with open(folder / 'node.log', 'wb') as log:
        node = subprocess.Popen(
            [sys.executable, '-c', NODE, '--ros-args', *words], stdout=log, stderr=subprocess.STDOUT
        )
    if probe:
        probe.until(lambda: probe.node.count_publishers('/now/policy/step'), what='what the node publishes')
        probe.spin(0.5)  # the node finds the probe, too
    player = [sys.executable, '-m', 'resfit_bringup.cli', 'bag', 'play', str(run_dir), '--rate', '20']
    try:
        assert subprocess.run(player, timeout=90, capture_output=True).returncode == 0
        if task == 'woolly_ball':
            node.send_signal(2)
        code = node.wait(30)
    finally:
        node.kill()
    file = folder / 'result.json'
    return (folder / 'node.log').read_text(), json.loads(file.read_text()) if file.exists() else {}, code


def lengths(run_dir: Path) -> int:
    return sum(episode.length for episode in read_log(run_dir))


def test_a_run_that_is_played_is_equal_to_the_bit_and_what_is_done_now_is_published(
    tmp_path: Path, run_dir: Path
) -> None:
    probe = Probe()
    now = probe.listen(PolicyStep, 'now/policy/step', QoSProfile(depth=5000))
    commanded = probe.listen(PolicyStep, 'policy/step', QoSProfile(depth=5000))
    said, result, code = evaluate(tmp_path, run_dir, probe=probe)
    probe.spin(0.5)
    probe.close()
    assert code == 0 and 'Traceback' not in said, said
    assert (result['episodes'], result['equal'], result['base_only']) == (3, lengths(run_dir), 0), said
    assert not result['differences'] and not result['incomplete']
    assert len(now) == lengths(run_dir) and not commanded
    assert f'{lengths(run_dir)} steps equal to the bit' in said


def test_spoilt_weights_are_named_by_step_and_joint(tmp_path: Path, run_dir: Path) -> None:
    said, result, code = evaluate(tmp_path, run_dir, 'spoilt')
    assert code == 0
    assert [(item['episode'], item['step'], item['what'], item['joint']) for item in result['differences']] == [
        (1, 0, 'residual', 1), (3, 0, 'residual', 1),
    ], said  # fmt: skip
    assert f'episode 1, step 0: residual of {TASK.robot.names[1]} is' in said
    assert '2 of 3 episodes differ' in said


def test_a_bag_of_another_task_ends_the_node_with_what_to_do(tmp_path: Path, run_dir: Path) -> None:
    said, _, code = evaluate(tmp_path, run_dir, task='box_cleanup')
    assert code == 2 and 'the bag is of task woolly_ball, not box_cleanup' in said and 'Traceback' not in said, said


def test_online_and_offline_say_the_same_by_one_command(
    tmp_path: Path, run_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = str(run_dir / 'spoilt.safetensors')
    words = ['bag', 'replay', str(run_dir), '--base', BASE, '--weights', weights, '--seed', '11', '--explored']
    found = []
    for more in ([], ['--online', '--rate', '20']):
        assert cli.main([*words, *more, '--json', str(tmp_path / 'x')]) == 0
        result = json.loads((tmp_path / 'x').read_text())
        found.append([result[key] for key in ('equal', 'base_only', 'differences')])
        assert 'episode 1, step 0: residual of ' in capsys.readouterr().out
    assert found[0] == found[1] and len(found[0][2]) == 2


def test_a_run_folder_knows_how_it_ran_and_one_of_its_bags_where_it_lies(tmp_path: Path, run_dir: Path) -> None:
    shutil.copytree(run_dir / 'episodes', tmp_path / 'episodes')
    (tmp_path / 'log').mkdir()
    ran = {'base': BASE, 'weights': str(run_dir / 'actor.safetensors'), 'seed': 11, 'explore': True}
    (tmp_path / 'log' / 'policy_node.yaml').write_text(yaml.safe_dump({'/**': {'ros__parameters': ran}}))
    for bag in (tmp_path, tmp_path / 'episodes', tmp_path / 'episodes' / '000001-000001'):
        graph = bag_eval_graph(bag, player='resfit')
        given = graph.named('bag_eval_node').parameters
        assert {name: given[name] for name in ran} == ran and given['task'] == 'woolly_ball'
        assert graph.named('player').arguments[-6:-1] == ('play', str(bag), '--rate', '1.0', '--namespace')
        assert tmp_path not in graph.options.run_dir.parents, 'nothing is written beside the evidence'


def test_ros2_plays_steps_labels_and_phases_alone_and_never_under_their_own_names(tmp_path: Path) -> None:
    """A bag of all topics holds the commands, too."""
    bag = tmp_path / 'bag'
    with Writer(bag, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        for topic, kind in (('/a/policy/step', TYPES[STEP]), ('/a/episode', TYPES[EPISODE]), ('/a/target', JOINTS)):
            writer.add_connection(topic, kind, typestore=typestore())
    words = ros2_play(bag, 2.0, 'b')
    assert words[words.index('--regex') + 1] == '/a/policy/step|/a/episode'  # --topics would not find relative names
    assert words[words.index('--remap') + 1 :] == [
        '/a/policy/step:=/b/recorded/policy/step', '/a/episode:=/b/recorded/episode',
    ]  # fmt: skip
    with Writer(tmp_path / 'other', version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        writer.add_connection('/a/target', JOINTS, typestore=typestore())
    with pytest.raises(ConfigError, match='no policy steps'):
        ros2_play(tmp_path / 'other', 1.0, '')


def test_what_cannot_be_played_is_refused_before_anything_starts(tmp_path: Path, run_dir: Path) -> None:
    with pytest.raises(ConfigError, match='no episodes in'):
        bag_eval_graph(tmp_path)
    with pytest.raises(ConfigError, match='plays one bag'):
        bag_eval_graph(run_dir, player='ros2')
    with pytest.raises(ConfigError, match='is of the task woolly_ball'):
        bag_eval_graph(run_dir, task='box_cleanup')
    shutil.copytree(run_dir / 'episodes', tmp_path / 'episodes')
    for folder in tmp_path.glob('episodes/*-*'):
        cut_off(folder)
    with pytest.raises(ConfigError, match='is damaged'):
        bag_eval_graph(tmp_path)


def test_the_launch_file_starts_the_player_and_the_node(tmp_path: Path, run_dir: Path) -> None:
    pytest.importorskip('launch_ros', reason='ros2 launch is not part of the ROS wheels')
    from launch.actions import OpaqueFunction
    from launch.launch_description_sources import PythonLaunchDescriptionSource

    from launch import LaunchContext

    context = LaunchContext()
    source = PythonLaunchDescriptionSource(str(share_folder() / 'launch' / 'vega_bag_eval.launch.py'))
    description = source.get_launch_description(context)
    for item in description.get_launch_arguments():
        assert item.description
        context.launch_configurations[item.name] = item.default_value[0].text if item.default_value else ''
    context.launch_configurations['bag'] = str(run_dir)
    opaque = next(item for item in description.entities if isinstance(item, OpaqueFunction))
    assert len(opaque.execute(context)) == 2
