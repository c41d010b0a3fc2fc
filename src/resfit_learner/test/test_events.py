"""TensorBoard events: what a user watches while a run goes on, also across a restart of the learner."""

from dataclasses import replace
from pathlib import Path

import pytest
from test_learner import make_episode, make_learner, run

from resfit_learner.events import Events
from resfit_policy.episode_log import Phase

reader = pytest.importorskip('tensorboard.backend.event_processing.event_accumulator')


def scalars(folder: Path, name: str) -> list[tuple[int, float]]:
    """(step, value) as TensorBoard shows them."""
    accumulator = reader.EventAccumulator(str(folder))
    accumulator.Reload()
    return [(event.step, event.value) for event in accumulator.Scalars(name)]


def test_episodes_stand_over_online_steps_once_also_after_a_restart(tmp_path: Path) -> None:
    episodes = [make_episode(number, success=number % 2 == 0) for number in range(1, 5)]
    for known in (3, 4):  # killed after the third episode; then all of them come again
        events = Events(tmp_path, updates=0)
        for episode in [*episodes[:known], episodes[0]]:  # a correction of the first comes last
            events.write_episode(episode)
        events.close()
    steps, total = [], 0
    for episode in episodes:
        total += episode.length
        steps.append(total)
    assert scalars(tmp_path / 'episodes', 'episode/success') == list(zip(steps, [0, 1, 0, 1], strict=True))
    assert scalars(tmp_path / 'episodes', 'episode/success_last_50')[-1] == (total, 0.5)
    assert scalars(tmp_path / 'episodes', 'episode/length')[0] == (steps[0], episodes[0].length)


def test_metrics_beyond_the_checkpoint_that_a_learner_goes_on_from_are_hidden(tmp_path: Path) -> None:
    learner = make_learner()
    run(learner, range(1, 6))
    done = learner.counters.updates
    for updates in (done, done - 2):
        events = Events(tmp_path, updates)
        learner.counters.updates = updates
        events.write(learner)
        events.close()
    assert [step for step, _ in scalars(tmp_path, 'learner/critic_loss')] == [done - 2]


def test_an_aborted_episode_has_no_success_and_takes_no_steps(tmp_path: Path) -> None:
    episodes = [make_episode(number) for number in (1, 2, 3)]
    episodes[1] = replace(episodes[1], success=False, outcome=Phase.ABORTED)
    events = Events(tmp_path, updates=0)
    for episode in episodes:
        events.write_episode(episode)
    events.close()
    first, last = episodes[0].length, episodes[0].length + episodes[2].length
    assert scalars(tmp_path / 'episodes', 'episode/success_last_50') == [(first, 1.0), (last, 1.0)]
