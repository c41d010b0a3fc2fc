"""The whole graph as real processes: it acts as in-process, survives a kill, ends, and says what is wrong."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from graph_runs import EXPERT, collect, demonstrations, domain, index, within

from resfit_bringup import cli
from resfit_bringup.graph import Options, collect_graph
from resfit_bringup.runner import GraphError, Runner
from resfit_learner.bags import read_log
from resfit_learner.reacting import replay
from resfit_learner.rollout import run_episode
from resfit_msgs.msg import EpisodeState, PolicyStep
from resfit_policy.actor import ActorConfig, Exploration, ResidualActor, pack_actor, unpack_actor
from resfit_policy.episode_log import Arm
from resfit_policy.ros import LATCHED, LOG
from resfit_policy.runtime import PolicyRuntime
from resfit_policy.task import ConfigError, load_task
from resfit_policy.testing import NodeProcess, Probe
from resfit_sim.env import VegaEnv
from resfit_sim.experts import make_expert

__all__ = ['demonstrations', 'domain']  # fixtures


def test_an_episode_on_the_graph_is_the_one_in_process(demonstrations: Path) -> None:
    env = VegaEnv('woolly_ball', variant='unseen')
    runtime = PolicyRuntime(env.task, make_expert('woolly_ball', 'unseen'))
    for there in read_log(demonstrations):
        here = run_episode(env, runtime, seed=there.seed, arm=Arm.BASE)
        assert (here.length, here.outcome) == (there.length, there.outcome)
        # What the policy saw on the graph, it does again to the bit.
        again = replay(there, PolicyRuntime(env.task, make_expert('woolly_ball', 'unseen')))
        assert (again.equal, again.difference) == (there.length, None)
        # not to the bit: the simulation on the graph has stood at its start for some ticks
        np.testing.assert_allclose(here.state, there.state, atol=1e-5)
        np.testing.assert_allclose(here.executed_action, there.executed_action, atol=1e-5)


def test_a_blind_comparison_tells_who_was_who_only_at_its_end(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The scripted expert against itself with a residual that spoils it; no file tells the operator who acts."""
    task, weights, out = load_task('woolly_ball'), tmp_path / 'actor.safetensors', tmp_path / 'session'
    actor = ResidualActor(ActorConfig(task.state_size, task.action_size, task.action_size, (8,)))
    actor.offset[:] = torch.linspace(-3, 3, task.action_size)
    actor.scale[:] = 0.3
    weights.write_bytes(pack_actor(actor, Exploration(), 4))
    words = ['ab', '--out', out, '--base', EXPERT, '--weights', weights, '--episodes', '2', '--json', tmp_path / 'x']
    assert cli.main([str(word) for word in words]) == 0
    result, log = json.loads((tmp_path / 'x').read_text()), list(read_log(out))
    assert (result['base']['n'], result['resfit']['n']) == (2, 2)
    assert (result['base']['success'], result['resfit']['success']) == (1.0, 0.0)
    assert sorted(result['order'][:2]) == sorted(result['order'][2:]) == ['B', 'R']
    assert log[0].seed == log[1].seed != log[2].seed == log[3].seed
    said = (out / 'log' / 'reward_node.log').read_text()
    assert 'episode 1: ' in said and not {'BASE', 'RESIDUAL'} & set(said.split())
    for episode in log:  # and the same weights do the same again, to the bit
        runtime = PolicyRuntime(task, make_expert('woolly_ball', 'unseen'))
        runtime.set_weights(*unpack_actor(weights.read_bytes()))
        again = replay(episode, runtime)
        assert again.difference is None and again.equal > 0
    assert cli.main(['bag', 'replay', str(out), '--json', str(tmp_path / 'x')]) == 0  # which the run folder knows
    replayed = json.loads((tmp_path / 'x').read_text())
    assert replayed['differences'] == [] and replayed['equal'] > 100
    weights.write_bytes(pack_actor(actor, Exploration(), 5))
    assert cli.main([str(word) for word in words]) == 2
    assert 'choose a new folder' in capsys.readouterr().err


def test_collecting_records_successful_episodes_on_the_seeds_asked_for(demonstrations: Path) -> None:
    episodes = list(read_log(demonstrations))
    assert [episode.seed for episode in episodes] == [40, 41, 42]
    assert all(episode.success and episode.length > 20 for episode in episodes)
    assert all(np.diff(episode.stamp).tolist() == [50_000_000] * (episode.length - 1) for episode in episodes)


SCRIPT = """
    from pathlib import Path
    from resfit_bringup.graph import Options, collect_graph
    from resfit_bringup.runner import Runner
    with Runner(collect_graph(Options(run_dir=Path({folder!r}), base={base!r}, seed=40))) as runner:
        print(*(child.pid for child in runner._running.values()), flush=True)
        runner.wait()
"""


def start_script(folder: Path) -> tuple[subprocess.Popen[str], list[int]]:
    script = textwrap.dedent(SCRIPT).format(folder=str(folder), base=EXPERT)
    process = subprocess.Popen(
        [sys.executable, '-c', script], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert process.stdout is not None
    pids = [int(word) for word in process.stdout.readline().split()]
    end = time.monotonic() + 120
    while len(index(folder)) < 1:
        assert time.monotonic() < end and process.poll() is None
        time.sleep(0.1)
    return process, pids


def alive(pid: int) -> bool:
    try:
        return 'zombie' not in Path(f'/proc/{pid}/status').read_text()
    except OSError:
        return False


@pytest.mark.parametrize('how', [[signal.SIGINT], [signal.SIGINT, signal.SIGINT], [signal.SIGKILL]])
def test_the_end_of_the_run_is_the_end_of_every_process_and_nothing_is_lost(
    tmp_path: Path, how: list[signal.Signals]
) -> None:
    process, pids = start_script(tmp_path)
    assert len(pids) == 5 and all(alive(pid) for pid in pids)
    for number in how:
        process.send_signal(number)
        time.sleep(0.1)
    process.wait(90)  # it gives five processes 10 s each
    end = time.monotonic() + 60
    while any(alive(pid) for pid in pids):
        assert time.monotonic() < end, 'processes are left'
        time.sleep(0.1)
    entries = index(tmp_path)
    assert len(list(read_log(tmp_path))) == len(entries) >= 1
    for log in (tmp_path / 'log').glob('*.log'):
        assert 'Traceback' not in log.read_text(), log.name


def test_an_operators_keys_reach_a_running_graph(tmp_path: Path) -> None:
    process, _ = start_script(tmp_path)
    words = [sys.executable, '-m', 'resfit_bringup.cli', 'label', '--name', 'ana']
    desk = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert desk.stdin is not None
    log, end = tmp_path / 'log' / 'reward_node.log', time.monotonic() + 120
    while 'ABORTED' not in log.read_text():
        assert time.monotonic() < end, log.read_text()
        desk.stdin.write('a')
        desk.stdin.flush()
        time.sleep(0.1)
    said, _ = desk.communicate('q', timeout=60)
    assert desk.returncode == 0 and 'is aborted' in said and 'space' in said, said
    process.send_signal(signal.SIGINT)
    process.wait(90)


def test_a_killed_policy_costs_its_episode_and_no_half_of_one_is_learned_from(tmp_path: Path) -> None:
    (tmp_path / 'params.yaml').write_text(yaml.safe_dump({'reward_node': {'ros__parameters': {'stall': 3.0}}}))
    probe = Probe()
    steps = probe.listen(PolicyStep, 'policy/step', LOG)
    states = probe.listen(EpisodeState, 'episode', LATCHED)

    def seen(late: bool = False) -> bool:
        """Steps of the running episode, which the expert needs 80 for; ``late``: or those of one that is over."""
        if not steps or not states or states[-1].phase != EpisodeState.RUNNING:
            return False
        return 2 <= steps[-1].step <= 60 if steps[-1].episode_id == states[-1].episode_id else late

    try:
        with Runner(collect(tmp_path, 5, params_file=str(tmp_path / 'params.yaml'))) as runner:
            read = 0
            while True:
                probe.until(lambda: (runner.check(), len(steps) > read and seen(late=True))[1], 120.0, 'steps')
                # What a slow probe has read is of the past: the policy stands still until all of it is read.
                os.kill(runner.pid('policy_node'), signal.SIGSTOP)
                while read < (read := len(steps)):
                    probe.spin(0.5)
                if seen():
                    break
                os.kill(runner.pid('policy_node'), signal.SIGCONT)
            os.kill(runner.pid('policy_node'), signal.SIGKILL)
            killed = steps[-1].episode_id
            runner.wait(within(300, lambda: probe.spin(0.1)), period=0.0)
    finally:
        probe.close()
    whole = [episode for episode in read_log(tmp_path) if episode.outcome != EpisodeState.ABORTED]
    assert len(whole) == 5 and killed not in {episode.episode_id for episode in whole}
    assert all(set(np.diff(episode.stamp).tolist()) == {50_000_000} for episode in whole)


def test_a_log_is_continued_by_the_next_run(tmp_path: Path, demonstrations: Path) -> None:
    before = [entry['episode_id'] for entry in index(demonstrations)]
    with Runner(collect(demonstrations, len(before) + 1)) as runner:
        runner.wait(within(120))
    after = index(demonstrations)
    assert [entry['episode_id'] for entry in after] == [*before, max(before) + 1]


def test_nodes_of_somebody_else_in_the_domain_are_one_clear_error(tmp_path: Path) -> None:
    stranger = NodeProcess(tmp_path / 'stranger', 'resfit_sim', 'sim_node')
    try:
        probe = Probe()
        probe.until(lambda: 'sim_node' in probe.node.get_node_names())
        probe.close()
        with pytest.raises(ConfigError, match='sim_node already run'), Runner(collect(tmp_path / 'run')):
            pass
    finally:
        stranger.end()


def test_a_process_that_fails_ends_the_run_with_its_own_words(tmp_path: Path) -> None:
    graph = collect_graph(Options(run_dir=tmp_path, base='/nowhere'))
    with pytest.raises(GraphError, match='no base policy in /nowhere'), Runner(graph) as runner:
        runner.wait(within(120))


def test_without_the_page_that_was_asked_for_a_run_does_not_begin(tmp_path: Path) -> None:
    """Who opens the address would see another run's page, and stop that one."""
    with socket.create_server(('127.0.0.1', 0)) as taken:
        settings = tmp_path / 'port.yaml'
        settings.write_text(f'/**/web_node: {{ros__parameters: {{port: {taken.getsockname()[1]}}}}}')
        graph = collect(tmp_path / 'run', web=True, params_file=str(settings))
        ended = pytest.raises(GraphError, match='web_node ended with exit code 2: no page at 127.0.0.1')
        with ended, Runner(graph) as runner:
            runner.wait(within(120))


def test_a_run_folder_that_cannot_be_written_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / 'file').touch()
    with pytest.raises(ConfigError, match='choose another run folder'):
        Runner(collect(tmp_path / 'file' / 'run'))


def test_in_real_time_the_same_nodes_do_the_same_job(tmp_path: Path) -> None:
    for attempt in range(3):  # on a busy machine joint states come late, but not every time
        folder = tmp_path / str(attempt)
        with Runner(collect(folder, 1, lockstep=False, namespace='vega')) as runner:
            runner.wait(within(120))
        (episode,) = read_log(folder)
        assert episode.length > 20
        gaps = np.diff(episode.stamp)
        assert gaps.min() >= 40_000_000, 'steps are bunched'
        if np.median(gaps) <= 60_000_000:
            break
    else:
        raise AssertionError(f'{np.median(gaps)} ns between steps')
