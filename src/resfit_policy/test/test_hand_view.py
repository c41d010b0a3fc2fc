"""The objects as the hands see them: forward kinematics without MuJoCo, by what MuJoCo says."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from resfit_policy.actor import ActorConfig, Exploration, ResidualActor, pack_actor, unpack_actor
from resfit_policy.hand_view import HandView, hand_view
from resfit_policy.physics import mujoco
from resfit_policy.task import ConfigError, Joint, Robot, SceneObject, Task

# A slide and two hinges away from their bodies' origins, at home elsewhere than at 0; and a shorter chain beside them.
MJCF = """<mujoco><compiler angle="radian"/><worldbody>
  <body name="trunk" pos="0 0 0.5" euler="0 0 0.4"><geom size="0.1"/>
    <joint name="lift" type="slide" axis="0 0.6 0.8" ref="0.1"/>
    <body name="upper" pos="0.1 0.2 0" euler="0.3 0 0"><geom size="0.05"/>
      <joint name="shoulder" axis="1 2 2" pos="0.05 0 0.02" ref="-0.2"/>
      <body name="palm" pos="0 0.3 0.1" euler="0 -0.5 0"><geom size="0.05"/>
        <joint name="wrist" axis="0 0 1" pos="0 0.1 0"/>
    </body></body>
    <body name="stump" pos="0 -0.3 0"><geom size="0.05"/></body>
  </body></worldbody></mujoco>"""
NAMES = ('wrist', 'lift', 'shoulder')
TASK = Task(
    'toy',
    Robot('toy', tuple(Joint(name, -2.0, 2.0, 1.0) for name in NAMES), end_effectors=('palm', 'stump')),
    horizon=10,
    objects=(SceneObject('ball'), SceneObject('knob', 'vector', 2), SceneObject('lid', 'full')),
)


@pytest.fixture
def task(tmp_path: Path) -> Task:
    file = tmp_path / 'robot.xml'
    file.write_text(MJCF)
    return replace(TASK, robot=replace(TASK.robot, collision=str(file)))


def poses(joints: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Places (2, 3) and rotations (2, 3, 3) of the two hands, by MuJoCo."""
    model = mujoco.MjModel.from_xml_string(MJCF)
    data = mujoco.MjData(model)
    data.qpos[[model.joint(name).qposadr[0] for name in NAMES]] = joints
    mujoco.mj_kinematics(model, data)
    bodies = [model.body(name).id for name in TASK.robot.end_effectors]
    return data.xpos[bodies], data.xmat[bodies].reshape(2, 3, 3)


def test_the_hands_are_where_mujoco_has_them(task: Task) -> None:
    view = hand_view(task)
    joints = np.random.default_rng(0).uniform(-2, 2, (20, 3)).astype(np.float32)
    found = view.hands(torch.from_numpy(joints)).numpy()
    for row, pose in zip(joints, found, strict=True):
        place, turn = poses(row)
        assert pose[:, :3, 3] == pytest.approx(place, abs=1e-6)
        assert pose[:, :3, :3] == pytest.approx(turn, abs=1e-6)


def test_objects_are_seen_in_the_frame_of_each_hand(task: Task) -> None:
    view, random = hand_view(task), np.random.default_rng(1)
    joints, state = random.uniform(-2, 2, 3).astype(np.float32), random.normal(size=17).astype(np.float32)
    place, turn = poses(joints)
    ball, lid, axes = state[3:6], state[8:11], state[11:17].reshape(2, 3)
    positions = [turn[hand].T @ (item - place[hand]) for hand in (0, 1) for item in (ball, lid)]
    turned = [turn[hand].T @ axis for hand in (0, 1) for axis in axes]
    found = view(torch.from_numpy(state)[None], torch.from_numpy(joints)[None])[0].numpy()
    assert found == pytest.approx(np.concatenate(positions + turned), abs=1e-5)
    assert (view.config.places, view.config.size) == (12, 24)


def test_where_there_is_no_model_or_no_pose_nothing_is_seen(task: Task) -> None:
    for blind in (TASK, replace(task, objects=()), replace(task, objects=(SceneObject('all', 'vector', 4),))):
        view = hand_view(blind)
        assert view.config.size == 0
        assert view(torch.zeros(5, blind.state_size), torch.zeros(5, 3)).shape == (5, 0)


def test_a_hand_that_the_model_lacks_is_one_clear_error(task: Task) -> None:
    with pytest.raises(ConfigError, match='claw.*leave end_effectors out'):
        hand_view(replace(task, robot=replace(task.robot, end_effectors=('claw',))))


def test_the_kinematics_travel_with_the_weights(task: Task) -> None:
    view = hand_view(task)
    actor = ResidualActor(ActorConfig(17, 3, 2, demonstrated=True, view=view.config))
    assert actor.demonstrated is not None
    actor.demonstrated.view.load_state_dict(view.state_dict())
    read, _, _ = unpack_actor(pack_actor(actor, Exploration(), 1))
    assert read.demonstrated is not None
    joints = torch.tensor([[0.3, -0.4, 0.5]])
    assert torch.equal(read.demonstrated.view.hands(joints), view.hands(joints))


@pytest.mark.parametrize('columns', [{'joints': ((3,),)}, {'joints': ((-1,),)}, {'positions': (15,)}, {'axes': (12,)}])
def test_weights_whose_view_lies_outside_of_what_there_is_are_refused(task: Task, columns: dict[str, object]) -> None:
    wrong = replace(HandView(hand_view(task).config).config)
    values = {'joints': wrong.joints, 'positions': wrong.positions, 'axes': wrong.axes} | columns
    with pytest.raises(ValueError, match='view'):
        ActorConfig(17, 3, 2, demonstrated=True, view=values)  # type: ignore[arg-type]
