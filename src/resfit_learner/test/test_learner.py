"""The learner: equations by hand, UTD, resume, seeds."""

import json
import os
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from resfit_learner.bc import BcConfig, train_base
from resfit_learner.buffer import ReplayBuffer
from resfit_learner.checkpoint import latest_checkpoint, load_checkpoint, read_actor, save_checkpoint
from resfit_learner.config import LearnerConfig, load_config
from resfit_learner.learner import Learner
from resfit_learner.losses import actor_loss, critic_loss, td_target
from resfit_learner.networks import EnsembleCritic, polyak
from resfit_learner.transitions import build_transitions
from resfit_policy.actor import unpack_actor
from resfit_policy.episode_log import Arm, Episode, Flag, Phase
from resfit_policy.task import ConfigError, load_task

TASK = load_task('woolly_ball')
HOME = (TASK.robot.lower + TASK.robot.upper) / 2
SMALL = LearnerConfig(
    batch=16, heads=4, critic_hidden=(16,), actor_hidden=(16,), min_steps=10, critic_warmup=4, actor_delay=2,
    actor_lr=1e-3, capacity=500, directions=4, imitation=0.1,
)  # fmt: skip


def make_episode(number, success=True, length=12):
    rng = np.random.default_rng(number)
    rows = length + (not success)
    motion = (HOME + np.cumsum(rng.normal(0, 0.02, (rows, 29)), 0)).astype(np.float32)
    return Episode(
        episode_id=number, task=TASK.name, seed=number, arm=Arm.RESIDUAL,
        outcome=Phase.SUCCESS if success else Phase.TIMEOUT, success=success, final=not success,
        state=np.concatenate([motion, rng.normal(0, 1, (rows, 6))], 1).astype(np.float32),
        images=np.zeros((rows, 0, 0, 0, 3), np.uint8), base_action=motion,
        residual=np.zeros_like(motion), executed_action=motion + rng.normal(0, 0.01, motion.shape).astype(np.float32),
        authority=np.ones(rows, np.float32), weights_version=np.ones(rows, np.int64),
        flags=np.zeros(rows, np.uint8), stamp=np.arange(rows), joints=TASK.robot.names,
    )  # fmt: skip


DEMOS = [make_episode(number) for number in range(100, 104)]


def make_learner(config=SMALL, seed=0):
    return Learner(config, TASK, DEMOS, seed)


def run(learner, episodes):
    for number in episodes:
        learner.ingest(number, make_episode(number, success=number % 3 == 0))
        for _ in range(learner.owed):
            learner.update()


def parameters(learner):
    return np.concatenate([value.numpy().ravel() for value in learner.critic.state_dict().values()] + [
        value.numpy().ravel() for value in learner.actor.state_dict().values()])  # fmt: skip


def test_the_target_is_the_minimum_over_a_random_subset_of_heads():
    learner = make_learner(replace(SMALL, target_noise=0.0, clamp_target=False, mc_share=0.0))
    batch = learner.offline.sample(8, learner.rng)
    actor, critic = learner.target_actor, learner.target_critic
    with torch.no_grad():
        values = critic(
            actor.encode(batch.next_state, batch.next_base_action), actor(batch.next_state, batch.next_base_action)
        )
    seen = set()
    for seed in range(40):
        got = td_target(learner.config, batch, critic, actor, torch.Generator().manual_seed(seed))
        pairs = [
            (i, j)
            for i in range(4)
            for j in range(i)
            if torch.allclose(got, batch.reward + batch.discount * torch.minimum(values[i], values[j]))
        ]
        assert pairs
        seen.update(pairs)
    assert len(seen) == 6  # every pair of four heads comes up


def test_the_critic_loss_is_the_mean_of_squares_of_each_head():
    learner = make_learner()
    batch = learner.offline.sample(8, learner.rng)
    target = torch.linspace(0, 1, 8)
    loss, _ = critic_loss(SMALL, batch, target, learner.critic, learner.actor)
    latent = learner.actor.to_latent(batch.action, batch.base_action, batch.state[:, 0]).clamp(-1, 1)
    values = learner.critic(learner.actor.encode(batch.state, batch.base_action), latent)
    by_hand = sum(((values[head] - target) ** 2).mean() for head in range(4)) / 4
    assert loss.item() == pytest.approx(by_hand.item(), rel=1e-5)


def test_a_descent_on_the_actor_loss_raises_q():
    learner = make_learner(replace(SMALL, imitation=0.0))
    batch = learner.offline.sample(16, learner.rng)

    def loss():
        return actor_loss(learner.config, batch, learner.critic, learner.actor)

    before = loss().item()
    for _ in range(20):
        learner._descend(learner.actor_optimiser, loss())
    assert loss().item() < before


def test_caution_counts_the_gain_less_what_the_heads_disagree_on():
    learner = make_learner()
    batch = learner.offline.sample(8, np.random.default_rng(0))
    torch.nn.init.normal_(learner.actor.net[-1].weight)
    plain, cautious = (
        actor_loss(replace(SMALL, l2=0.0, imitation=0.0, caution=caution), batch, learner.critic, learner.actor)
        for caution in (0.0, 2.0)
    )
    encoded = learner.actor.encode(batch.state, batch.base_action)
    gain = learner.critic(encoded, learner.actor.correct(encoded)) - learner.critic(encoded, torch.zeros(8, 4))
    disagreement = np.std(gain.detach().numpy(), axis=0, ddof=1).mean()
    assert (cautious - plain).item() == pytest.approx(2 * disagreement, rel=1e-4)


def test_polyak_moves_by_tau():
    critic = EnsembleCritic(3, 2, 2, (4,))
    target = EnsembleCritic(3, 2, 2, (4,))
    old = [value.clone() for value in target.parameters()]
    polyak(target, critic, 0.25)
    for was, now, source in zip(old, target.parameters(), critic.parameters(), strict=True):
        assert torch.allclose(now, 0.75 * was + 0.25 * source)


def test_the_update_to_data_ratio_holds():
    learner = make_learner(replace(SMALL, utd=2.5))
    run(learner, range(1, 8))
    assert learner.counters.updates == round((learner.counters.env_steps - SMALL.min_steps) * 2.5)


@pytest.mark.parametrize('warm_start', [0, 20])
def test_a_resumed_run_equals_an_uninterrupted_one(tmp_path, warm_start):
    config = replace(SMALL, warm_start=warm_start, trust_episodes=10)
    whole = make_learner(config)
    run(whole, range(1, 9))
    first = make_learner(config)
    run(first, range(1, 5))
    save_checkpoint(first, tmp_path)
    # Another seed: everything must come from the checkpoint, what the warm start had learned, too.
    shape = read_actor(latest_checkpoint(tmp_path))[0].config
    second = Learner(config, TASK, DEMOS, 99, lambda step: pytest.fail('it warms up again'), shape)
    load_checkpoint(second, latest_checkpoint(tmp_path))
    (_, *told), (_, *before) = (unpack_actor(item.weights(new_version=False)) for item in (second, first))
    assert told == before
    for number in range(1, 5):  # again from the replay log
        assert second.reading_again and second.exploration == first.exploration
        second.ingest(number, make_episode(number, success=number % 3 == 0))
    assert second.owed == 0 and not second.reading_again and second.exploration == first.exploration
    run(second, range(5, 9))
    assert parameters(second).tobytes() == parameters(whole).tobytes()
    assert second.exploration == whole.exploration and whole.exploration.base_share > 0


def test_resumed_it_corrects_in_as_many_directions_as_before(tmp_path):
    def exact_but_for_three_joints(episode):
        executed = episode.base_action.copy()
        executed[:, :3] = episode.executed_action[:, :3]
        return replace(episode, executed_action=executed)

    demonstrations = [exact_but_for_three_joints(episode) for episode in DEMOS]
    config = replace(SMALL, warm_start=100, directions=8, phase_directions=True, phase_steps=6)
    first = Learner(config, TASK, demonstrations)
    assert first.actor.config.latent_size < 8  # an untrained warm start errs in all
    folder = save_checkpoint(first, tmp_path)
    shape = read_actor(folder)[0].config
    second = Learner(config, TASK, demonstrations, resumed=shape)
    load_checkpoint(second, folder)
    assert parameters(second).tobytes() == parameters(first).tobytes()
    for directions in (2, 20):
        other = Learner(replace(config, directions=directions), TASK, demonstrations, resumed=shape)
        with pytest.raises(ConfigError, match='changed settings: directions'):
            load_checkpoint(other, folder)


def test_the_same_seed_gives_the_same_run():
    runs = []
    for _ in range(2):
        learner = make_learner(seed=5)
        run(learner, range(1, 6))
        runs.append(parameters(learner).tobytes())
    assert runs[0] == runs[1]


def test_the_same_seed_gives_the_same_base():
    bases = [train_base(BcConfig(steps=20, hidden=(16,)), TASK, DEMOS, seed) for seed in (3, 3, 4)]
    bytes_of = [b''.join(value.detach().numpy().tobytes() for value in base.parameters()) for base in bases]
    assert bytes_of[0] == bytes_of[1] != bytes_of[2]


def test_a_checkpoint_of_another_architecture_is_refused_by_name(tmp_path):
    learner = make_learner()
    save_checkpoint(learner, tmp_path)
    other = make_learner(replace(SMALL, critic_hidden=(32,)))
    with pytest.raises(ConfigError, match='another architecture.*critic_hidden'):
        load_checkpoint(other, latest_checkpoint(tmp_path))


@pytest.mark.parametrize(('before', 'now'), [(0, 20), (20, 0)])
def test_a_checkpoint_with_or_without_a_warm_start_is_refused_where_the_settings_say_otherwise(tmp_path, before, now):
    folder = save_checkpoint(make_learner(replace(SMALL, warm_start=before)), tmp_path)
    with pytest.raises(ConfigError, match='another architecture.*warm_start'):
        load_checkpoint(make_learner(replace(SMALL, warm_start=now)), folder)


def test_a_damaged_checkpoint_is_refused(tmp_path):
    learner = make_learner()
    folder = save_checkpoint(learner, tmp_path)
    (folder / 'learner.safetensors').write_bytes(b'half')
    with pytest.raises(ConfigError, match='sha256'):
        load_checkpoint(make_learner(), folder)


def test_without_its_newest_checkpoint_a_run_goes_on_from_the_one_before(tmp_path):
    learner = make_learner()
    assert latest_checkpoint(tmp_path) is None
    older = save_checkpoint(learner, tmp_path)
    learner.counters.updates += 10
    newest = save_checkpoint(learner, tmp_path)
    assert latest_checkpoint(tmp_path) == newest
    shutil.rmtree(newest)
    (tmp_path / '.000000020.partial').mkdir()
    assert os.readlink(tmp_path / 'latest') == newest.name and latest_checkpoint(tmp_path) == older


def test_a_corrected_label_replaces_the_episode():
    learner = make_learner()
    wrong = make_episode(1, success=False)
    learner.ingest(1, wrong)
    learner.ingest(2, wrong.relabelled(True))
    assert learner.counters.env_steps == wrong.length
    batch = learner.online.sample(200, np.random.default_rng(0))
    assert batch.success.all() and batch.reward.max() == 1


def test_an_aborted_episode_counts_as_nothing_but_as_read():
    learner = make_learner(replace(SMALL, trust_episodes=10, offset_rate=0.3))
    learner.ingest(1, make_episode(1, success=False))
    counted, known = replace(learner.counters), learner.exploration
    learner.ingest(2, replace(make_episode(2, success=False), outcome=Phase.ABORTED))
    assert learner.counters == replace(counted, sequence=2) and learner.exploration == known
    assert len(learner.online) == counted.env_steps and list(learner.phase_critic.episodes) == [1]


def test_a_checkpoint_that_counts_more_steps_than_the_log_has_is_gone_on_from(tmp_path):
    first = make_learner()
    run(first, range(1, 4))
    first.counters.env_steps += 7  # as before, when those of aborted episodes counted
    folder, second = save_checkpoint(first, tmp_path), make_learner()
    load_checkpoint(second, folder)
    for number in range(1, 4):
        assert second.reading_again
        second.ingest(number, make_episode(number, success=number % 3 == 0))
    assert not second.reading_again


def test_the_oldest_episodes_make_room():
    buffer = ReplayBuffer(TASK.state_size, 29, capacity=30)
    for number in range(6):
        buffer.add(number, build_transitions(make_episode(number), 0.9, 3))
    assert len(buffer) == 24
    newest = make_episode(5).seen
    sampled = buffer.sample(500, np.random.default_rng(0)).state.numpy()
    assert {row.tobytes() for row in newest} <= {row.tobytes() for row in sampled}
    assert not {row.tobytes() for row in make_episode(0).seen} & {row.tobytes() for row in sampled}


def test_a_ring_put_back_from_a_file_samples_the_same_and_goes_on_the_same():
    one, two = (ReplayBuffer(TASK.state_size, 29, capacity=30) for _ in range(2))
    for number in range(4):  # two and a half fit: the ring has gone round
        one.add(number, build_transitions(make_episode(number), 0.9, 3))
    two.restore({name: value.clone() for name, value in one.tensors().items()}, json.loads(json.dumps(one.about())))
    for number in (4, 5):
        batches = [vars(buffer.sample(50, np.random.default_rng(1))).values() for buffer in (one, two)]
        assert all(torch.equal(first, second) for first, second in zip(*batches, strict=True))
        for buffer in (one, two):
            buffer.add(number, build_transitions(make_episode(number), 0.9, 3))


def test_weights_carry_a_rising_version():
    learner = make_learner()
    assert [unpack_actor(learner.weights())[2] for _ in range(3)] == [1, 2, 3]


def test_demonstrations_without_a_success_are_refused():
    with pytest.raises(ConfigError, match='none of the demonstrations'):
        Learner(SMALL, TASK, [make_episode(1, success=False)])


def test_settings_are_checked():
    with pytest.raises(ConfigError, match='unknown key "gama"'):
        load_config(gama=0.9)
    with pytest.raises(ConfigError, match='subset'):
        load_config(heads=3, subset=4)
    with pytest.raises(ConfigError, match='no recipe'):
        load_config('fast')


def test_a_file_of_settings_goes_over_its_recipe(tmp_path):
    file = tmp_path / 'learner.yaml'
    file.write_text('subset: 8\ncritic_hidden: [32]')  # of 5 heads in other recipes
    assert load_config('paper', file) == replace(load_config('paper'), subset=8, critic_hidden=(32,))
    assert load_config('resfit_ros', file, heads=9).subset == 8
    with pytest.raises(ConfigError, match=r'learner\.yaml.*subset'):
        load_config('resfit_ros', file)
    for text, said in (('[1]', 'a mapping'), ('gama: 1', 'unknown key "gama"'), ('heads: many', 'heads: ')):
        file.write_text(text)
        with pytest.raises(ConfigError, match=rf'learner\.yaml: .*{said}'):
            load_config('paper', file)
    file.write_text('')
    assert load_config('paper', file) == load_config('paper')


def test_an_episode_in_which_a_person_helped_is_data_and_no_merit_of_the_correction():
    learner, alone, helped = make_learner(replace(SMALL, offset_rate=0.3)), make_episode(3), make_episode(4)
    flags = helped.flags.copy()
    flags[2] |= Flag.INTERVENTION
    helped = replace(helped, flags=flags)
    assert helped.helped and not alone.helped
    learner.ingest(1, helped)
    assert len(learner.online) and not learner.phase_critic.episodes
    learner.ingest(2, alone)
    assert list(learner.phase_critic.episodes) == [3]


def alone(episode):
    """The same, had the base acted alone."""
    executed, authority = episode.base_action, np.zeros_like(episode.authority)
    return replace(episode, executed_action=executed, authority=authority)


@pytest.mark.parametrize('warm_start', [0, 20])
def test_where_the_residual_fails_the_base_is_to_act_alone(warm_start):
    learner = make_learner(replace(SMALL, trust_episodes=10, warm_start=warm_start))
    for number in range(1, 6):
        learner.ingest(number, make_episode(number, success=False))
    before = len(learner.online)
    for number in range(6, 9):
        learner.ingest(number, alone(make_episode(number)))
    _, exploration, _ = unpack_actor(learner.weights())
    assert exploration.base_share > 0.9
    # Without the warm start under it, an episode shows no correction that could be learned from.
    assert (len(learner.online) == before) == bool(warm_start)
    assert learner.counters.env_steps == before + 3 * 12
    for number in range(6, 9):  # an operator corrects these labels
        learner.ingest(number, alone(make_episode(number)).relabelled(False))
    assert learner.exploration.base_share < 0.5
    never = make_learner(SMALL)
    never.ingest(1, make_episode(1, success=False))
    assert never.exploration.base_share == 0.0


def test_what_acts_is_the_running_mean_of_the_actor():
    learner = make_learner(replace(SMALL, averaging=0.25, actor_delay=1, critic_warmup=0, offline_fraction=1.0))
    mean = learner.actor.net[0].weight.detach().clone()
    for update in range(1, 7):
        learner.update()
        share = max(0.25, 1 / update)  # at first the plain mean of all, so that the start does not linger
        mean = (1 - share) * mean + share * learner.actor.net[0].weight.detach()
        torch.testing.assert_close(learner.acting.net[0].weight.detach(), mean)
    assert not torch.equal(mean, learner.actor.net[0].weight)
