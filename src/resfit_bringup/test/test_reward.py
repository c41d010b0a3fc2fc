"""A classifier as the source of success: from bags to a file to a graph in which an operator has the last word."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from std_msgs.msg import String

from resfit_bringup import cli
from resfit_bringup.graph import Options, collect_graph
from resfit_bringup.runner import Runner
from resfit_learner.bags import read_log
from resfit_learner.export import write_episode
from resfit_learner.rollout import run_episode
from resfit_msgs.msg import EpisodeState, Reward
from resfit_msgs.srv import LabelEpisode
from resfit_policy.classifier import Classifier, ClassifierConfig, SuccessNet, pack_classifier
from resfit_policy.episode_log import Arm, Episode, Phase, StepRecord, build_episode
from resfit_policy.judge import Rule
from resfit_policy.ros import EVENT, LATCHED
from resfit_policy.runtime import PolicyRuntime
from resfit_policy.task import CONFIG_DIR, load_task
from resfit_policy.testing import Probe, isolated_domain
from resfit_sim.env import VegaEnv
from resfit_sim.experts import make_expert

SIDE = 24


def drawn(number: int, length: int = 12) -> Episode:
    """A square that moves over noise, and in the end of every other episode comes to a mark."""
    random, success = np.random.default_rng(number), number % 2 == 0
    steps = []
    for step in range(length):
        images = random.integers(90, 140, (2, SIDE, SIDE, 3)).astype(np.uint8)
        x, y = (3, 9) if success and step >= length - 4 else random.integers(10, SIDE - 6, 2)
        images[:, y : y + 5, x : x + 5] = 255
        still = np.zeros(29, np.float32)
        state = np.zeros(35, np.float32)
        steps.append(StepRecord(step * 50_000_000, step, state, still, still, still, 0.0, 0, 0, images))  # type: ignore[arg-type]
    outcome = Phase.SUCCESS if success else Phase.FAILURE
    return build_episode(
        steps,
        episode_id=number,
        task='woolly_ball',
        seed=number,
        arm=Arm.BASE,
        outcome=outcome,
        success=success,
        last_step=length - 1,
    )


def test_a_classifier_is_trained_measured_and_tested_on_other_bags(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    task, out, result = tmp_path / 'small.yaml', tmp_path / 'classifier.safetensors', tmp_path / 'result.json'
    values = yaml.safe_load((CONFIG_DIR / 'tasks' / 'woolly_ball.yaml').read_text())
    task.write_text(yaml.safe_dump({**values, 'image_size': SIDE}))
    for number in range(50):
        log = tmp_path / ('one' if number < 40 else 'other')
        write_episode(log / f'{number + 1:06d}-{number + 1:06d}', drawn(number + 1))
    words = ['--task', str(task), '--json', str(result)]
    log = str(tmp_path / 'one')
    assert cli.main(['reward', 'train', log, '--out', str(out), '--steps', '120', *words]) == 0
    said = capsys.readouterr().out
    assert '10 episodes held out' in said and 'precision' in said and 'labelled' in said
    trained = json.loads(result.read_text())
    assert trained['episodes'] == {'training': 22, 'validation': 8, 'held_out': 10}
    assert trained['held_out']['recall']['n'] == 5 and 0 < trained['inference_ms'] < 100
    assert cli.main(['reward', 'test', str(out), str(tmp_path / 'other'), *words]) == 0
    assert json.loads(result.read_text())['recall']['n'] == 5

    assert cli.main(['reward', 'test', str(out), str(tmp_path / 'other')]) == 2
    assert 'was trained for task woolly_ball, cameras head_left, head_right at 24 pixels' in capsys.readouterr().err
    assert cli.main(['reward', 'train', str(tmp_path / 'other'), '--out', str(out), *words]) == 2
    assert '5 successes and 5 failures: a classifier needs 10' in capsys.readouterr().err
    assert cli.main(['reward', 'train', log, '--out', str(out), '--hold', '0', *words]) == 2
    assert 'hold: Input should be greater' in capsys.readouterr().err


def test_bags_without_images_say_how_to_record_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    env = VegaEnv('woolly_ball', variant='demonstrated')
    runtime = PolicyRuntime(env.task, make_expert('woolly_ball', 'demonstrated'))
    write_episode(tmp_path / '000001-000001', run_episode(env, runtime, seed=3, arm=Arm.BASE, episode_id=1))
    assert cli.main(['reward', 'train', str(tmp_path), '--out', str(tmp_path / 'c.safetensors')]) == 2
    assert 'holds no images: record with cameras: "resfit collect --vision"' in capsys.readouterr().err


def test_on_the_graph_a_doubtful_episode_waits_for_an_operators_label(tmp_path: Path) -> None:
    task, file = load_task('woolly_ball'), tmp_path / 'classifier.safetensors'
    config = ClassifierConfig(task.name, task.cameras, task.image_size)
    net = SuccessNet(config)
    for value in net.parameters():  # it has no opinion
        torch.nn.init.zeros_(value)
    file.write_bytes(pack_classifier(Classifier(config, Rule(0.9, 0.1), net, {})))
    short = tmp_path / 'task.yaml'
    values = yaml.safe_load((CONFIG_DIR / 'tasks' / 'woolly_ball.yaml').read_text())
    short.write_text(yaml.safe_dump({**values, 'horizon': 10}))
    options = Options(
        run_dir=tmp_path / 'run',
        task=str(short),
        base='resfit_sim.experts:unseen',
        classifier=str(file),
        max_episodes=1,
    )
    with isolated_domain():
        probe = Probe()
        asked = probe.listen(String, 'attention', LATCHED)
        states = probe.listen(EpisodeState, 'episode', LATCHED)
        rewards = probe.listen(Reward, 'reward', EVENT)
        verdicts = probe.listen(Reward, 'classifier/verdict', EVENT)
        with Runner(collect_graph(options)) as runner:

            def meanwhile() -> None:
                runner.check()
                probe.spin(0.2)

            probe.until(lambda: (meanwhile(), asked and 'doubtful' in asked[-1].data)[-1], 60.0, 'doubt')
            probe.spin(1.0)
            assert states[-1].phase == EpisodeState.RUNNING and not rewards
            assert not any(item.confidence for item in verdicts)  # as many as were heard, from discovery on
            assert 'no verdict' not in (tmp_path / 'run' / 'log' / 'reward_node.log').read_text()
            request = LabelEpisode.Request(success=True, operator_name='ana')
            assert probe.call(LabelEpisode, 'label', request).success
            runner.wait(lambda: probe.spin(0.2), 0.0)
        assert [(item.source, item.success) for item in rewards] == [(Reward.HUMAN, True)]
        probe.close()
    (episode,) = read_log(tmp_path / 'run')
    assert episode.success and episode.outcome == Phase.SUCCESS and episode.length == 10
