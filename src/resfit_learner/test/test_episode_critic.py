import numpy as np
import pytest

from resfit_learner.episode_critic import REACH, EpisodeCritic


def filled(count: int, best: np.ndarray, seed: int = 0) -> EpisodeCritic:
    random, critic = np.random.default_rng(seed), EpisodeCritic(len(best), 1.0)
    for index in range(count):
        z = random.normal(0, 0.25, len(best))
        chance = 1 - np.square(z - best).sum()
        critic.add(index, bool(random.random() < chance), z.astype(np.float32))
    return critic


def test_finds_the_correction_that_pays() -> None:
    best = np.array([0.4, -0.3, 0.0, 0.0])
    errors = [np.linalg.norm(filled(200, best, seed).best() - best) for seed in range(5)]
    assert np.mean(errors) < 0.5 * np.linalg.norm(best)


def test_nothing_to_learn_moves_nothing() -> None:
    critic = EpisodeCritic(3, 1.0)
    for index in range(20):
        critic.add(index, index % 2 == 0, np.zeros(3, np.float32))
    assert critic.best() == pytest.approx(np.zeros(3))


def test_all_alike_labels_stay_within_reach() -> None:
    critic, random = EpisodeCritic(3, 1.0), np.random.default_rng(0)
    for index in range(10):
        critic.add(index, True, random.normal(0, 0.3, 3).astype(np.float32))
    assert np.isfinite(critic.best()).all() and np.abs(critic.best()).max() <= REACH


def test_a_corrected_label_replaces_the_first() -> None:
    critic = filled(40, np.array([0.4, 0.0]))
    before = critic.best()
    success, z = critic.episodes[7]
    critic.add(7, not success, np.array(z, np.float32))
    assert len(critic.episodes) == 40 and not np.array_equal(critic.best(), before)
