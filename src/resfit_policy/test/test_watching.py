"""What is shown of a run: hands, scores, markers and health."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from geometry_msgs.msg import Point, Pose, PoseArray
from visualization_msgs.msg import Marker, MarkerArray

from resfit_msgs.msg import EpisodeState, PolicyStep, Reward
from resfit_policy import markers
from resfit_policy.convert import to_array
from resfit_policy.episode_log import Arm, Flag, Phase
from resfit_policy.health import Health
from resfit_policy.ros import EVENT, LATCHED, LOG, SENSOR
from resfit_policy.task import ConfigError, load_task
from resfit_policy.testing import NodeProcess, Probe, isolated_domain, nodes
from resfit_policy.watching import WINDOW, Hands, Score

TASK = load_task('woolly_ball')
HOME = np.clip(np.zeros(29), TASK.robot.lower, TASK.robot.upper).astype(np.float32)


def test_a_turn_of_an_arm_moves_its_hand_and_not_the_other() -> None:
    pytest.importorskip('resfit_sim', reason='the model of Vega is in resfit_sim')
    hands, turned = Hands(TASK.robot), HOME.copy()
    turned[TASK.robot.names.index('R_arm_j4')] -= 0.2
    right, left = np.linalg.norm(hands.at(turned) - hands.at(HOME), axis=1)
    assert right > 0.02 and left == 0.0


@pytest.mark.parametrize(
    ('changed', 'said'), [({'collision': ''}, 'names no collision model'), ({'end_effectors': ('claw',)}, 'claw')]
)
def test_a_robot_whose_hands_cannot_be_found_is_one_clear_error(changed: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        Hands(replace(TASK.robot, **changed))


def test_the_score_counts_judged_episodes_by_arm_and_takes_a_corrected_label() -> None:
    score = Score()
    assert str(score) == 'nothing yet'
    for episode_id, (arm, phase) in enumerate(
        [(Arm.RESIDUAL, Phase.SUCCESS), (Arm.BASE, Phase.TIMEOUT), (Arm.RESIDUAL, Phase.ABORTED)], 1
    ):
        score.label(episode_id, phase == Phase.SUCCESS)
        score.close(episode_id, arm, phase)
    assert str(score) == 'base 0 of 1, residual 1 of 1'
    score.label(1, False)
    assert str(score) == 'base 0 of 1, residual 0 of 1'


def test_the_score_forgets_what_is_older_than_its_window() -> None:
    score = Score()
    for episode_id in range(1, 2 * WINDOW + 1):
        score.label(episode_id, episode_id <= WINDOW)
        score.close(episode_id, Arm.RESIDUAL, Phase.SUCCESS)
    assert str(score) == f'residual 0 of {WINDOW}'


def test_an_arrow_goes_from_base_to_executed_and_one_without_length_is_deleted() -> None:
    base, executed = np.zeros((2, 3)), np.array([[0.1, 0.0, 0.2], [0.0, 0.0, 1e-5]])
    drawn, gone = markers.arrows(base, executed)
    assert (drawn.action, gone.action) == (Marker.ADD, Marker.DELETE)
    assert [(point.x, point.z) for point in drawn.points] == [(0.0, 0.0), (0.1, 0.2)]
    assert (drawn.ns, drawn.id) == ('residual', 0) and (gone.ns, gone.id) == ('residual', 1)


def test_health_reports_rates_ages_and_durations_and_forgets_the_counts() -> None:
    with isolated_domain():
        probe, problem = Probe(), ['']
        heard = probe.listen(DiagnosticArray, 'diagnostics', 10)
        begun = time.monotonic()
        health = Health(probe.node, lambda: (problem[0], 'well', {'left_gb': 1.5}), ('joints', 'never_sent'))
        for _ in range(10):
            health.saw('joints')
            health.took('step', 3.0)
        probe.until(lambda: heard)
        seconds = time.monotonic() - begun  # at least those that the report is of
        problem[0] = 'no joints'
        probe.until(lambda: len(heard) >= 2)
        probe.close()
    first, second = (item.status[0] for item in heard[:2])
    values, later = ({item.key: item.value for item in status.values} for status in (first, second))
    assert first.name == 'probe' and (first.level, first.message) == (DiagnosticStatus.OK, 'well')
    assert (second.level, second.message) == (DiagnosticStatus.WARN, 'no joints')
    assert 10 / seconds - 1e-3 <= float(values['joints_hz']) <= 10.5
    assert values['step_ms_p99'] == '3.000' and values['left_gb'] == '1.500'
    assert (values['never_sent_hz'], values['never_sent_age_s']) == ('0.000', 'never')
    assert float(later['joints_hz']) == 0 and float(later['joints_age_s']) > 1.5


def test_the_watcher_draws_a_step_and_deletes_it_when_the_next_scene_is_set(tmp_path: Path) -> None:
    pytest.importorskip('resfit_sim', reason='the model of Vega is in resfit_sim')
    with isolated_domain():
        node, probe = NodeProcess(tmp_path, 'resfit_policy', 'watch_node'), Probe()
        with nodes(node):
            pictures = probe.listen(MarkerArray, 'markers', LOG)
            steps = probe.node.create_publisher(PolicyStep, 'policy/step', LOG)
            episodes = probe.node.create_publisher(EpisodeState, 'episode', LATCHED)
            rewards = probe.node.create_publisher(Reward, 'reward', EVENT)
            objects = probe.node.create_publisher(PoseArray, 'object_poses', SENSOR)
            ghost = probe.listen(DiagnosticArray, 'diagnostics', 10)
            probe.until(lambda: ghost and steps.get_subscription_count() and rewards.get_subscription_count())
            residual = np.zeros(29, np.float32)
            residual[TASK.robot.names.index('R_arm_j4')] = -0.2
            step = PolicyStep(episode_id=1, authority=0.5, weights_version=7, flags=int(Flag.CLIPPED))
            step.base_action, step.executed_action = to_array(HOME), to_array(HOME + residual)
            objects.publish(PoseArray(poses=[Pose(position=Point(x=0.1, y=0.2, z=0.5))] * 2))
            episodes.publish(EpisodeState(episode_id=1, phase=EpisodeState.RUNNING, arm=EpisodeState.RESIDUAL))
            steps.publish(step)

            def drawn() -> dict[tuple[str, int], Marker]:
                return {(item.ns, item.id): item for item in pictures[-1].markers} if pictures else {}

            probe.until(lambda: ('residual', 0) in drawn() and ('objects', 1) in drawn())
            assert drawn()['residual', 0].action == Marker.ADD and drawn()['residual', 1].action == Marker.DELETE
            said = drawn()['run', 0].text
            assert 'RESIDUAL  RUNNING' in said and 'authority 0.50  weights 7  clipped' in said
            rewards.publish(Reward(episode_id=1, success=True))
            probe.spin(0.3)
            episodes.publish(EpisodeState(episode_id=1, phase=EpisodeState.SUCCESS, arm=EpisodeState.RESIDUAL))
            probe.until(lambda: 'residual 1 of 1' in drawn()['run', 0].text)
            pictures.clear()
            episodes.publish(EpisodeState(episode_id=2, phase=EpisodeState.RESETTING))
            probe.until(lambda: len(pictures) >= 2)
            time.sleep(0.3)
            assert [item.action for item in pictures[0].markers] == [Marker.DELETEALL]
            assert set(drawn()) == {('run', 0)}, 'something of the last scene was drawn again'
            assert node.end() == 0
        probe.close()
    assert 'Traceback' not in node.output
