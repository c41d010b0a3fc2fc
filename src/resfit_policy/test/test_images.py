"""Camera images become the policy's pixels, with cv_bridge and without."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from resfit_policy.convert import BULK, check_image, decode, image_to_rgb


def image(encoding: str, height: int = 6, width: int = 5, padding: int = 3) -> Any:
    channels = BULK[encoding][0]
    step = width * channels + padding
    data = np.random.default_rng(0).integers(0, 256, height * step, np.uint8).tobytes()
    return SimpleNamespace(encoding=encoding, height=height, width=width, step=step, data=data, is_bigendian=0)


def test_colours_end_up_as_rgb_and_padding_is_left_out() -> None:
    rgb = decode(image('rgb8'))
    assert rgb.shape == (6, 5, 3)
    assert np.array_equal(decode(image('bgr8'))[..., ::-1], rgb)
    grey = decode(image('mono8'))
    assert (grey[..., 0] == grey[..., 1]).all() and (grey[..., 0] == grey[..., 2]).all()


def test_any_size_becomes_the_policys() -> None:
    pixels = image_to_rgb(image('rgb8', 48, 64), 16)
    assert pixels.shape == (16, 16, 3) and pixels.dtype == np.uint8 and pixels.flags['C_CONTIGUOUS']


def test_an_image_that_is_not_whole_is_refused() -> None:
    short = image('rgb8')
    short.data = short.data[:-1]
    with pytest.raises(ValueError, match='bytes'):
        check_image(short)
    strange = image('rgb8')
    strange.encoding = '32FC1'
    with pytest.raises(ValueError, match='encoding'):
        image_to_rgb(strange, 16)


@pytest.mark.parametrize('encoding', sorted(BULK))
def test_cv_bridge_gives_the_same_bytes(encoding: str) -> None:
    bridge = pytest.importorskip('cv_bridge', reason='cv_bridge comes with ROS from apt, not with the wheels')
    sensor_msgs = pytest.importorskip('sensor_msgs.msg')
    plain = image(encoding)
    message = sensor_msgs.Image(encoding=encoding, height=6, width=5, step=plain.step, data=plain.data)
    assert bridge.CvBridge().imgmsg_to_cv2(message, 'rgb8').tobytes() == decode(plain).tobytes()
