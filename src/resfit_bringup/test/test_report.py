"""What a run leaves for people: figures, curve, film."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from resfit_bringup import report, video
from resfit_learner.curve import WINDOW, Curve
from resfit_learner.evaluation import compare
from resfit_learner.rollout import run_episode
from resfit_policy.episode_log import Arm, Episode
from resfit_policy.observation import Float, Observation
from resfit_policy.runtime import PolicyRuntime
from resfit_policy.task import load_task
from resfit_sim.env import VegaEnv
from resfit_sim.experts import make_expert

TASK = load_task('woolly_ball')


@pytest.fixture(scope='module')
def solved() -> Episode:
    runtime = PolicyRuntime(TASK, make_expert('woolly_ball', 'unseen'))
    episode = run_episode(VegaEnv('woolly_ball'), runtime, seed=4, arm=Arm.BASE)
    assert episode.success
    return episode


def test_the_summary_has_the_figures_of_curve_and_comparison(solved: Episode) -> None:
    failed = solved.relabelled(False)
    comparison = compare([failed] * 30 + [solved] * 10, [failed] * 10 + [solved] * 30)
    curve = Curve()
    for index in range(2 * WINDOW):
        curve.add(solved if index >= WINDOW else failed)
    summary = report.summarise(TASK, 7, curve, comparison, 12.34)
    assert summary['base']['success'] == 0.25 and summary['resfit']['success'] == 0.75
    assert summary['difference']['low'] > 0
    assert summary['env_steps'] == 2 * WINDOW * solved.length and summary['episodes'] == 2 * WINDOW
    assert summary['dip']['ratio'] == 0.0
    text = report.table(comparison)
    assert '25.0%' in text and '75.0%' in text and '+50.0%' in text


@pytest.mark.parametrize('episodes', [0, 1, 5, 120])
def test_a_curve_of_any_length_is_drawn(tmp_path: Path, solved: Episode, episodes: int) -> None:
    curve = Curve()
    for index in range(episodes):
        curve.add(solved.relabelled(index % 3 == 0))
    report.learning_curve(tmp_path / 'curve.png', TASK, curve, compare([solved], [solved.relabelled(False)]))
    with Image.open(tmp_path / 'curve.png') as picture:
        assert picture.width >= 1000


def test_the_film_shows_a_start_that_only_resfit_solved(tmp_path: Path, solved: Episode) -> None:
    failed = solved.relabelled(False)
    seeds = [replace(solved, seed=seed) for seed in (1, 2, 4)]
    base = [seeds[0], replace(failed, seed=2), replace(failed, seed=4)]
    resfit = [seeds[0], replace(failed, seed=2), seeds[2]]
    assert video.telling_seed(base, resfit) == 4
    assert video.telling_seed(resfit, base) is None
    runtime = PolicyRuntime(TASK, make_expert('woolly_ball', 'unseen'))
    video.film(tmp_path / 'film.gif', TASK, 'unseen', runtime, 4)
    with Image.open(tmp_path / 'film.gif') as film:
        assert film.size == (2 * video.SIZE[0], video.SIZE[1])
        assert film.n_frames >= solved.length // 2


class Looks:
    """Holds still, and remembers what it saw."""

    def reset(self) -> None:
        pass

    def act(self, observation: Observation) -> Float:
        self.seen = observation
        return observation.state


def test_a_base_that_sees_images_is_filmed_with_images(tmp_path: Path) -> None:
    task, base = replace(TASK.without_poses(), horizon=2), Looks()
    video.film(tmp_path / 'film.gif', task, 'unseen', PolicyRuntime(task, base), 4)
    assert base.seen.state.shape == (29,) and base.seen.images.shape == (2, 84, 84, 3)
