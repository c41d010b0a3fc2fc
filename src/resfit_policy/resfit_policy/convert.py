"""Messages to core types and back; duck-typed, so that rclpy's and a bag reader's messages both fit."""

from __future__ import annotations

import array
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from resfit_policy.episode_log import Arm, Episode, Flag, Phase, StepRecord, build_episode
from resfit_policy.labels import Label
from resfit_policy.observation import NO_IMAGES, Float

try:
    from cv_bridge import CvBridge
except ImportError:  # the ROS wheels have none
    CvBridge = None

# Encoding of an image: its channels, and OpenCV's conversion to RGB.
ENCODINGS = {'rgb8': (3, None), 'bgr8': (3, cv2.COLOR_BGR2RGB), 'mono8': (1, cv2.COLOR_GRAY2RGB)}


def stamp_ns(stamp: Any) -> int:
    """builtin_interfaces/Time -> ns."""
    return int(stamp.sec) * 1_000_000_000 + int(stamp.nanosec)


def set_stamp(stamp: Any, nanoseconds: int) -> None:
    """Write ns into a builtin_interfaces/Time."""
    stamp.sec, stamp.nanosec = divmod(nanoseconds, 1_000_000_000)


def floats(values: Any) -> Float:
    """A float32[] field as an array; float32 already in either kind of message, so no value changes."""
    return np.array(values, np.float32)


def to_array(values: NDArray[Any], code: str = 'f') -> array.array[Any]:
    """A bulk field's value: rclpy copies an ``array.array`` a hundred times faster than a list or an ndarray."""
    out = array.array(code)
    out.frombytes(np.ascontiguousarray(values).tobytes())
    return out


def image_to_rgb(message: Any, size: int) -> NDArray[np.uint8]:
    """sensor_msgs/Image -> (size, size, 3) uint8 RGB, by cv_bridge where it is installed.

    Raises ValueError for another encoding than those of ENCODINGS, or a wrong data length.
    """
    channels = check_image(message)
    if CvBridge is None or message.step % channels:  # cv_bridge takes every row for whole pixels
        image: NDArray[Any] = unpack_image(message)
    else:
        image = CvBridge().imgmsg_to_cv2(message, 'rgb8')
    if image.shape[:2] != (size, size):
        image = cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA)
    return np.ascontiguousarray(image, np.uint8)


def image_to_jpeg(message: Any, width: int, quality: int = 80) -> bytes:
    """sensor_msgs/Image -> JPEG of at most ``width`` pixels. Raises ValueError as ``image_to_rgb`` does."""
    check_image(message)
    image = cv2.cvtColor(unpack_image(message), cv2.COLOR_RGB2BGR)
    if message.width > width:
        height = max(1, round(message.height * width / message.width))
        image = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    return bytes(cv2.imencode('.jpg', image, (cv2.IMWRITE_JPEG_QUALITY, quality))[1])


def check_image(message: Any) -> int:
    """Channels of an image. Raises ValueError for an encoding that is not in ENCODINGS, or a wrong data length."""
    if message.encoding not in ENCODINGS:
        raise ValueError(f'image encoding "{message.encoding}" is not one of {", ".join(ENCODINGS)}')
    channels = ENCODINGS[message.encoding][0]
    size = len(message.data)
    if not size or size != message.height * message.step or message.step < message.width * channels:
        raise ValueError(f'image of {message.width} x {message.height} has {size} bytes')
    return channels


def unpack_image(message: Any) -> NDArray[np.uint8]:
    """What cv_bridge makes of a whole image message, byte by byte, without it: (H, W, 3) uint8 RGB."""
    channels, code = ENCODINGS[message.encoding]
    rows = np.frombuffer(message.data, np.uint8).reshape(message.height, message.step)[:, : message.width * channels]
    image = rows.reshape(message.height, message.width, channels)
    return image if code is None else np.asarray(cv2.cvtColor(image, code), np.uint8)


def fill_step(message: Any, episode_id: int, record: StepRecord, ages: list[float]) -> Any:
    """Write a StepRecord into a PolicyStep message and return it."""
    set_stamp(message.header.stamp, record.stamp)
    message.episode_id, message.step = episode_id, record.step
    message.state = to_array(record.state)
    if len(record.images):
        message.images = to_array(record.images, 'B')
        message.image_height, message.image_width = record.images.shape[1:3]
    message.features = to_array(record.features)
    message.base_action = to_array(record.base_action)
    message.residual = to_array(record.residual)
    message.executed_action = to_array(record.executed_action)
    message.authority = float(record.authority)
    message.weights_version = record.weights_version
    message.flags = int(record.flags)
    message.ages = array.array('f', ages)
    message.compute_ms = float(record.compute_ms)
    message.chunk_age = record.chunk_age
    return message


def read_poses(message: Any) -> list[tuple[float, ...]]:
    """Read a PoseArray: position [m] and quaternion (x, y, z, w) of each pose."""
    places = ((pose.position, pose.orientation) for pose in message.poses)
    return [(p.x, p.y, p.z, q.x, q.y, q.z, q.w) for p, q in places]


def fill_reward(message: Any, label: Label) -> Any:
    """Write a label into a Reward message and return it."""
    message.episode_id, message.step, message.success = label.episode_id, label.step, label.success
    message.source, message.confidence, message.revision = int(label.source), label.confidence, label.revision
    message.operator_name = label.operator
    set_stamp(message.header.stamp, label.stamp)
    return message


def read_step(message: Any) -> StepRecord:
    """Read a PolicyStep message."""
    images = NO_IMAGES
    if len(message.images):
        images = np.array(message.images, np.uint8).reshape(-1, message.image_height, message.image_width, 3)
    return StepRecord(
        stamp=stamp_ns(message.header.stamp),
        step=int(message.step),
        state=floats(message.state),
        base_action=floats(message.base_action),
        residual=floats(message.residual),
        executed_action=floats(message.executed_action),
        authority=float(message.authority),
        weights_version=int(message.weights_version),
        flags=Flag(int(message.flags)),
        images=images,
        features=floats(message.features),
        compute_ms=float(message.compute_ms),
        chunk_age=int(message.chunk_age),
    )


def read_episode_messages(closing: Any, reward: Any, steps: list[Any]) -> Episode:
    """An Episode from its closing EpisodeState, its newest Reward and its PolicySteps.

    The one way from messages to learning data: live records and bags both pass here.
    Raises ValueError where steps are missing.
    """
    outcome = Phase(int(closing.phase))
    episode = build_episode(
        [read_step(item) for item in steps if int(item.episode_id) == int(closing.episode_id)],
        episode_id=int(closing.episode_id),
        task=str(closing.task),
        seed=int(closing.seed),
        arm=Arm(int(closing.arm)),
        outcome=outcome,
        success=outcome == Phase.SUCCESS,
        last_step=int(closing.step) - 1,
        joints=tuple(str(name) for name in closing.joints),
    )
    return episode if outcome == Phase.ABORTED else episode.relabelled(bool(reward.success))
