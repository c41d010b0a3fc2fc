"""A camera that is missing, speaks another encoding or stops: the policy does not act and says why, then goes on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from sensor_msgs.msg import Image
from test_policy_node import TASK, Robot
from test_remote_base import START, graph, see_until_said

from resfit_policy.convert import set_stamp, to_array
from resfit_policy.ros import SENSOR


def test_no_action_without_every_camera_as_it_should_be(tmp_path: Path) -> None:
    with graph(tmp_path, 'toy_bases:Hold', vision=True, max_age=0.1) as robot:
        cameras = {name: robot.probe.node.create_publisher(Image, f'{name}/image', SENSOR) for name in TASK.cameras}
        robot.probe.until(lambda: all(item.get_subscription_count() for item in cameras.values()))
        shown: dict[str, str] = {}  # encoding of each camera that is there

        def see(robot: Any, stamp: int) -> None:
            for name, encoding in shown.items():
                image = Image(height=48, width=64, encoding=encoding, step=64 * 3)
                image.data = to_array(np.full(48 * 64 * 3, 7, np.uint8), 'B')
                set_stamp(image.header.stamp, stamp)
                cameras[name].publish(image)
            Robot.see(robot, stamp)

        robot.see = lambda stamp: see(robot, stamp)  # type: ignore[method-assign, assignment, misc]
        robot.begin(1, START)
        see_until_said(robot, START, 'no action: no head_left/image yet')
        shown['head_left'] = 'rgb8'
        see_until_said(robot, START, 'no action: no head_right/image yet')
        shown['head_right'] = '16UC1'
        see_until_said(robot, START, 'head_right/image yet; the newest was refused: image encoding "16UC1"')
        assert not robot.steps and not robot.targets
        shown['head_right'] = 'bgr8'
        robot.probe.until(lambda: (robot.see(START), robot.probe.spin(0.1), robot.steps)[-1], 10.0, 'a step')
        del shown['head_right']
        robot.why.clear()  # type: ignore[attr-defined]
        see_until_said(robot, START + 10 * TASK.period_ns, 'no action: head_right/image is 0.500 s older')
        assert len(robot.steps) == 1
