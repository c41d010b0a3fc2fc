"""A base behind a service in the whole graph: the simulation waits for it, and the episode is the one in-process."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np

from resfit_bringup.graph import Options, collect_graph
from resfit_bringup.runner import Runner
from resfit_learner.bags import read_log
from resfit_learner.rollout import run_episode
from resfit_policy.episode_log import Arm
from resfit_policy.runtime import PolicyRuntime
from resfit_policy.testing import NodeProcess, isolated_domain, nodes
from resfit_sim.env import VegaEnv
from resfit_sim.experts import make_expert


def test_an_episode_with_a_remote_base_is_the_one_in_process(tmp_path: Path) -> None:
    folder, end = tmp_path / 'run', time.monotonic() + 200

    def in_time() -> None:
        assert time.monotonic() < end, 'the graph has not come to its end'

    graph = collect_graph(Options(run_dir=folder, base='ros:predict_chunk', seed=40, max_episodes=1))
    with isolated_domain():
        server = NodeProcess(tmp_path, 'resfit_policy', 'base_server_node', base='resfit_sim.experts:unseen')
        with nodes(server), Runner(graph) as runner:
            runner.wait(in_time)
            assert 'Traceback' not in server.output
    (there,) = read_log(folder)
    env = VegaEnv('woolly_ball', variant='unseen')
    here = run_episode(
        env, PolicyRuntime(env.task, make_expert('woolly_ball', 'unseen')), seed=there.seed, arm=Arm.BASE
    )
    assert there.success and (here.length, here.outcome) == (there.length, there.outcome)
    np.testing.assert_allclose(here.executed_action, there.executed_action, atol=1e-5)
