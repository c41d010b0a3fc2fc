"""The newest message of every stream, with an age limit (design section 2.1). Never a made-up value."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from resfit_policy.observation import NO_IMAGES, Float, Observation
from resfit_policy.task import Task


class NotReady(Exception):
    """Nothing can be done in this control step now; the text names the stream, or the base, and what is wrong."""


def match_joints(wanted: Sequence[str], names: Sequence[str], values: ArrayLike, finite: bool = True) -> Float:
    """Values of the joints ``wanted``, matched by name, (A,) float32. Raises NotReady.

    ``names`` may be in any order and hold further joints; values may lack trailing ones (mimic joints), and must be
    ``finite`` unless the caller can do without.
    """
    array = np.asarray(values, np.float64)
    places = {name: place for place, name in enumerate(names)}
    missing = [name for name in wanted if places.get(name, len(array)) >= len(array)]
    if missing:
        raise NotReady(f'no value for {", ".join(missing[:3])}{" ..." if len(missing) > 3 else ""}')
    picked = array[[places[name] for name in wanted]].astype(np.float32)
    if finite and not np.isfinite(picked).all():
        raise NotReady('a value is not finite')
    return picked


def pose_features(pose: ArrayLike, full: bool) -> Float:
    """Position (3,) m, and, when ``full``, the first two columns of the rotation matrix.

    ``pose``: (7,) x, y, z [m], unit quaternion x, y, z, w.
    """
    x, y, z, i, j, k, r = np.asarray(pose, np.float64)
    if not full:
        return np.array([x, y, z], np.float32)
    first = [1 - 2 * (j * j + k * k), 2 * (i * j + k * r), 2 * (i * k - j * r)]
    second = [2 * (i * j - k * r), 1 - 2 * (i * i + k * k), 2 * (j * k + i * r)]
    return np.array([x, y, z, *first, *second], np.float32)


class Sampler:
    """Keeps the newest sample per stream and makes observations of them.

    ``max_age``: ns by which a stream may be older than the joint states; 0 asks for the same stamp.
    """

    def __init__(self, task: Task, max_age: int, vision: bool = False) -> None:
        self.task = task
        self.max_age = max_age
        self.vision = vision
        self.stamp = -1  # ns, of the newest joint states
        self.joints: Float = np.zeros(0, np.float32)
        self._objects: tuple[int, NDArray[np.float64]] | None = None
        self._images: dict[str, tuple[int, NDArray[np.uint8]]] = {}
        self._refused: dict[str, str] = {}  # why the newest image of a camera could not be used

    def put_joints(self, stamp: int, names: Sequence[str], positions: ArrayLike) -> None:
        """Take joint states. Raises NotReady, and keeps the old ones, when they cannot be used."""
        joints = match_joints(self.task.robot.names, names, positions)
        if stamp < self.stamp:  # the clock went back: a restarted simulation, a bag played again
            self._objects = None
            self._images.clear()
        self.joints, self.stamp = joints, stamp

    def put_objects(self, stamp: int, poses: ArrayLike) -> None:
        """Take object poses: (N, 7) in the task's order."""
        self._objects = (stamp, np.asarray(poses, np.float64).reshape(-1, 7))

    def put_image(self, camera: str, stamp: int, image: NDArray[np.uint8]) -> None:
        """Take an image (H, W, 3) RGB of one of the task's cameras."""
        self._images[camera] = (stamp, image)
        self._refused.pop(camera, None)

    def refuse_image(self, camera: str, why: str) -> None:
        """An image came that cannot be used; the last good one serves as long as it is fresh."""
        self._refused[camera] = why

    def sample(self) -> tuple[Observation, list[float]]:
        """Observation at ``stamp`` and the age of each stream behind it in s. Raises NotReady."""
        if self.stamp < 0:
            raise NotReady('no joint_states yet')
        parts, ages = [self.joints], [0.0]
        if self.task.objects:
            poses = self._fresh('object_poses', self._objects, ages)
            if len(poses) != len(self.task.objects) or not np.isfinite(poses).all():
                raise NotReady(f'object_poses: expected {len(self.task.objects)} finite poses, got {len(poses)}')
            parts += [
                pose_features(pose, item.pose == 'full') for pose, item in zip(poses, self.task.objects, strict=True)
            ]
        images = NO_IMAGES
        if self.vision:
            size = (self.task.image_size, self.task.image_size, 3)
            shots = [self._shot(name, ages) for name in self.task.cameras]
            for name, shot in zip(self.task.cameras, shots, strict=True):
                if shot.shape != size:
                    raise NotReady(f'{name}/image: expected {size}, got {shot.shape}')
            images = np.stack(shots)
        return Observation(np.concatenate(parts), images), ages

    def _shot(self, camera: str, ages: list[float]) -> NDArray[np.uint8]:
        try:
            return self._fresh(f'{camera}/image', self._images.get(camera), ages)
        except NotReady as problem:
            why = self._refused.get(camera)
            raise NotReady(f'{problem}; the newest was refused: {why}' if why else str(problem)) from None

    def _fresh(self, name: str, item: tuple[int, NDArray[Any]] | None, ages: list[float]) -> NDArray[Any]:
        if item is None:
            raise NotReady(f'no {name} yet')
        age = self.stamp - item[0]
        if age > self.max_age:
            raise NotReady(f'{name} is {age * 1e-9:.3f} s older than joint_states')
        ages.append(max(age, 0) * 1e-9)
        return item[1]
