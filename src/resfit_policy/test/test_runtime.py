"""One control step: base, residual, supervision."""

import numpy as np
import pytest
import torch

from resfit_policy.actor import ActorConfig, Exploration, ResidualActor, pack_actor, unpack_actor
from resfit_policy.base_policy import ChunkConfig, ChunkNet, ChunkPolicy, load_base, save_base
from resfit_policy.episode_log import Arm, Flag
from resfit_policy.observation import Observation
from resfit_policy.runtime import PolicyRuntime
from resfit_policy.supervisor import Supervisor
from resfit_policy.task import ConfigError, load_task

TASK = load_task('woolly_ball')
HOME = ((TASK.robot.lower + TASK.robot.upper) / 2).astype(np.float32)


class Counting:
    """A base whose n-th action since its reset moves every joint n milliradians from home."""

    def reset(self):
        self.count = 0

    def act(self, observation):
        self.count += 1
        return HOME + np.float32(0.001 * self.count)


def observation():
    return Observation(np.concatenate([HOME, np.zeros(6, np.float32)]))


def first_seen():
    return np.append(np.float32(0), observation().state)


def trained_actor(seed=0):
    torch.manual_seed(seed)
    actor = ResidualActor(ActorConfig(TASK.state_size, TASK.action_size, 8, (32,)))
    torch.nn.init.normal_(actor.net[-1].weight)
    return actor.eval()


def test_a_fresh_actor_corrects_nothing():
    actor = ResidualActor(ActorConfig(TASK.state_size, TASK.action_size, 29)).eval()
    assert not actor.residual(actor.act(first_seen(), HOME), HOME, 0).any()


def test_authority_zero_is_the_base_policy_to_the_bit():
    runtime = PolicyRuntime(TASK, Counting())
    runtime.set_weights(trained_actor(), Exploration(std=0.5), 1)
    runtime.authority = 0.0
    runtime.begin(Arm.RESIDUAL, explore=True)
    for _ in range(5):
        record = runtime.step(observation())
        assert record.executed_action.tobytes() == record.base_action.tobytes()
    runtime.authority = 1.0
    runtime.begin(Arm.RESIDUAL, explore=False)
    record = runtime.step(observation())
    assert not np.array_equal(record.executed_action, record.base_action)


def test_the_base_acts_alone_in_its_share_of_the_episodes():
    def alone(share, explore, episode_id=0):
        runtime = PolicyRuntime(TASK, Counting())
        runtime.set_weights(trained_actor(), Exploration(std=0.1, base_share=share), 1)
        runtime.begin(Arm.RESIDUAL, explore, episode_id)
        record = runtime.step(observation())
        assert (record.authority == 0.0) == (record.executed_action.tobytes() == record.base_action.tobytes())
        return record.authority == 0.0

    assert np.mean([alone(0.3, True, episode_id) for episode_id in range(300)]) == pytest.approx(0.3, abs=0.08)
    assert [alone(share, True) for share in (0.0, 1.0)] == [False, True]
    assert [alone(share, False) for share in (0.0, 0.4, 0.6)] == [False, False, True], (
        'the better one, unless exploring'
    )


def test_the_base_arm_never_gets_a_residual():
    runtime = PolicyRuntime(TASK, Counting())
    runtime.set_weights(trained_actor(), Exploration(), 1)
    runtime.begin(Arm.BASE, explore=False)
    record = runtime.step(observation())
    assert record.executed_action.tobytes() == record.base_action.tobytes()
    assert record.authority == 0.0


def test_the_chunk_queue_starts_empty_however_the_last_episode_ended():
    net = ChunkNet(ChunkConfig(TASK.state_size, TASK.action_size, 20, 10, (16,)))
    runtime = PolicyRuntime(TASK, ChunkPolicy(net))
    runtime.begin(Arm.BASE, explore=False)
    first = runtime.step(observation()).base_action
    runtime.step(observation())  # leaves eight actions in the queue
    runtime.begin(Arm.BASE, explore=False)
    assert runtime.step(observation()).base_action.tobytes() == first.tobytes()


def test_the_last_observation_executes_nothing():
    runtime = PolicyRuntime(TASK, Counting())
    runtime.begin(Arm.RESIDUAL, explore=False)
    runtime.step(observation())
    record = runtime.step(observation(), final=True)
    assert record.flags == Flag.FINAL
    assert record.step == 1


@pytest.mark.parametrize('how', [{'final': True}, {'teleop': HOME}, {}])
def test_a_base_action_that_is_none_is_refused_also_where_it_is_only_logged(how):
    base = Counting()
    runtime = PolicyRuntime(TASK, base)
    runtime.begin(Arm.BASE, explore=False)
    for count in (np.nan, np.zeros((2, 29), np.float32)):
        base.count = count
        with pytest.raises(ValueError, match='the base action'):
            runtime.step(observation(), **how)


def test_after_a_gap_of_refused_actions_it_goes_on_from_where_the_robot_is():
    class Broken(Counting):
        def act(self, observation):
            return np.full_like(HOME, np.nan) if self.broken else HOME + np.float32(0.2)

    base = Broken()
    runtime, period = PolicyRuntime(TASK, base), TASK.period_ns
    runtime.begin(Arm.BASE, explore=False)
    base.broken = False
    for k in range(20):
        ahead = runtime.step(observation(), stamp=k * period).executed_action
    assert np.abs(ahead - HOME).max() > 0.15
    base.broken = True
    for k in range(20, 40):  # meanwhile the streamer goes back to, and holds, the measured pose
        with pytest.raises(ValueError, match='not finite'):
            runtime.step(observation(), stamp=k * period)
    base.broken = False
    first = runtime.step(observation(), stamp=40 * period).executed_action
    assert np.abs(first - HOME).max() <= runtime.supervisor.max_change.max() + 1e-6


def test_after_a_takeover_without_a_step_the_base_plans_anew_and_the_residual_ramps_in():
    supervisor = Supervisor(TASK, ramp_steps=10)
    base = Counting()
    runtime = PolicyRuntime(TASK, base, supervisor=supervisor)
    runtime.set_weights(trained_actor(), Exploration(), 1)
    runtime.begin(Arm.RESIDUAL, explore=False)
    assert runtime.step(observation()).authority == 1.0
    runtime.replan()
    assert runtime.step(observation(), stamp=TASK.period_ns).authority == pytest.approx(0.1)
    assert base.count == 1
    assert runtime.step(observation(), stamp=2 * TASK.period_ns).authority == pytest.approx(0.2)
    assert base.count == 2


def test_noise_does_not_outlive_its_episode():
    def after_takeover(before):
        runtime = PolicyRuntime(TASK, Counting(), seed=3)
        runtime.set_weights(trained_actor(), Exploration(std=0.5, hold=40), 1)
        for _ in range(before):
            runtime.begin(Arm.RESIDUAL, explore=True, episode_id=1)
            runtime.step(observation())
        runtime.begin(Arm.RESIDUAL, explore=True, episode_id=2)
        runtime.step(observation(), teleop=HOME)
        return runtime.step(observation(), stamp=TASK.period_ns).residual

    assert np.array_equal(after_takeover(0), after_takeover(1))


def test_exploration_is_held_and_repeats_with_the_episode():
    def residuals(episode_id):
        runtime = PolicyRuntime(TASK, Counting(), seed=3)
        actor = ResidualActor(ActorConfig(TASK.state_size, TASK.action_size, 8)).eval()
        runtime.set_weights(actor, Exploration(std=0.3, hold=4), 1)
        runtime.begin(Arm.RESIDUAL, explore=True, episode_id=episode_id)
        return np.stack([runtime.step(observation()).residual for _ in range(8)])

    noise = residuals(1)
    assert np.array_equal(noise[0], noise[3])
    assert not np.array_equal(noise[3], noise[4])
    assert np.array_equal(noise, residuals(1))
    assert not np.array_equal(noise, residuals(2))


def test_speed_and_position_limits_hold_for_base_and_residual():
    supervisor = Supervisor(TASK)
    rng = np.random.default_rng(0)
    supervisor.reset(HOME)
    last = HOME
    for _ in range(200):
        wanted = rng.normal(0, 5, 29).astype(np.float32)
        outcome = supervisor.apply(wanted, rng.normal(0, 5, 29).astype(np.float32), 1.0)
        executed = outcome.executed
        assert outcome.clipped
        assert np.all(executed >= supervisor.lower) and np.all(executed <= supervisor.upper)
        assert np.all(np.abs(executed - last) <= supervisor.max_step + 1e-6)
        last = executed


@pytest.mark.parametrize('bad', [np.nan, np.inf])
def test_what_is_not_finite_is_refused(bad):
    supervisor = Supervisor(TASK)
    supervisor.reset(HOME)
    action = HOME.copy()
    action[3] = bad
    with pytest.raises(ValueError, match='not finite'):
        supervisor.apply(action, np.zeros(29, np.float32), 1.0)


def test_weights_survive_the_wire_to_the_bit():
    actor = trained_actor()
    again, exploration, version = unpack_actor(pack_actor(actor, Exploration(std=0.2), 7))
    state, base = first_seen(), HOME
    assert again.act(state, base).tobytes() == actor.act(state, base).tobytes()
    assert (exploration.std, version) == (0.2, 7)


def test_bad_weights_are_refused():
    data = pack_actor(trained_actor(), Exploration(), 1)
    with pytest.raises(ConfigError, match='whole safetensors'):
        unpack_actor(data[: len(data) // 2])
    with pytest.raises(ConfigError, match='whole safetensors'):
        unpack_actor(b'')
    actor = trained_actor()
    with torch.no_grad():
        actor.net[0].weight[0, 0] = float('nan')
    with pytest.raises(ConfigError, match='not finite'):
        unpack_actor(pack_actor(actor, Exploration(), 1))
    runtime = PolicyRuntime(TASK, Counting())
    other = ResidualActor(ActorConfig(12, 4, 4))
    with pytest.raises(ConfigError, match='trained for a state of 12'):
        runtime.set_weights(other, Exploration(), 1)


def test_a_frozen_base_comes_back_the_same_and_refuses_another_task(tmp_path):
    net = ChunkNet(ChunkConfig(TASK.state_size, TASK.action_size, 20, 10, (16,)))
    save_base(tmp_path / 'base', net, TASK, {})
    base = load_base(str(tmp_path / 'base'), TASK)
    base.reset()
    policy = ChunkPolicy(net)
    assert base.act(observation()).tobytes() == policy.act(observation()).tobytes()
    with pytest.raises(ConfigError, match='state of 35'):
        load_base(str(tmp_path / 'base'), load_task('package_handover'))
    (tmp_path / 'base' / 'policy.safetensors').write_bytes(b'half a file')
    with pytest.raises(ConfigError, match='sha256'):
        load_base(str(tmp_path / 'base'), TASK)
    with pytest.raises(ConfigError, match='no base policy'):
        load_base(str(tmp_path / 'nothing'), TASK)


def test_each_phase_has_its_own_offset():
    actor = ResidualActor(ActorConfig(TASK.state_size, TASK.action_size, 2, (8,), phases=3, phase_steps=2)).eval()
    actor.offset.copy_(torch.tensor([[0.1, 0.0], [0.2, 0.0], [0.3, 0.0]]))
    seen = first_seen()
    for step, offset in enumerate((0.1, 0.1, 0.2, 0.2, 0.3, 0.3, 0.3, 0.3)):
        seen[0] = step
        assert actor.act(seen, HOME) == pytest.approx([np.tanh(offset), 0.0])
    runtime = PolicyRuntime(TASK, Counting())
    runtime.set_weights(actor, Exploration(), 1)
    for _ in range(2):  # the step is that of the episode, however many came before
        runtime.begin(Arm.RESIDUAL, explore=False)
        residuals = [runtime.step(observation()).residual[0] for _ in range(6)]
        assert residuals == pytest.approx([0.05 * np.tanh(value) for value in (0.1, 0.1, 0.2, 0.2, 0.3, 0.3)])
