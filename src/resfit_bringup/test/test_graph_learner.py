"""The learner in the graph: killed, corrected, stopped in its warm start; no episode is lost, bags tell the truth."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from graph_runs import collect, demonstrations, domain, index, within

from resfit_bringup.graph import Graph, Options, train_graph
from resfit_bringup.runner import Runner
from resfit_learner.bags import read_log
from resfit_learner.bc import BcConfig, train_base
from resfit_learner.checkpoint import latest_checkpoint
from resfit_learner.config import LearnerConfig
from resfit_learner.transitions import build_transitions
from resfit_msgs.msg import EpisodeState, LearnerStatus, PolicyStep, PolicyWeights, ReplayStatus, Reward
from resfit_policy.actor import unpack_actor
from resfit_policy.base_policy import save_base
from resfit_policy.convert import read_episode_messages
from resfit_policy.ros import EVENT, LATCHED, LOG
from resfit_policy.task import ConfigError, load_task
from resfit_policy.testing import NodeProcess, Probe, nodes

__all__ = ['demonstrations', 'domain']  # fixtures
STEPS = 1500  # about 13 episodes
UTD = 0.5
SMALL = {
    'batch': 32,
    'heads': 2,
    'critic_hidden': [16],
    'actor_hidden': [16],
    'warm_start': 100,
    'min_steps': 100,
    'critic_warmup': 5,
    'utd': UTD,
}


@pytest.fixture(scope='module')
def base(demonstrations: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    task, folder = load_task('woolly_ball'), tmp_path_factory.mktemp('base')
    save_base(folder, train_base(BcConfig(steps=100), task, list(read_log(demonstrations)), seed=0), task, {})
    return str(folder)


def train(folder: Path, demonstrations: Path, base: str) -> Graph:
    folder.mkdir(exist_ok=True)
    (folder / 'learner.yaml').write_text(yaml.safe_dump(SMALL))
    often = {'learner_node': {'ros__parameters': {'checkpoint_period': 0.5}}}
    (folder / 'params.yaml').write_text(yaml.safe_dump(often))
    options = Options(run_dir=folder, base=base, seed=60, max_steps=STEPS, params_file=str(folder / 'params.yaml'))
    return train_graph(
        options, demonstrations=str(demonstrations), learner_config=str(folder / 'learner.yaml'), max_backlog=200
    )


def test_a_killed_learner_costs_no_episode_and_bags_equal_what_was_live(
    tmp_path: Path, demonstrations: Path, base: str
) -> None:
    folder = tmp_path / 'run'
    graph = train(folder, demonstrations, base)
    probe = Probe()
    steps = probe.listen(PolicyStep, 'policy/step', LOG)
    rewards = probe.listen(Reward, 'reward', EVENT)
    states = probe.listen(EpisodeState, 'episode', LOG)  # deep: every state counts
    learner = probe.listen(LearnerStatus, 'learner/status', LATCHED)
    replay = probe.listen(ReplayStatus, 'replay/status', LATCHED)
    weights = probe.listen(PolicyWeights, 'learner/weights', LATCHED)
    try:
        with Runner(graph) as runner:

            def until(true: Any, what: str) -> None:
                probe.until(lambda: (runner.check(), true())[1], 120.0, what)

            until(lambda: learner and learner[-1].updates > 20 and replay, 'an update')
            until(lambda: latest_checkpoint(folder / 'checkpoints'), 'a checkpoint')
            episodes = replay[-1].episodes
            os.kill(runner.pid('learner_node'), signal.SIGKILL)
            until(lambda: replay[-1].episodes >= episodes + 1, 'an episode without a learner')
            weights.clear()  # of the one that was killed
            said = folder / 'log' / 'learner_node.log'
            until(lambda: 'goes on from' in said.read_text(), 'the learner again')
            learner.clear()
            until(lambda: learner, 'its heartbeat')
            assert learner[0].updates > 0, 'it began anew instead of from its checkpoint'
            until(lambda: weights, 'its weights')
            _, exploration, _ = unpack_actor(bytes(weights[0].data))
            assert exploration.std < LearnerConfig().explore_std, 'it explores as in the first episode'
            refuse_second_learner(probe, tmp_path, folder, demonstrations, base)
            with pytest.raises(ConfigError, match='in use by another run'):
                Runner(collect(tmp_path / 'other'))
            runner.wait(within(300, lambda: probe.spin(0.1)), period=0.0)
        probe.spin(0.3)
    finally:
        probe.close()
    entries = index(folder)
    assert [entry['sequence'] for entry in entries] == list(range(1, len(entries) + 1))
    assert [entry['episode_id'] for entry in entries] == list(range(1, len(entries) + 1)), 'an episode was lost'
    assert not list((folder / 'episodes').glob('*.partial'))
    total = sum(entry['steps'] for entry in entries)
    assert total >= STEPS
    latest = latest_checkpoint(folder / 'checkpoints')
    assert latest is not None
    counters = json.loads((latest / 'learner.json').read_text())['counters']
    assert counters['sequence'] == len(entries) and counters['env_steps'] == total
    assert counters['updates'] == round((total - 100) * UTD), 'the configured UTD was not held'
    assert steps[-1].weights_version > 1, 'no new weights reached the policy'

    closing = {item.episode_id: item for item in states if item.phase in (2, 3, 4)}
    labels = {item.episode_id: item for item in rewards}
    compared = 0
    for episode in read_log(folder):
        if episode.episode_id not in closing or episode.episode_id not in labels:
            continue  # the probe came later, and neither is kept for it
        live = read_episode_messages(
            closing[episode.episode_id],
            labels[episode.episode_id],
            [item for item in steps if item.episode_id == episode.episode_id],
        )
        a, b = (build_transitions(item, 0.99, 5) for item in (live, episode))
        for name in ('state', 'base_action', 'action', 'reward', 'discount', 'next_row', 'mc_return'):
            assert getattr(a, name).tobytes() == getattr(b, name).tobytes(), name
        compared += 1
    assert compared >= 5


def test_a_corrected_label_is_in_the_learners_buffer_with_its_next_fetch(
    tmp_path: Path, demonstrations: Path, base: str
) -> None:
    folder = tmp_path / 'run'
    shutil.copytree(demonstrations / 'episodes', folder / 'episodes')
    (folder / 'learner.yaml').write_text(yaml.safe_dump(SMALL))
    replayed = NodeProcess(tmp_path, 'resfit_learner', 'replay_node', directory=folder)
    parameters = {'base': base, 'demonstrations': demonstrations, 'directory': folder}
    parameters['config'] = folder / 'learner.yaml'
    with nodes(replayed, NodeProcess(tmp_path, 'resfit_learner', 'learner_node', **parameters)):
        probe = Probe()
        try:
            learner = probe.listen(LearnerStatus, 'learner/status', LATCHED)
            rewards = probe.node.create_publisher(Reward, 'reward', EVENT)
            probe.until(lambda: learner and learner[-1].sequence == 3, 120.0, 'the log in the buffer')
            probe.until(rewards.get_subscription_count)
            steps, waits = learner[-1].env_steps, []
            for revision in range(1, 11):  # true, false, ...: each is an entry of its own
                begun = time.monotonic()
                rewards.publish(Reward(episode_id=1, success=revision % 2 == 0, revision=revision, source=Reward.HUMAN))
                probe.until(lambda revision=revision: learner[-1].sequence == 3 + revision, what='the correction')
                waits.append(time.monotonic() - begun)
            assert learner[-1].env_steps == steps, 'a correction is no new experience'
            # It need not wait for an episode, or for the learner's beat of 1 s; a busy machine is slow for itself.
            assert np.median(waits) < 2.0 and np.quantile(waits, 0.3) < 0.5, waits
        finally:
            probe.close()


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_a_signal_in_the_warm_start_leaves_nothing_behind(
    tmp_path: Path, demonstrations: Path, base: str, number: signal.Signals
) -> None:
    parameters = {'base': base, 'demonstrations': demonstrations, 'directory': tmp_path / 'run'}
    before = {str(path) for path in Path('/dev/shm').iterdir()}
    learner = NodeProcess(tmp_path, 'resfit_learner', 'learner_node', **parameters)
    with nodes(learner):
        end = time.monotonic() + 120
        while 'warm start: ' not in learner.output:
            assert learner.process.poll() is None and time.monotonic() < end, learner.output
            time.sleep(0.1)
        maps = Path(f'/proc/{learner.process.pid}/maps').read_text()
        shared = {line.split()[-1] for line in maps.splitlines() if '/dev/shm/' in line} - before
        assert learner.end(number, 5.0) == 0  # s, after which ros2 launch loses patience
    assert 'Traceback' not in learner.output
    assert shared, 'the middleware shares nothing here'
    assert not [name for name in shared if Path(name).exists()]


def refuse_second_learner(probe: Probe, tmp_path: Path, folder: Path, demonstrations: Path, base: str) -> None:
    parameters = {'base': base, 'demonstrations': demonstrations, 'config': folder / 'learner.yaml'}
    same = NodeProcess(tmp_path / 'same', 'resfit_learner', 'learner_node', directory=folder, **parameters)
    other = NodeProcess(tmp_path / 'o', 'resfit_learner', 'learner_node', directory=tmp_path / 'o', **parameters)
    with nodes(same, other):  # the probe goes on listening: more is said meanwhile than is kept for it
        probe.until(lambda: None not in (same.process.poll(), other.process.poll()), 120.0, 'the refusals')
    assert (same.wait(), other.wait()) == (2, 2)
    assert 'already has a learner' in same.output and 'already publishes learner/weights' in other.output
