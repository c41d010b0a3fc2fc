"""A correction learned from the demonstrations alone, frozen between base and residual."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from touch_env import make_setup

from resfit_learner.config import LearnerConfig, load_config
from resfit_learner.method import Setup
from resfit_learner.rollout import run_episode
from resfit_learner.training import ResFiT
from resfit_learner.warm_start import demonstrated_correction, from_start
from resfit_policy.actor import pack_actor, unpack_actor
from resfit_policy.episode_log import Arm, Episode
from resfit_policy.task import ConfigError, Joint, Robot, SceneObject, Task

CONFIG = LearnerConfig(
    batch=8, heads=2, critic_hidden=(8,), actor_hidden=(8,), directions=2, min_steps=100, explore_std=0.0,
    explore_std_end=0.0, warm_start=600,
)  # fmt: skip


@pytest.fixture(scope='module')
def setup() -> Setup:
    return make_setup(CONFIG, demonstrations=60)


@pytest.fixture(scope='module')
def method(setup: Setup) -> ResFiT:
    return ResFiT(setup)


def play(method: ResFiT, setup: Setup, start: int, arm: Arm = Arm.RESIDUAL) -> Episode:
    return run_episode(setup.make_env(), method.runtime, seed=start, arm=arm)


def test_it_lifts_the_base_before_the_first_online_step(method: ResFiT, setup: Setup) -> None:
    base, warm = (
        np.mean([play(method, setup, start, arm).success for start in range(5000, 5040)])
        for arm in (Arm.BASE, Arm.RESIDUAL)
    )
    assert warm > base + 0.3 and warm > 0.85


def test_what_acts_is_the_base_and_it_until_something_is_learned(method: ResFiT, setup: Setup) -> None:
    correction = method.learner.actor.demonstrated
    assert correction is not None
    episode = play(method, setup, 5000)
    rows = slice(episode.length)
    wanted = correction.act(episode.seen, episode.base_action)[rows]
    assert episode.residual[rows] == pytest.approx(wanted, abs=1e-5)
    method.runtime.authority = 0.0
    base = play(method, setup, 5000)
    method.runtime.authority = 1.0
    assert base.executed_action[: base.length].tobytes() == base.base_action[: base.length].tobytes()


def test_the_learner_corrects_what_is_left_over(method: ResFiT, setup: Setup) -> None:
    learner = method.learner
    before = setup.demonstrations[-1]
    after = from_start(before, learner.actor.demonstrated)
    left, whole = (np.abs(item.executed_action - item.base_action)[: item.length].mean() for item in (after, before))
    assert left < 0.5 * whole  # of a demonstration that it was not trained on
    cold = ResFiT(replace(setup, config=replace(CONFIG, warm_start=0))).learner
    assert (learner.actor.scale.mean() < 0.5 * cold.actor.scale.mean()).item()
    method.advance()
    batch = learner.online.sample(20, learner.rng)
    actor = learner.actor
    latent = actor.to_latent(batch.action, batch.base_action, batch.state[:, 0])
    assert latent.abs().max().item() < 1e-3  # nothing is explored here, and nothing learned yet


def test_it_sees_time_objects_and_base_but_not_the_joints(setup: Setup) -> None:
    correction = demonstrated_correction(setup.task, setup.demonstrations, 50)
    episode = setup.demonstrations[0]
    seen, base = episode.seen[1], episode.base_action[1]
    size = setup.task.action_size
    for first, last, matters in ((0, 1, True), (1, 1 + size, False), (1 + size, len(seen), True)):
        other = seen.copy()
        other[first:last] += 0.3
        assert (correction.act(other, base) != correction.act(seen, base)).any() == matters
    assert (correction.act(seen, base + np.float32(0.1)) != correction.act(seen, base)).any()


def test_what_hangs_on_a_hand_being_close_is_seen_where_the_robot_has_a_model(tmp_path: Path) -> None:
    model = tmp_path / 'robot.xml'
    model.write_text(
        '<mujoco><worldbody><body name="arm"><joint name="turn" axis="0 0 1"/><geom size="0.1"/>'
        '<body name="hand" pos="0.5 0 0"><geom size="0.1"/></body></body></worldbody></mujoco>'
    )
    robot = Robot('toy', (Joint('turn', -3.0, 3.0, 1.0),), end_effectors=('hand',), collision=str(model))
    task = Task('toy', robot, horizon=20, objects=(SceneObject('ball'),))
    random, episodes = np.random.default_rng(0), []
    any_episode = replace(make_setup(CONFIG, demonstrations=1).demonstrations[0], final=False)
    for _ in range(40):
        base = random.uniform(-2, 2, (20, 1)).astype(np.float32)
        angle = base + random.normal(0, 0.05, base.shape)  # the ball is about at the hand
        ball = np.hstack([0.5 * np.cos(angle), 0.5 * np.sin(angle), np.zeros_like(base)])
        wanted = base + 0.2 * np.tanh((angle - base) / 0.02)  # close or open, as it is on this or that side
        state, executed = np.hstack([base, ball]).astype(np.float32), wanted.astype(np.float32)
        episodes.append(replace(any_episode, state=state, base_action=base, executed_action=executed))
    left = []
    for seen_by in (task, replace(task, robot=replace(robot, collision=''))):
        torch.manual_seed(0)
        correction = demonstrated_correction(seen_by, episodes[:30], 200)
        rest = [from_start(item, correction) for item in episodes[30:]]
        error = np.concatenate([item.executed_action - item.base_action for item in rest])
        left.append(np.square(error).mean())
    assert left[0] < 0.02 * 0.2**2 < left[1] / 3


def test_it_travels_with_the_weights_and_stays_as_it_was(method: ResFiT, setup: Setup) -> None:
    learner = method.learner
    correction = learner.actor.demonstrated
    assert correction is not None
    before = [value.clone() for value in correction.parameters()]
    learner.ingest(1, replace(play(method, setup, 6000), episode_id=77))
    config, learner.config = learner.config, replace(learner.config, critic_warmup=0, actor_delay=1)
    for _ in range(4):
        learner.update()
    learner.config = config
    assert all((a == b).all() for a, b in zip(before, correction.parameters(), strict=True))
    read, _, _ = unpack_actor(pack_actor(learner.actor, method.runtime.exploration, 1))
    episode = setup.demonstrations[0]
    row = episode.seen[2], episode.base_action[2]
    assert read.start(*row).tobytes() == learner.actor.start(*row).tobytes() != row[1].tobytes()


def test_progress_is_shown_and_impossible_settings_are_refused(setup: Setup) -> None:
    heard: list[int] = []
    ResFiT(replace(setup, config=replace(CONFIG, warm_start=50), show=heard.append))
    assert heard == [20, 40, 50]
    with pytest.raises(ConfigError, match='absolute residual does not use'):
        load_config('rlpd', warm_start=10)
