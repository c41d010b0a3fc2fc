"""Replay online: a recorded run is played to the policy by one process and asked of it by another."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from rclpy.qos import QoSProfile
from sessions import add

from resfit_learner.replay_log import ReplayLog
from resfit_learner.rollout import run_episode
from resfit_msgs.msg import PolicyStep
from resfit_policy.actor import ActorConfig, Exploration, ResidualActor, pack_actor
from resfit_policy.episode_log import Arm
from resfit_policy.runtime import PolicyRuntime
from resfit_policy.task import load_task
from resfit_policy.testing import Probe, isolated_domain
from resfit_sim.env import VegaEnv
from resfit_sim.experts import make_expert

TASK = load_task('woolly_ball')
BASE = 'resfit_sim.experts:unseen'
EXPLORE = Exploration(std=0.2)
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
        made.basis.copy_(torch.eye(3, TASK.action_size))
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


def evaluate(folder: Path, run_dir: Path, weights: str = 'actor', task: str = 'woolly_ball') -> tuple[str, dict, int]:
    """Play the log to the node; what it said, its result, its exit code."""
    given = {
        'task': task, 'base': BASE, 'weights': run_dir / f'{weights}.safetensors', 'seed': 11, 'explore': 'true',
        'result': folder / 'result.json',
    }  # fmt: skip
    words = [word for name, value in given.items() for word in ('-p', f'{name}:={value}')]
    with open(folder / 'node.log', 'wb') as log:
        node = subprocess.Popen(
            [sys.executable, '-c', NODE, '--ros-args', *words], stdout=log, stderr=subprocess.STDOUT
        )
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
    from resfit_learner.bags import read_log

    return sum(episode.length for episode in read_log(run_dir))


def test_a_run_that_is_played_is_equal_to_the_bit_and_what_is_done_now_is_published(
    tmp_path: Path, run_dir: Path
) -> None:
    probe = Probe()
    now = probe.listen(PolicyStep, 'now/policy/step', QoSProfile(depth=5000))
    commanded = probe.listen(PolicyStep, 'policy/step', QoSProfile(depth=5000))
    said, result, code = evaluate(tmp_path, run_dir)
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
    assert code == 2 and 'the bag is of task woolly_ball, not box_cleanup' in said and 'Traceback' not in said
