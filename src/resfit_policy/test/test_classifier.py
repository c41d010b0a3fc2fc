"""From images to a verdict: the rule, the file, and the node as a process."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from diagnostic_msgs.msg import DiagnosticArray
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from sensor_msgs.msg import Image

from resfit_msgs.msg import EpisodeState, Reward
from resfit_policy.classifier import Classifier, ClassifierConfig, SuccessNet, load_classifier, pack_classifier
from resfit_policy.convert import set_stamp, stamp_ns, to_array
from resfit_policy.judge import Judge, Rule, Shots, Verdict, check_image, judge_episode
from resfit_policy.ros import EVENT, LATCHED, SENSOR
from resfit_policy.sampler import NotReady
from resfit_policy.task import ConfigError, load_task
from resfit_policy.testing import NodeProcess, Probe, isolated_domain, nodes

TASK = load_task('woolly_ball')
RULE = Rule(success=0.9, failure=0.1, hold=3)
PERIOD = TASK.period_ns
DARK, GREY, BRIGHT = 40, 127, 215


def bright_is_success() -> Classifier:
    """A network whose logit follows the mean brightness of both images, and nothing else."""
    config = ClassifierConfig(TASK.name, TASK.cameras, TASK.image_size)
    net = SuccessNet(config)
    for value in net.parameters():
        torch.nn.init.zeros_(value)
    for eye in net.eyes:
        layers = [item for item in eye.modules() if isinstance(item, torch.nn.Conv2d)]
        first, second, last = layers[0], layers[1], layers[-1]
        torch.nn.init.constant_(first.weight[0], 1 / 75)
        torch.nn.init.constant_(first.bias[:1], 0.5)  # type: ignore[index]
        for layer in (second, last):
            torch.nn.init.ones_(layer.weight[0, 0, 1, 1])
        linear = next(item for item in eye if isinstance(item, torch.nn.Linear))  # type: ignore[union-attr]
        torch.nn.init.constant_(
            linear.weight[0, : linear.in_features // config.channels], config.channels / linear.in_features
        )
    head = net.head[1]
    torch.nn.init.constant_(head.weight[0, :: config.hidden], 20.0)  # type: ignore[index]
    torch.nn.init.constant_(head.bias, -20.0)  # type: ignore[arg-type]
    return Classifier(config, RULE, net.eval(), {'held_out': {}})


def picture(level: int, spread: int = 20) -> NDArray[np.uint8]:
    noise = np.random.default_rng(level).integers(-spread, spread + 1, (84, 84, 3))
    return (level + noise).astype(np.uint8)


def test_a_verdict_has_to_persist_and_a_new_episode_begins_afresh() -> None:
    judge = Judge(RULE)
    for probability in (0.95, 0.99):
        assert judge.hear(probability) == (Verdict.DOUBTFUL, 0.0)
    assert judge.hear(0.92) == (Verdict.SUCCESS, 0.92)
    judge.begin()
    assert [judge.hear(0.99)[0] for _ in range(3)] == [Verdict.DOUBTFUL, Verdict.DOUBTFUL, Verdict.SUCCESS]
    for probability in (0.05, 0.02):
        assert judge.hear(probability)[0] == Verdict.DOUBTFUL
    verdict, confidence = judge.hear(0.08)
    assert verdict == Verdict.NOT and confidence == pytest.approx(0.92)


@given(st.lists(st.floats(0, 1), max_size=40))
def test_an_episode_is_a_success_where_as_many_images_in_a_row_say_so_and_only_there(seen: list[float]) -> None:
    runs = [index for index in range(3, len(seen) + 1) if min(seen[index - 3 : index]) >= RULE.success]
    verdict, count = judge_episode(seen, RULE)
    assert (verdict == Verdict.SUCCESS) == bool(runs) and count == (runs[0] if runs else len(seen))
    if not runs:
        assert (verdict == Verdict.NOT) == (len(seen) >= 3 and max(seen[-3:]) <= RULE.failure)


def test_thresholds_that_leave_no_order_are_refused() -> None:
    with pytest.raises(ValueError, match='failure must lie below success'):
        Rule(success=0.4, failure=0.6)


def test_images_are_judged_together_once_per_step_and_none_of_before_the_episode() -> None:
    shots = Shots(('left', 'right'), period=50, max_age=100)
    image = picture(GREY)
    shots.put('left', 990, image)
    shots.begin(1000)
    shots.put('right', 995, image)
    assert shots.take() is None
    shots.put('left', 1000, image)
    assert shots.take() is None, 'one camera is missing'
    shots.put('right', 1004, image)
    taken = shots.take()
    assert taken is not None and taken[0] == 1000 and taken[1].shape == (2, 84, 84, 3)
    shots.put('left', 1030, image)
    shots.put('right', 1034, image)
    assert shots.take() is None, 'too soon'
    shots.put('left', 1049, image)
    shots.put('right', 1051, image)
    taken = shots.take()
    assert taken is not None and taken[0] == 1049
    shots.put('left', 1160, image)
    with pytest.raises(NotReady, match='right/image is .* older'):
        shots.take()


def test_an_image_of_one_colour_is_no_image() -> None:
    check_image(picture(GREY, spread=2))
    with pytest.raises(NotReady, match='one colour'):
        check_image(np.full((84, 84, 3), 7, np.uint8))


def test_a_file_comes_back_as_it_was_and_is_refused_when_damaged_or_for_another_task(tmp_path: Path) -> None:
    classifier, file = bright_is_success(), tmp_path / 'classifier.safetensors'
    file.write_bytes(pack_classifier(classifier))
    again = load_classifier(file)
    images = np.stack([[picture(level)] * 2 for level in (DARK, GREY, BRIGHT)])
    np.testing.assert_array_equal(again.probabilities(images), classifier.probabilities(images))
    dark, grey, bright = again.probabilities(images)
    assert dark < 0.01 and 0.2 < grey < 0.8 and bright > 0.99
    assert (again.rule, again.config, again.report) == (RULE, classifier.config, {'held_out': {}})

    again.check(TASK)
    for other in (replace(TASK, cameras=('wrist', 'head_left')), replace(TASK, image_size=96)):
        with pytest.raises(ConfigError, match='was trained for task woolly_ball'):
            again.check(other)
    data = file.read_bytes()
    for bad, why in (
        (data[:-7], 'whole safetensors'),
        (data.replace(b'classifier-1', b'classifier-9'), 'classifier-9'),
    ):
        file.write_bytes(bad)
        with pytest.raises(ConfigError, match=why):
            load_classifier(file)
    with pytest.raises(ConfigError, match='resfit reward train'):
        load_classifier(tmp_path / 'none')


def test_the_node_judges_the_running_episode_and_no_dead_camera(tmp_path: Path) -> None:
    file = tmp_path / 'classifier.safetensors'
    file.write_bytes(pack_classifier(bright_is_success()))
    with isolated_domain():
        probe = Probe()
        node = NodeProcess(tmp_path, 'resfit_policy', 'classifier_node', classifier=file)
        with nodes(node):
            verdicts = probe.listen(Reward, 'classifier/verdict', EVENT)
            problems = probe.listen(DiagnosticArray, 'diagnostics', 10)
            episode = probe.node.create_publisher(EpisodeState, 'episode', LATCHED)
            cameras = [probe.node.create_publisher(Image, f'{name}/image', SENSOR) for name in TASK.cameras]
            probe.until(lambda: all(item.get_subscription_count() for item in (episode, *cameras)))
            now = 20 * PERIOD

            def begin(number: int) -> None:
                state = EpisodeState(episode_id=number, phase=EpisodeState.RUNNING)
                set_stamp(state.header.stamp, now)
                episode.publish(state)
                probe.spin(0.2)

            def show(left: NDArray[np.uint8], right: NDArray[np.uint8]) -> None:
                nonlocal now
                verdicts.clear()
                for publisher, shot in zip(cameras, (left, right), strict=True):
                    image = Image(height=84, width=84, encoding='rgb8', step=252, data=to_array(shot, 'B'))
                    set_stamp(image.header.stamp, now)
                    publisher.publish(image)
                now += PERIOD

            def ignored(left: NDArray[np.uint8], right: NDArray[np.uint8]) -> bool:
                show(left, right)
                probe.spin(0.5)
                return not verdicts

            def judged(level: int) -> tuple[bool, bool]:
                show(picture(level), picture(level))
                probe.until(lambda: verdicts)
                (verdict,) = verdicts
                assert verdict.source == Reward.CLASSIFIER
                assert stamp_ns(verdict.header.stamp) == now - PERIOD
                return verdict.success, verdict.confidence > 0.9

            assert ignored(picture(BRIGHT), picture(BRIGHT)), 'no episode runs'
            begin(1)
            assert [judged(level) for level in (DARK, DARK, DARK)][-1] == (False, True)
            assert [judged(level) for level in (BRIGHT, BRIGHT, BRIGHT)] == [(False, False)] * 2 + [(True, True)]
            begin(2)
            assert judged(BRIGHT) == (False, False), 'it remembers the episode before'
            assert [judged(GREY) for _ in range(3)][-1] == (False, False)
            dead = np.zeros((84, 84, 3), np.uint8)
            assert ignored(picture(BRIGHT), dead)
            said = 'no verdict: head_right/image: it shows one colour'
            probe.until(lambda: problems and said in problems[-1].status[0].message)
            assert judged(DARK) == (False, False), 'it goes on with the next good one'
        probe.close()


def test_the_node_says_what_it_lacks(tmp_path: Path) -> None:
    with isolated_domain():
        node = NodeProcess(tmp_path, 'resfit_policy', 'classifier_node', classifier='nowhere')
        assert node.wait() == 2 and 'train one with "resfit reward train"' in node.output
