"""A recorded episode through the policy once more: equal to the bit, or the place where it is not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from touch_env import make_setup

from resfit_learner.config import LearnerConfig
from resfit_learner.reacting import RecordedBase, Replayed, replay
from resfit_learner.rollout import observe, run_episode
from resfit_learner.training import ResFiT
from resfit_policy.episode_log import Arm, Episode, Flag, Phase, build_episode
from resfit_policy.runtime import PolicyRuntime

SETUP = make_setup(LearnerConfig(min_steps=10, heads=2, critic_hidden=(16,), actor_hidden=(16,), explore_std=0.3))


def policy(seed: int = 5, spoilt: bool = False, base: object = None) -> PolicyRuntime:
    """A residual that does something, over the base or a recorded one."""
    runtime = ResFiT(SETUP).runtime
    actor, exploration = runtime.actor, runtime.exploration
    assert actor is not None
    torch.manual_seed(1)
    for parameter in actor.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    if spoilt:
        with torch.no_grad():
            list(actor.parameters())[-1][0] += 1e-3
    made = PolicyRuntime(SETUP.task, base or SETUP.make_base(), seed)  # type: ignore[arg-type]
    made.set_weights(actor, exploration, 7)
    return made


@pytest.fixture(scope='module')
def episode() -> Episode:
    found = run_episode(SETUP.make_env(), policy(), seed=1, arm=Arm.RESIDUAL, explore=True, episode_id=3)
    assert found.length > 3 and np.abs(found.residual).max() > 0
    return found


@pytest.mark.parametrize('base', [None, RecordedBase()])
def test_the_same_policy_does_the_same_to_the_bit(episode: Episode, base: object) -> None:
    outcome = replay(episode, policy(base=base), explore=True)
    assert outcome == Replayed(episode.length, 0, None)


def test_what_differs_is_named(episode: Episode) -> None:
    noise = replay(episode, policy(seed=6), explore=True).difference
    assert noise is not None and (noise.step, noise.what) == (0, 'residual')
    weights = replay(episode, policy(spoilt=True), explore=True).difference
    assert weights is not None and weights.what == 'residual' and weights.recorded != weights.now
    action = episode.base_action.copy()
    action[2, 1] = np.nextafter(action[2, 1], np.float32(2))
    outcome = replay(replace(episode, base_action=action), policy(), explore=True)
    assert outcome.difference is not None and (outcome.equal, outcome.base_only) == (2, 0)
    assert (outcome.difference.step, outcome.difference.what, outcome.difference.joint) == (2, 'base_action', 1)


@pytest.mark.parametrize('base', [None, RecordedBase()])
def test_where_something_else_acted_the_base_is_compared_and_the_next_step_goes_on_from_it(
    episode: Episode, base: object
) -> None:
    versions = episode.weights_version.copy()
    versions[:2] = 6
    outcome = replay(replace(episode, weights_version=versions), policy(base=base), explore=True)
    assert outcome == Replayed(episode.length - 2, 2, None)
    held = episode.flags.copy()
    held[1] |= Flag.HELD
    assert replay(replace(episode, flags=held), policy(base=base), explore=True).base_only == 1


def test_a_takeover_is_replayed_with_the_plan_that_the_base_makes_after_it() -> None:
    runtime, env, steps = policy(), SETUP.make_env(), []
    raw, _ = env.reset(seed=1)
    runtime.begin(Arm.RESIDUAL, explore=False, episode_id=4)
    for row in range(6):
        teleop = np.full(2, 0.05, np.float32) if row in (2, 3) else None
        steps.append(runtime.step(observe(raw), stamp=row * SETUP.task.period_ns, teleop=teleop))
        raw, *_ = env.step(steps[-1].executed_action)
    told = {'episode_id': 4, 'task': SETUP.task.name, 'seed': 1, 'arm': Arm.RESIDUAL, 'outcome': Phase.FAILURE}
    episode = build_episode(steps, **told, success=False, last_step=5)  # type: ignore[arg-type]
    assert replay(episode, policy()) == Replayed(4, 2, None)
    assert replay(episode, policy(base=RecordedBase())) == Replayed(4, 2, None)


def test_the_supervisor_goes_on_from_what_was_executed() -> None:
    task = SETUP.task
    supervisor = PolicyRuntime(task, SETUP.make_base()).supervisor
    supervisor.reset(np.zeros(2))
    supervisor.apply(np.full(2, 0.1), np.zeros(2), 0.0)
    supervisor.follow(np.full(2, 0.02, np.float32))
    np.testing.assert_array_equal(supervisor.last, np.full(2, 0.02, np.float32))
    np.testing.assert_allclose(supervisor.step, 0.02, rtol=1e-6)
