"""Training a success classifier: what it learns from, how its thresholds are chosen, and what it refuses."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from resfit_learner.classifier_training import ClassifierTraining, score_classifier, train_classifier
from resfit_learner.export import write_episode
from resfit_learner.footage import Footage, check_footage, labelled_images, read_footage, split
from resfit_learner.judging import choose_rule, judged, score, seen_online
from resfit_policy.classifier import load_classifier, pack_classifier
from resfit_policy.episode_log import Arm, Episode, Phase
from resfit_policy.judge import Rule, Verdict
from resfit_policy.task import ConfigError, load_task

SIDE = 24
TASK = replace(load_task('woolly_ball'), image_size=SIDE)
SMALL = ClassifierTraining(steps=120, batch=32, lr=3e-3, image_shift=1)


def shots(name: int, length: int, success: bool, colour: int = 0) -> Footage:
    """Noise with a square that moves; in the last four images of a success it has come to a mark on the left."""
    random = np.random.default_rng(name)
    images = random.integers(90, 140, (length, 2, SIDE, SIDE, 3)).astype(np.uint8)
    for row in range(length):
        there = success and row >= length - 4
        x, y = (3, 9) if there else random.integers(10, SIDE - 6, 2)
        images[row, :, y : y + 5, x : x + 5] = (255, colour, 0)
    return Footage(f'episode {name}', success, not success, images)


def some(count: int, first: int = 0) -> list[Footage]:
    return [shots(first + index, 12 + index % 5, index % 2 == 0) for index in range(count)]


def episode(number: int, **changes: object) -> Episode:
    footage = shots(number, 12, number % 2 == 0)
    rows = len(footage.images)
    zeros = np.zeros((rows, TASK.action_size), np.float32)
    made = Episode(
        episode_id=number,
        task=TASK.name,
        seed=0,
        arm=Arm.BASE,
        outcome=Phase.SUCCESS if footage.success else Phase.FAILURE,
        success=footage.success,
        final=False,
        state=np.zeros((rows, TASK.state_size), np.float32),
        images=footage.images,
        base_action=zeros,
        residual=zeros,
        executed_action=zeros,
        authority=np.zeros(rows, np.float32),
        weights_version=np.zeros(rows, np.int64),
        flags=np.zeros(rows, np.uint8),
        stamp=np.arange(rows) * TASK.period_ns,
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def test_it_tells_success_on_episodes_it_has_not_seen_and_keeps_what_was_measured(tmp_path: Path) -> None:
    classifier, reached = train_classifier(SMALL, TASK, some(80), seed=0)
    assert reached.recall.n == 10 and reached.recall.success >= 0.8, reached
    assert reached.precision is not None and reached.precision.success >= 0.9, reached
    file = tmp_path / 'classifier.safetensors'
    file.write_bytes(pack_classifier(classifier))
    again = load_classifier(file)
    assert again.report['held_out']['recall']['n'] == 10 and again.report['episodes']['training'] == 44
    others = score_classifier(again, some(20, first=500), SMALL.tail)
    assert others.recall.success >= 0.8 and 'misjudged' not in str(others).split('doubtful ')[0]


def test_labels_that_the_images_do_not_show_are_no_classifier() -> None:
    random = np.random.default_rng(0)
    lied = [replace(item, success=bool(random.integers(2)), timed_out=False) for item in some(80)]
    with pytest.raises(ConfigError, match='are the labels right'):
        train_classifier(replace(SMALL, steps=30), TASK, lied, seed=0)


def test_whole_episodes_are_split_and_as_many_successes_go_to_each_part() -> None:
    footage = some(40) + [shots(900 + index, 12, True) for index in range(40)]
    parts = split(footage, (0.2, 0.25), seed=1)
    names = [{item.name for item in part} for part in parts]
    assert sum(map(len, names)) == len(footage) == len(set.union(*names))
    assert [sum(item.success for item in part) / len(part) for part in parts] == [0.75] * 3
    again = split(footage, (0.2, 0.25), seed=1)
    assert names == [{item.name for item in part} for part in again]
    assert names != [{item.name for item in part} for part in split(footage, (0.2, 0.25), seed=2)]


def test_images_just_before_a_success_are_left_out_and_all_of_one_labelled_after_a_time_out() -> None:
    rows = np.arange(12)
    shown, rest = labelled_images(shots(0, 12, True), 2, 3)
    assert rows[shown].tolist() == [10, 11] and rows[rest].tolist() == list(range(7))
    shown, rest = labelled_images(replace(shots(0, 12, True), timed_out=True), 2, 3)
    assert rows[shown].tolist() == [10, 11] and not len(rows[rest])
    shown, rest = labelled_images(shots(1, 12, False), 2, 3)
    assert not len(rows[shown]) and rows[rest].tolist() == list(range(12))
    shown, rest = labelled_images(shots(0, 3, True), 2, 3)
    assert rows[shown].tolist() == [1, 2] and not len(rows[rest])


def test_between_what_successes_and_failures_look_like_is_doubt() -> None:
    good, bad = shots(0, 6, True), shots(1, 6, False)
    high, low = np.array([0.0, 0.0, 0.0, 0.0, 0.8, 0.8]), np.array([0.0, 0.2, 0.2, 0.2, 0.2, 0.2])
    rule = choose_rule([good, bad], [high, low], hold=3, tail=2)
    assert rule.failure == pytest.approx(0.2) and rule.success == pytest.approx(0.8)
    rule = choose_rule([good, good, bad, bad], [high, high * 0.9, low, low * 3.7], hold=3, tail=2)
    assert rule.success == pytest.approx(0.77), 'a failure that looks like a success is no success'
    assert judged(bad, low * 3.7, rule, 2).verdict == Verdict.DOUBTFUL
    with pytest.raises(ConfigError, match='fewer than half'):
        choose_rule([good, bad], [low, high], hold=3, tail=2)


def test_an_episode_is_judged_as_online() -> None:
    rule = Rule(success=0.9, failure=0.1, hold=3)
    good, bad = shots(0, 8, True), shots(1, 8, False)
    end = np.array([0, 0, 0, 0, 0, 0, 0, 0.95])
    assert len(seen_online(good, end, 3)) == 10
    assert judged(good, end, rule, 3).verdict == Verdict.SUCCESS, 'its scene would have stayed as it was'
    assert judged(bad, end, rule, 3).verdict == Verdict.DOUBTFUL, 'a time-out leaves no time'
    early = judged(good, end[::-1].clip(0.95), rule, 3)
    assert early.verdict == Verdict.SUCCESS and early.early and early.wrong
    reached = score([judged(good, end, rule, 3), early, judged(bad, end * 0, rule, 3), judged(bad, end, rule, 3)])
    assert reached.table['success'] == {'success': 1, 'early': 1, 'doubtful': 0, 'not': 0}
    assert reached.table['failure'] == {'success': 0, 'early': 0, 'doubtful': 1, 'not': 1}
    assert reached.precision is not None and (reached.precision.success, reached.precision.n) == (0.5, 2)
    assert (reached.recall.success, reached.doubtful.success, reached.wrong) == (0.5, 0.25, ('episode 0',))


def test_bags_are_read_with_their_labels_and_aborted_episodes_left_out(tmp_path: Path) -> None:
    for number in range(4):
        made = episode(number, outcome=Phase.ABORTED) if number == 3 else episode(number)
        write_episode(tmp_path / f'{number + 1:06d}-{number:06d}', made)
    footage = read_footage([tmp_path], TASK)
    assert [item.success for item in footage] == [True, False, True]
    np.testing.assert_array_equal(footage[0].images, shots(0, 12, True).images)
    with pytest.raises(ConfigError, match='2 successes and 1 failures'):
        check_footage(footage)


@pytest.mark.parametrize(
    ('changes', 'why'),
    [
        ({'images': np.zeros((12, 0, 0, 0, 3), np.uint8)}, 'holds no images: record with cameras'),
        ({'images': shots(0, 12, True).images[:, :1]}, r'\(1, 24, 24\), task woolly_ball \(2, 24, 24\)'),
        ({'images': np.repeat(shots(0, 1, True).images, 12, 0)}, 'head_left shows one and the same image'),
        ({'images': shots(0, 12, True).images * np.array([1, 0], np.uint8)[:, None, None, None]}, 'head_right shows'),
        ({'task': 'box_cleanup'}, 'of the task box_cleanup'),
    ],
)
def test_episodes_that_show_nothing_of_the_task_are_named(changes: dict, why: str, tmp_path: Path) -> None:
    write_episode(tmp_path / '000001-000007', episode(7, **changes))
    with pytest.raises(ConfigError, match=why) as error:
        read_footage([tmp_path], TASK)
    assert 'episode 7 of' in str(error.value)
