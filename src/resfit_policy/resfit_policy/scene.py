"""What the policy node sees beside the joints: objects and cameras, into the sampler."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

from geometry_msgs.msg import PoseArray
from rclpy.node import Node
from sensor_msgs.msg import Image

from resfit_policy.convert import image_to_rgb, read_poses, stamp_ns
from resfit_policy.health import Health
from resfit_policy.ros import SENSOR
from resfit_policy.sampler import Sampler
from resfit_policy.task import Task


class Scene:
    """The policy node's streams of objects and of cameras; with each message a step may have become due."""

    def __init__(
        self, node: Node, task: Task, vision: bool, sampler: Sampler, health: Health, step: Callable[[float], None]
    ) -> None:
        """``step`` is called with the time at which a message came [s of ``perf_counter``]."""
        self.size, self.sampler, self.health, self.step = task.image_size, sampler, health, step
        if task.objects:
            node.create_subscription(PoseArray, 'object_poses', self.on_objects, SENSOR)
        for camera in task.cameras if vision else ():
            node.create_subscription(Image, f'{camera}/image', partial(self.on_image, camera), SENSOR)

    def on_objects(self, message: PoseArray) -> None:
        """Take the objects' poses."""
        started = time.perf_counter()
        self.health.saw('object_poses')
        self.sampler.put_objects(stamp_ns(message.header.stamp), read_poses(message))
        self.step(started)

    def on_image(self, camera: str, message: Image) -> None:
        """Take one camera's image."""
        started = time.perf_counter()
        self.health.saw(f'{camera}/image')
        try:
            image = image_to_rgb(message, self.size)
        except ValueError as error:
            self.sampler.refuse_image(camera, str(error))
            return
        self.sampler.put_image(camera, stamp_ns(message.header.stamp), image)
        self.step(started)
