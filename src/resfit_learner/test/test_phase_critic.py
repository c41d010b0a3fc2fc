import numpy as np
import pytest

from resfit_learner.phase_critic import MEMORY, REACH, Outline, PhaseCritic, chance_of_success, top


def outline(success: bool, correction: np.ndarray, state: np.ndarray | None = None) -> Outline:
    correction = np.atleast_2d(correction).astype(np.float32)
    return Outline(success, correction, np.zeros((len(correction), 2), np.float32) if state is None else state)


def filled(count: int, best: np.ndarray, seed: int = 0) -> PhaseCritic:
    """Episodes of one phase, whose success falls with the distance to ``best``."""
    random, critic = np.random.default_rng(seed), PhaseCritic(1, len(best), 1.0)
    for index in range(count):
        z = random.normal(0, 0.25, len(best))
        chance = 1 - np.square(z - best).sum()
        critic.episodes[index] = outline(bool(random.random() < chance), z)
    return critic


def test_finds_the_correction_that_pays() -> None:
    best = np.array([0.4, -0.3, 0.0, 0.0])
    errors = [np.linalg.norm(filled(200, best, seed).best() - best) for seed in range(5)]
    assert np.mean(errors) < 0.5 * np.linalg.norm(best)


def grasp_then_place(count: int, states: bool, seed: int) -> np.ndarray:
    """Best corrections of two phases, of which each needs its own; the state tells whether the grasp held."""
    random, critic = np.random.default_rng(seed), PhaseCritic(2, 2, 1.0)
    for index in range(count):
        z = random.normal(0, 0.25, (2, 2))
        held = random.random() < 0.5 + z[0, 0]
        placed = random.random() < 0.5 + z[1, 1]
        seen = np.array([[0, 0], [held, 0]], np.float32) if states else np.zeros((2, 2), np.float32)
        critic.episodes[index] = outline(bool(held and placed), z, seen)
    return critic.best()


def test_a_phase_is_not_blamed_for_another() -> None:
    """With states that tell how the first phase went, the same episodes say more about both."""
    wanted = np.array([[REACH, 0], [0, REACH]])
    errors = {
        states: np.mean([np.linalg.norm(grasp_then_place(120, states, seed) - wanted) for seed in range(12)])
        for states in (True, False)
    }
    assert errors[True] < 0.9 * errors[False], errors


def test_an_episode_has_a_say_in_its_own_chance_by_the_mean_alone() -> None:
    random = np.random.default_rng(0)
    states = [row.astype(np.float32) for row in random.normal(size=(12, 3))]
    success = (random.random(12) < 0.5).astype(float)
    chance = chance_of_success(states, success)
    seen = np.array(states, np.float64)
    seen = np.clip((seen - seen.mean(0)) / seen.std(0), -3, 3)
    distance = np.square(seen[:, None] - seen[None]).sum(-1)
    kernel = np.exp(-distance / np.median(distance))
    for row in range(12):  # the definition: fit to the others, predict this one
        others = np.delete(np.arange(12), row)
        weights = np.linalg.solve(kernel[np.ix_(others, others)] + np.eye(11), success[others] - success.mean())
        left_out = success.mean() + kernel[row, others] @ weights
        assert chance[row] == pytest.approx(np.clip(left_out, 0, 1), abs=1e-4)
        other = np.where(np.arange(12) == row, 1 - success, success)
        assert abs(chance_of_success(states, other)[row] - chance[row]) < 1 / 12


def test_nothing_to_learn_moves_nothing() -> None:
    critic = PhaseCritic(2, 3, 1.0)
    for index in range(20):
        critic.add(index, outline(index % 2 == 0, np.zeros((2, 3))))
    assert critic.best() == pytest.approx(np.zeros((2, 3)))


def test_all_alike_labels_stay_within_reach() -> None:
    critic, random = PhaseCritic(3, 3, 1.0), np.random.default_rng(0)
    for index in range(10):
        critic.add(index, outline(True, random.normal(0, 0.3, (2, 3))))
    assert np.isfinite(critic.best()).all() and np.abs(critic.best()).max() <= REACH
    assert critic.best()[2] == pytest.approx(np.zeros(3)), 'a phase that no episode reached'


def test_a_corrected_label_replaces_the_first() -> None:
    critic = filled(40, np.array([0.4, 0.0]))
    before, known = critic.best(), critic.episodes[7]
    critic.add(7, Outline(not known.success, known.correction, known.state))
    assert len(critic.episodes) == 40 and not np.array_equal(critic.best(), before)


def test_the_oldest_episodes_make_room() -> None:
    critic = PhaseCritic(1, 1, 1.0)
    critic.episodes = {index: outline(True, np.zeros(1)) for index in range(MEMORY)}
    critic.add(MEMORY, outline(False, np.zeros(1)))
    assert len(critic.episodes) == MEMORY and 0 not in critic.episodes


def test_restored_it_goes_on_alike() -> None:
    critic, again = filled(30, np.array([0.4, 0.0])), PhaseCritic(1, 2, 1.0)
    again.restore(critic.tensors())
    for one in (critic, again):
        one.add(99, outline(True, np.array([0.1, 0.2])))
    assert np.array_equal(critic.correction, again.correction)
    PhaseCritic(1, 2, 1.0).restore(PhaseCritic(1, 2, 1.0).tensors())


def test_labels_by_chance_hardly_move_anything() -> None:
    """Shrunk, a correction that nothing speaks for stays near zero; most of the time it is zero."""
    moved = []
    for seed in range(20):
        random, critic = np.random.default_rng(seed), PhaseCritic(1, 8, 1.0)
        for index in range(100):
            critic.episodes[index] = outline(bool(random.random() < 0.5), random.normal(0, 0.25, 8))
        moved.append(np.linalg.norm(critic.best()))
    assert np.median(moved) < 0.25 and min(moved) == 0, moved


@pytest.mark.parametrize('size', [1, 2])
def test_one_or_two_directions_are_not_shrunk_and_never_enlarged(size: int) -> None:
    """Chance makes k - 2 of the evidence: nothing for so few, where the plain ridge regression counts."""
    random = np.random.default_rng(0)
    z = random.normal(0, 0.25, (40, size))
    gains = 0.3 * z[:, 0] + random.normal(0, 0.3, 40)
    rows = np.column_stack([np.ones(40), z, -0.5 * np.square(z).sum(1)])
    # The prior as rows of its own: w = 0 and a curvature of 1, worth 8 episodes
    worth = np.sqrt(np.append(1e-3, np.full(size + 1, 8 * (z.var(0).mean() + 1e-3))))
    wanted = np.append(np.zeros(size + 1), 1.0)
    fit = np.linalg.lstsq(np.vstack([rows, np.diag(worth)]), np.append(gains, worth * wanted), rcond=None)[0]
    best = np.clip(fit[1:-1] / max(fit[-1], 0.6), -REACH, REACH)
    assert top(list(z), gains) == pytest.approx(best, abs=1e-5) and np.abs(best).max() > 0.05
