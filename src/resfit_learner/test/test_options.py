"""The method's options and PPO's equations, by hand."""

from __future__ import annotations

import itertools
import math
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import pytest
import torch
from touch_env import make_setup

from resfit_learner.baselines.ppo import PPO, PpoConfig
from resfit_learner.config import RECIPES, LearnerConfig
from resfit_learner.learner import Learner
from resfit_learner.losses import actor_loss, hl_gauss, td_target
from resfit_learner.networks import EnsembleCritic
from resfit_learner.rollout import run_episode
from resfit_learner.synergies import error_directions, make_actor, widened_range
from resfit_learner.training import ResFiT
from resfit_learner.transitions import Transitions, build_transitions
from resfit_policy.actor import ActorConfig, Exploration, ResidualActor
from resfit_policy.episode_log import Arm
from resfit_policy.task import ConfigError

SMALL = LearnerConfig(batch=8, heads=2, critic_hidden=(8,), actor_hidden=(8,), directions=2, min_steps=100)


def make_learner(**changes: Any) -> Learner:
    setup = make_setup(SMALL)
    return Learner(replace(SMALL, **changes), setup.task, setup.demonstrations)


def test_the_range_of_actions_is_floored_and_widened() -> None:
    actions = np.array([[-0.1, 0.7], [0.3, 0.7], [0.0, 0.7]], np.float32)
    centre, half = widened_range(actions, 0.2)
    assert centre == pytest.approx([0.1, 0.7])
    assert half == pytest.approx([0.2 * 1.2, 0.05 * 1.2])  # the second one never moves
    learner = make_learner(residual='joints', bound=0.2)
    assert learner.actor.scale[0] == pytest.approx(0.2 * learner.actor.action_std.numpy())


@pytest.mark.parametrize('per_phase', [False, True])
def test_directions_are_those_of_the_error_in_their_phase(per_phase: bool) -> None:
    config = replace(SMALL, directions=1, phase_steps=3, bound=2.0, phase_directions=per_phase)
    early, late = np.array([[0.1, 0, 0], [-0.1, 0, 0], [0.1, 0, 0]]), np.array([[0, 0.3, 0], [0, -0.3, 0]])
    basis, bound = error_directions([np.concatenate([early, late, late]), np.concatenate([early, late])], config, 2)
    first, second = (0, 1) if per_phase else (1, 1)
    assert np.abs(basis) == pytest.approx(np.eye(3)[[[first], [second]]])
    everywhere = 0.3 * math.sqrt(6 / 12)  # of twelve rows six err so
    assert bound.ravel() == pytest.approx([0.2, 0.6] if per_phase else [2 * everywhere] * 2)
    assert (basis.shape, bound.shape) == ((2, 1, 3), (2, 1))
    with pytest.raises(ConfigError, match='repeats the held-out'):
        error_directions([np.zeros((4, 3))], config, 2)


def test_a_correction_is_along_the_directions_of_its_phase() -> None:
    actor = ResidualActor(ActorConfig(state_size=1, action_size=2, latent_size=1, phases=2, phase_steps=10))
    actor.basis[:] = torch.tensor([[[1.0, 0.0]], [[0.0, 1.0]]])
    actor.scale[:] = torch.tensor([[0.1], [0.3]])
    latent, base, step = torch.full((3, 1), 0.5), torch.ones(3, 2), torch.tensor([9.0, 10.0, 99.0])
    residual = actor.to_residual(latent, base, step)
    assert torch.allclose(residual, torch.tensor([[0.05, 0.0], [0.0, 0.15], [0.0, 0.15]]))
    assert torch.allclose(actor.to_latent(base + residual, base, step), latent, atol=1e-6)
    assert actor.residual(latent[0].numpy(), base[0].numpy(), 10) == pytest.approx([0.0, 0.15])


def test_an_absolute_action_does_not_depend_on_the_base() -> None:
    actor = make_learner(residual='absolute', bound=0.2).actor
    latent, bases = torch.tensor([[0.5, -1.0]]), torch.tensor([[0.3, 0.2], [-0.4, 0.0]])
    executed = bases + actor.to_residual(latent, bases, torch.zeros(2))
    by_hand = actor.action_mean + latent[0] * actor.action_std
    assert torch.allclose(executed, by_hand.expand(2, -1), atol=1e-6)
    assert torch.allclose(actor.to_latent(executed, bases, torch.zeros(2)), latent.expand(2, -1), atol=1e-5)
    state = torch.zeros(2, 1 + actor.config.state_size)
    assert torch.equal(actor.encode(state, bases)[0], actor.encode(state, bases)[1])


def test_hl_gauss_shares_by_hand() -> None:
    shares = hl_gauss(torch.tensor([0.25, 0.0, 1.0]), 2)  # two bins of 0.5, and three on either side
    below = [math.erf((edge - 0.25) * 2 / (0.75 * math.sqrt(2))) for edge in np.arange(-1.5, 2.51, 0.5)]
    by_hand = [(upper - lower) / (below[-1] - below[0]) for lower, upper in itertools.pairwise(below)]
    assert shares[0].tolist() == pytest.approx(by_hand, abs=1e-6)
    # Up to 1.33, 2.67, 4 standard deviations of 0.375 from its centre: halves of 81.8, 17.5 and 0.8 %.
    half = [0.4088, 0.0874, 0.0038]
    assert shares[1].tolist() == pytest.approx([*half[::-1], *half, 0, 0], abs=1e-4)
    assert shares[2].tolist() == pytest.approx(shares[1].tolist()[::-1], abs=1e-6)


def test_a_distribution_gives_back_its_value() -> None:
    critic, targets = EnsembleCritic(2, 1, 1, (4,), bins=51), torch.tensor([0.0, 0.01, 0.1, 0.42, 0.5, 0.9, 0.99, 1.0])
    assert critic.outputs(torch.zeros(8, 2), torch.zeros(8, 1)).shape[1:] == hl_gauss(targets, 51).shape
    assert torch.allclose(critic.values(hl_gauss(targets, 51).log()[None])[0], targets, atol=1e-3)


def test_the_gate_opens_where_the_gain_is_sure() -> None:
    learner = make_learner(q_gate=2.0)
    learner.critic = lambda encoded, latent: torch.tensor([[0.9, 0.5], [0.5, 0.3]])
    inputs = np.zeros(7, np.float32), np.zeros(2, np.float32), np.zeros(2, np.float32)
    assert not learner.gate(*inputs), 'a critic that has learned nothing had its say'
    learner.counters.updates = 1
    assert learner.gate(*inputs)  # gains 0.4 and 0.2: mean 0.3, std 0.141
    learner.config = replace(learner.config, q_gate=2.2)
    assert not learner.gate(*inputs)


def test_the_gate_asks_only_of_what_the_critic_is_told() -> None:
    learner, asked = make_learner(residual='absolute', q_gate=0.0), []
    learner.critic = lambda encoded, latent: asked.append(latent) or torch.zeros(2, 2)
    learner.counters.updates = 1
    learner.gate(np.zeros(7, np.float32), np.full(2, 100, np.float32), np.zeros(2, np.float32))
    assert asked[0][1].tolist() == [learner.config.correction_cut] * 2  # the base's action, far outside


@pytest.mark.parametrize(
    ('q_gate', 'by_hand'), [(0.0, [0.2, 0.35, 0.2, 0.2]), (1.0, [0.2, 0.35, 0.2, 0.2]), (3.0, [0.2] * 4)]
)
def test_behind_a_gate_that_bootstraps_which_would_act(q_gate: float, by_hand: list[float]) -> None:
    learner = make_learner(q_gate=q_gate, mc_share=0.0, target_noise=0.0, clamp_target=False)
    batch = learner.offline.sample(4, learner.rng)
    batch = replace(batch, reward=torch.zeros(4), discount=torch.full((4,), 0.5))
    torch.nn.init.ones_(learner.target_actor.net[-1].bias)  # so that residual and base differ

    def critic(encoded: torch.Tensor, latent: torch.Tensor) -> torch.Tensor:
        """Gains of the residual by each head: -.2 twice, then .3 and .5, 0 twice, and .3 and -.4."""
        if latent.any():
            return torch.tensor([[0.2, 0.7, 0.4, 0.7], [0.2, 0.9, 0.4, 0.0]])
        return torch.full((2, 4), 0.4)

    critic.heads = 2
    target = td_target(learner.config, batch, critic, learner.target_actor, learner.generator)
    assert target.tolist() == pytest.approx(by_hand)


def test_the_target_by_hand_with_smoothing_monte_carlo_share_and_limits() -> None:
    learner = make_learner(target_noise=0.2, target_noise_clip=0.3, mc_share=0.25)
    batch = learner.offline.sample(4, learner.rng)
    batch = replace(
        batch, reward=torch.tensor([0.0, 0.0, 1.0, 0.0]), discount=torch.tensor([0.9, 0.9, 0.0, 0.9]),
        mc_return=torch.tensor([0.4, 0.0, 1.0, 1.0]),
    )  # fmt: skip
    torch.nn.init.constant_(learner.target_actor.net[-1].bias, math.atanh(0.8))

    def critic(encoded: torch.Tensor, latent: torch.Tensor, heads: list[int]) -> torch.Tensor:
        value = torch.tensor([0.5, -2.0, 7.0, 3.0]) + latent.sum(1)
        return torch.stack([value, value + 0.3])[heads]

    critic.heads = 2
    noise = np.clip(0.2 * torch.randn(4, 2, generator=torch.Generator().manual_seed(5)).numpy(), -0.3, 0.3)
    value = np.array([0.5, -2.0, 7.0, 3.0]) + np.clip(0.8 + noise, -1, 1).sum(1)
    bootstrapped = np.array([0, 0, 1, 0]) + np.array([0.9, 0.9, 0, 0.9]) * value
    by_hand = 0.75 * bootstrapped + 0.25 * np.array([0.4, 0, 1, 1])
    assert by_hand[1] < 0 and by_hand[3] > 1
    for clamp in (True, False):
        config = replace(learner.config, clamp_target=clamp)
        target = td_target(config, batch, critic, learner.target_actor, torch.Generator().manual_seed(5))
        assert target.numpy() == pytest.approx(by_hand.clip(0, 1) if clamp else by_hand, abs=1e-5)


def test_the_actors_loss_by_hand_with_its_pull_to_the_lasting_correction_and_to_successes() -> None:
    learner = make_learner()
    actor = learner.actor
    torch.nn.init.constant_(actor.net[-1].bias, math.atanh(0.6))
    batch = learner.offline.sample(2, learner.rng)
    seen = torch.tensor([[0.1, 0.2], [-0.5, 0.9]])
    action = batch.base_action + actor.to_residual(seen, batch.base_action, batch.state[:, 0])
    batch = replace(batch, action=action, success=torch.tensor([1.0, 0.0]))

    def critic(encoded: torch.Tensor, latent: torch.Tensor) -> torch.Tensor:
        return torch.stack([latent.sum(1), 3 * latent.sum(1)])

    config = replace(learner.config, caution=0.0, l2=0.5, imitation=2.0)
    by_hand = -2 * 1.2 + 0.5 * 0.6**2 + 2 * (0.5**2 + 0.4**2) / 4
    assert actor_loss(config, batch, critic, actor).item() == pytest.approx(by_hand, rel=1e-4)


def test_failed_demonstrations_neither_bound_nor_start_the_residual() -> None:
    setup = make_setup(SMALL)
    failed = [
        replace(item.relabelled(False), executed_action=item.executed_action + 1) for item in setup.demonstrations[-4:]
    ]
    config = replace(SMALL, warm_start=20)
    actors = []
    for demonstrations in (setup.demonstrations[:-4], [*setup.demonstrations[:-4], *failed]):
        torch.manual_seed(0)
        actors.append(make_actor(config, setup.task, demonstrations).state_dict())
    assert all(torch.equal(actors[0][name], actors[1][name]) for name in actors[0])


def test_an_untrained_residual_at_full_authority_is_the_base_to_the_bit() -> None:
    method = ResFiT(make_setup(SMALL))
    one, two = (run_episode(method._env, method.runtime, seed=1, arm=arm) for arm in (Arm.RESIDUAL, Arm.BASE))
    assert (one.authority == 1).all() and one.executed_action.tobytes() == two.executed_action.tobytes()
    torch.nn.init.constant_(method.learner.acting.net[-1].bias, 1e-3)
    method._swap()
    assert run_episode(method._env, method.runtime, seed=1, arm=Arm.RESIDUAL).executed_action.tobytes() != (
        two.executed_action.tobytes()
    )


def test_the_runtime_leaves_the_base_alone_behind_a_closed_gate() -> None:
    method = ResFiT(make_setup(replace(SMALL, q_gate=0.0)))
    torch.nn.init.ones_(method.learner.acting.net[-1].bias)
    method._swap()
    played = {}
    for name, is_open in (('open', True), ('closed', False)):
        method.runtime.gate = lambda state, base, latent, is_open=is_open: is_open
        played[name] = run_episode(method._env, method.runtime, seed=1, arm=Arm.RESIDUAL)
    base = run_episode(method._env, method.runtime, seed=1, arm=Arm.BASE)
    assert played['closed'].executed_action.tobytes() == base.executed_action.tobytes()
    assert played['open'].executed_action.tobytes() != base.executed_action.tobytes()


def test_warm_up_burst_ramp_and_noise_follow_the_online_steps() -> None:
    learner = make_learner(
        warmup_noise=0.8, critic_burst=30, utd=2.0, ramp_steps=400, explore_std=0.4, explore_std_end=0.2,
        explore_episodes=40, explore_hold=3,
    )  # fmt: skip
    learner.online.add(1, build_one())
    learner.counters.env_steps = 99
    assert learner.exploration == Exploration(std=0.8, hold=3, uniform=True) and learner.owed == 0
    learner.counters.env_steps = 110
    assert learner.owed == 30 + 2 * 10
    learner.counters.env_steps, learner.counters.episodes = 200, 20
    assert learner.exploration.std == pytest.approx(0.3) and learner.exploration.limit == 0.5
    learner.counters.env_steps, learner.counters.episodes = 4000, 400
    assert learner.exploration.std == pytest.approx(0.2) and learner.exploration.limit == 1.0


def build_one() -> Transitions:
    return build_transitions(make_setup(SMALL).demonstrations[0], 0.9, 3)


def test_the_papers_recipe_is_the_papers() -> None:
    paper = asdict(RECIPES['paper'])
    published = {
        'gamma': 0.99, 'n_step': 3, 'batch': 256, 'offline_fraction': 0.5, 'utd': 4.0, 'capacity': 200_000,
        'min_steps': 10_000, 'critic_burst': 10_000, 'critic_warmup': 10_000, 'heads': 10, 'subset': 2,
        'critic_loss': 'mse', 'critic_hidden': (1024, 1024), 'critic_lr': 1e-4, 'layer_norm': True, 'tau': 0.005,
        'weight_decay': 0.01, 'grad_clip': 1.0, 'actor_hidden': (1024, 1024), 'actor_lr': 1e-6, 'actor_delay': 4,
        'residual': 'joints', 'bound': 0.2, 'state_floor': 0.1, 'zero_init': True, 'explore_hold': 1,
        'encoder': 'vit', 'image_shift': 4,
    }  # fmt: skip
    assert {key: paper[key] for key in published} == published
    added = {
        'mc_share': 0.0, 'clamp_target': False, 'state_noise': 0.0, 'averaging': 1.0, 'caution': 0.0, 'l2': 0.0,
        'imitation': 0.0, 'offset_rate': 0.0, 'warm_start': 0, 'phase_directions': False, 'ramp_steps': 0,
        'q_gate': None, 'trust_episodes': 0,
    }  # fmt: skip
    assert {key: paper[key] for key in added} == added  # what is ours is off
    in_range = {key: paper[key] * paper['bound'] for key in paper if 'noise' in key or key.startswith('explore_std')}
    assert in_range == pytest.approx({  # published in units of the widened range
        'state_noise': 0, 'target_noise': 0.05, 'target_noise_clip': 0.3, 'explore_std': 0.05, 'explore_std_end': 0.05,
        'warmup_noise': 0.2,
    })  # fmt: skip


def make_ppo() -> PPO:
    return PPO(make_setup(SMALL), PpoConfig(gamma=0.5, gae_lambda=0.5, std=0.2, hidden=(8,)))


@pytest.mark.parametrize(('ending', 'bootstrap'), [('success', 0.0), ('time-out', 0.4)])
def test_advantages_by_hand(ending: str, bootstrap: float) -> None:
    ppo = make_ppo()
    seeds = range(100)
    played = (run_episode(ppo._env, ppo.runtime, seed=seed, arm=Arm.BASE) for seed in seeds)
    episode = next(item for item in played if item.success == (ending == 'success'))
    ppo._value = lambda encoded: torch.full((len(encoded),), 0.4)
    advantage, returns = ppo._advantage(episode)
    last = float(episode.success) + 0.5 * bootstrap - 0.4
    before = 0.5 * 0.4 - 0.4
    assert advantage[-3:] == pytest.approx([before + 0.25 * (before + 0.25 * last), before + 0.25 * last, last])
    assert returns == pytest.approx(advantage + 0.4)


def test_what_was_cut_at_the_bound_has_the_probability_of_all_beyond() -> None:
    ppo = make_ppo()
    ppo.actor.net[-1].bias.data.copy_(torch.atanh(torch.tensor([0.9, 0.1])))
    got = ppo._log_prob(torch.zeros(1, ppo.actor.config.input_size), torch.tensor([[1.0, 0.2]])).item()
    beyond = 0.5 * math.erfc(0.5 / math.sqrt(2))  # half a standard deviation from mean to bound
    density = math.exp(-0.5 * 0.5**2) / (0.2 * math.sqrt(2 * math.pi))
    assert got == pytest.approx(math.log(beyond) + math.log(density), abs=1e-4)
