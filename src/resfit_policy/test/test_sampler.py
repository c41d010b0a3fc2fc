"""Observations: fresh, complete, matched by name, or none at all."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from resfit_policy.convert import image_to_rgb, unpack_image
from resfit_policy.pacing import Pacer
from resfit_policy.sampler import NotReady, Sampler, pose_features
from resfit_policy.task import load_task

TASK = load_task('woolly_ball')
NAMES = list(TASK.robot.names)
JOINTS = np.linspace(-1, 1, 29)
POSES = np.array([[0.1, 0.2, 0.3, 0, 0, 0, 1], [0.4, 0.5, 0.6, 0, 0, 0, 1]])


def filled(max_age: int = 0) -> Sampler:
    sampler = Sampler(TASK, max_age)
    sampler.put_joints(100, NAMES, JOINTS)
    sampler.put_objects(100, POSES)
    return sampler


def test_the_state_is_joints_by_name_then_objects() -> None:
    sampler = filled()
    order = np.random.default_rng(0).permutation(29)
    sampler.put_joints(100, [NAMES[i] for i in order] + ['R_ff_j2'], JOINTS[order])
    observation, ages = sampler.sample()
    expected = np.concatenate([JOINTS, POSES[0, :3], POSES[1, :3]]).astype(np.float32)
    np.testing.assert_array_equal(observation.state, expected)
    assert observation.state.dtype == np.float32 and ages == [0.0, 0.0]


def test_a_missing_or_old_stream_gives_no_observation() -> None:
    empty = Sampler(TASK, 0)
    with pytest.raises(NotReady, match='joint_states'):
        empty.sample()
    empty.put_joints(100, NAMES, JOINTS)
    with pytest.raises(NotReady, match='object_poses'):
        empty.sample()
    sampler = filled(max_age=20)
    sampler.put_joints(120, NAMES, JOINTS)
    assert sampler.sample()[1] == [0.0, 20e-9]
    sampler.put_joints(121, NAMES, JOINTS)
    with pytest.raises(NotReady, match='older'):
        sampler.sample()


@pytest.mark.parametrize(
    ('names', 'values'),
    [(NAMES[1:], JOINTS[1:]), (NAMES, JOINTS[:-1]), (NAMES, np.where(np.arange(29) == 3, np.nan, JOINTS))],
)
def test_unusable_joint_states_are_refused_and_the_old_stay(names: list[str], values: np.ndarray) -> None:
    sampler = filled()
    with pytest.raises(NotReady):
        sampler.put_joints(200, names, values)
    assert sampler.stamp == 100


def test_object_poses_of_the_wrong_number_or_not_finite_are_refused() -> None:
    for poses in (POSES[:1], np.full_like(POSES, np.nan)):
        sampler = filled()
        sampler.put_objects(100, poses)
        with pytest.raises(NotReady, match='object_poses'):
            sampler.sample()


def test_images_are_part_of_the_observation_in_the_tasks_order() -> None:
    sampler = Sampler(TASK, 0, vision=True)
    sampler.put_joints(100, NAMES, JOINTS)
    sampler.put_objects(100, POSES)
    for value, camera in enumerate(TASK.cameras):
        sampler.put_image(camera, 100, np.full((84, 84, 3), value, np.uint8))
    images = sampler.sample()[0].images
    assert images.shape == (2, 84, 84, 3) and [int(image[0, 0, 0]) for image in images] == [0, 1]
    sampler.put_image(TASK.cameras[1], 100, np.zeros((10, 84, 3), np.uint8))
    with pytest.raises(NotReady, match=TASK.cameras[1]):
        sampler.sample()


def test_full_poses_are_rotation_columns() -> None:
    half = np.sqrt(0.5)
    features = pose_features([1, 2, 3, 0, 0, half, half], full=True)  # a quarter turn about z
    np.testing.assert_allclose(features, [1, 2, 3, 0, 1, 0, -1, 0, 0], atol=1e-6)


def image(encoding: str, pixels: np.ndarray, padding: int = 0) -> SimpleNamespace:
    height, width = pixels.shape[:2]
    rows = pixels.reshape(height, -1)
    data = np.pad(rows, ((0, 0), (0, padding))).tobytes()
    step = rows.shape[1] + padding
    return SimpleNamespace(encoding=encoding, height=height, width=width, step=step, data=data, is_bigendian=0)


def test_images_convert_whatever_their_encoding_and_row_padding() -> None:
    rgb = np.random.default_rng(0).integers(0, 255, (84, 84, 3), np.uint8)
    for message in (image('rgb8', rgb), image('bgr8', rgb[..., ::-1]), image('rgb8', rgb, padding=5)):
        np.testing.assert_array_equal(image_to_rgb(message, 84), rgb)
    assert image_to_rgb(image('rgb8', np.zeros((480, 640, 3), np.uint8)), 84).shape == (84, 84, 3)
    with pytest.raises(ValueError, match='16UC1'):
        image_to_rgb(image('16UC1', rgb), 84)
    broken = image('rgb8', rgb)
    broken.data = broken.data[:-1]
    with pytest.raises(ValueError, match='bytes'):
        image_to_rgb(broken, 84)


@pytest.mark.parametrize('encoding', ['rgb8', 'bgr8', 'mono8'])
@pytest.mark.parametrize('padding', [0, 6])
def test_images_are_to_the_byte_what_cv_bridge_gives(encoding: str, padding: int) -> None:
    bridge = pytest.importorskip('cv_bridge', reason='cv_bridge is not part of the ROS wheels').CvBridge()
    shape = (48, 64) if encoding == 'mono8' else (48, 64, 3)
    message = image(encoding, np.random.default_rng(1).integers(0, 255, shape, np.uint8), padding)
    np.testing.assert_array_equal(unpack_image(message), bridge.imgmsg_to_cv2(message, 'rgb8'))


def test_steps_fall_on_the_grid_of_the_first_stamp_and_end_at_the_horizon() -> None:
    pacer = Pacer(50, 10, 3)
    assert not pacer.due(0)
    pacer.start(100)
    taken = []
    for stamp in range(90, 400, 10):
        if pacer.due(stamp):
            taken.append((stamp, pacer.final))
            pacer.done(stamp)
    assert taken == [(100, False), (150, False), (200, False), (250, True)]


def test_missed_steps_are_not_made_up_for() -> None:
    pacer = Pacer(50, 10, 100)
    pacer.start(0)
    pacer.done(0)
    assert pacer.due(220)
    pacer.done(220)
    assert not pacer.due(250) and pacer.due(260)


def test_however_late_joint_states_come_steps_are_never_bunched_and_return_to_the_grid() -> None:
    random = np.random.default_rng(3)
    pacer = Pacer(50, 10, 10_000)
    pacer.start(0)
    stamps, heard = [], [stamp for stamp in range(0, 20_000, 10) if stamp > 15_000 or random.random() < 0.3]
    for stamp in heard:
        if pacer.due(stamp):
            stamps.append(stamp)
            pacer.done(stamp)
    assert np.diff(stamps).min() == 40
    assert stamps[-50:] == list(range(17_500, 20_000, 50))


def test_a_late_first_step_is_taken_but_an_episode_found_under_way_is_left_alone() -> None:
    pacer = Pacer(50, 10, 100)
    pacer.start(0)
    assert pacer.due(1000)
    pacer.start(0, patience=100)
    assert not pacer.due(110) and not pacer.running
    pacer.start(0, patience=100)
    assert pacer.due(90) and pacer.due(500)  # there in time, and kept waiting since
    pacer.start(0, patience=0)  # lockstep
    assert pacer.due(0)
    pacer.done(0)
    assert pacer.due(50)
