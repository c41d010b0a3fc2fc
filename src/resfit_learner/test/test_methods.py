"""What all methods promise: base and learned policy side by side, and to go on as if never stopped."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load, save
from touch_env import make_setup

from resfit_learner.baselines.ppo import PPO, PpoConfig
from resfit_learner.config import RECIPES, LearnerConfig
from resfit_learner.method import METHODS, Method, make_method
from resfit_learner.rollout import run_episode
from resfit_policy.episode_log import Arm

TINY = LearnerConfig(
    batch=16, heads=2, critic_hidden=(8,), actor_hidden=(8,), min_steps=20, critic_warmup=4, actor_lr=1e-2, directions=2
)
CONFIGS = {
    'resfit': TINY,
    'gated, distributional': replace(TINY, q_gate=0.5, critic_loss='hl_gauss', warmup_noise=1.0, ramp_steps=50),
    **{
        name: replace(RECIPES[name], batch=16, critic_hidden=(8,), actor_hidden=(8,), min_steps=20, critic_burst=50)
        for name in ('paper', 'rlpd', 'ibrl')
    },
    **{
        name: replace(
            RECIPES[name],
            batch=16,
            critic_hidden=(8,),
            actor_hidden=(8,),
            min_steps=20,
            critic_warmup=4,
            phase_steps=5,
            warm_start=min(RECIPES[name].warm_start, 20),
            directions=2,
        )
        for name in ('resfit_ros', 'resfit_steps')
    },
}
CASES = [('resfit', name) for name in CONFIGS] + [(name, 'resfit') for name in METHODS if name != 'resfit']


def make(method: str, config: str) -> Method:
    setup = make_setup(CONFIGS[config], seed=3)
    if method == 'ppo':
        return PPO(setup, PpoConfig(batch_steps=40, hidden=(8,), minibatch=32, value_only=1))
    made = make_method(method, setup)
    if method == 'filtered_bc':
        made.config = replace(made.config, retrain_every=30)
    return made


def outcome(method: Method) -> tuple[list[int], list[bytes]]:
    env = make_setup(TINY).make_env()
    played = [run_episode(env, method.runtime, seed=n, arm=Arm.RESIDUAL, explore=True, episode_id=n) for n in range(3)]
    return method.curve.steps, [episode.executed_action.tobytes() for episode in played]


def advance(method: Method) -> None:
    """Until there is more online experience that was wholly learned from."""
    before = method.env_steps
    while method.env_steps == before:
        method.advance()


@pytest.mark.parametrize(('name', 'config'), CASES)
def test_a_method_goes_on_after_a_stop_as_if_there_had_been_none(name: str, config: str) -> None:
    whole = make(name, config)
    for _ in range(3):
        advance(whole)
    whole.advance()  # with a burst, this is amid its updates
    tensors, about = load(save(whole.tensors())), json.loads(json.dumps(whole.about()))
    again = make(name, config)
    again.curve = type(whole.curve)([*whole.curve.steps], [*whole.curve.success])
    torch.rand(7)  # the state of torch's global generator is of no account
    again.restore(tensors, about)
    for method in (whole, again):
        for _ in range(4):
            advance(method)
    assert outcome(whole) == outcome(again)


@pytest.mark.parametrize(('name', 'config'), CASES)
def test_the_base_stays_what_it_was(name: str, config: str) -> None:
    method, env = make(name, config), make_setup(TINY).make_env()
    for _ in range(6):
        advance(method)
    frozen = make('base', 'resfit').runtime
    for seed in range(50, 53):
        one, two = (run_episode(env, runtime, seed=seed, arm=Arm.BASE) for runtime in (method.runtime, frozen))
        assert one.executed_action.tobytes() == two.executed_action.tobytes()
