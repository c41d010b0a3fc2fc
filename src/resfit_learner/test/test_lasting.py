"""Lasting corrections: from what an episode did in each phase to what the actor does in it."""

from dataclasses import replace

import numpy as np
import torch
from test_learner import SMALL, make_episode, make_learner


def test_lasting_corrections_move_to_what_succeeded_in_each_phase():
    """Plus in one direction of the first phase, minus in another of the second; nothing speaks for the rest."""
    learner = make_learner(replace(SMALL, offset_rate=0.3, phase_steps=6, state_noise=0.0))
    random, actor = np.random.default_rng(0), learner.actor
    for number in range(200):
        episode, z = make_episode(number), random.normal(0, 0.25, (2, 4)).clip(-1, 1).astype(np.float32)
        base, steps = torch.from_numpy(episode.base_action), torch.arange(12)
        executed = base + actor.to_residual(torch.from_numpy(z.repeat(6, 0)), base, steps)
        success = bool(random.random() < 0.5 + z[0, 0] - z[1, 1])
        learner.ingest(number + 1, replace(episode, success=success, executed_action=executed.numpy()))
    states = torch.from_numpy(np.stack([episode.seen[0], episode.seen[6]])), base[[0, 6]]
    for part in (learner.actor, learner.target_actor, learner.acting):
        with torch.no_grad():
            found = part(*states).numpy()
        assert found[0, 0] > 0.4 and found[1, 1] < -0.4
        found[0, 0] = found[1, 1] = 0
        assert np.abs(found).max() < 0.4


def test_the_last_phase_is_judged_by_its_first_steps_however_long_it_lasts():
    learner = make_learner(replace(SMALL, offset_rate=0.3, phase_steps=5, phase_directions=True))
    assert learner.actor.config.phases == 2  # demonstrations of 12 steps
    short, long = make_episode(3, length=10), make_episode(3, length=30)
    same = {name: np.concatenate([getattr(short, name), getattr(long, name)[10:]]) for name in ('base_action', 'state')}
    executed = np.concatenate([short.executed_action, same['base_action'][10:]])  # later on it corrects nothing
    learner.ingest(1, replace(short, success=False))
    learner.ingest(2, replace(long, episode_id=4, executed_action=executed, **same))
    first, second = (learner.phase_critic.episodes[number].correction for number in (3, 4))
    assert first.shape == (2, learner.actor.config.latent_size) and np.abs(first[1]).max() > 0.01
    np.testing.assert_allclose(first, second, atol=1e-5)
