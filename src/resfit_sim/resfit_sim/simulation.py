"""One simulated task: reset, 10 ms ticks, measurements, pictures, and the success oracle."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from resfit_policy.physics import mujoco
from resfit_policy.task import ConfigError, Task
from resfit_sim.model import set_joints
from resfit_sim.rendering import Camera
from resfit_sim.scene import TABLE_TOP, WALL, Layout, Lid, build_scene, layout

Array = NDArray[np.float64]

# Where every episode begins [rad]: both hands above the table, palms in, out of each other's way.
HOME = np.array(
    [-2.187, -0.289, 0.565, -2.359, 0.015, -0.2, 0.657]  # right arm
    + [2.115, 0.373, -0.733, -2.107, -0.134, 0.064, -0.804]  # left arm
    + [0.6, 0.104, 0.082, 0.075, 0.089, 0.087] * 2  # right hand, left hand
    + [0.9, 0.0, 0.0]  # head looks down at the table
)
# rad, uniform, on each joint of the right arm at reset. Not on the left one: seven numbers that differ from
# episode to episode and never change within one teach a cloned policy to tell demonstrations apart
# (42 % success instead of 98 % from 40 of them).
ARM_JITTER = 0.02
REST_SPEED = 0.05  # m/s below which an object counts as at rest


RIM_GAP = 0.005  # m between lid and rim up to which they count as touching
ASKEW = 0.35  # rad between the sides of lid and container up to which the lid counts as straight

Poses = dict[str, tuple[Array, Array]]  # name -> position (3,) m, quaternion (x, y, z, w)


class SimulationError(RuntimeError):
    """The physics has become unstable; reset before going on."""


def _turned(yaw: float) -> list[float]:
    """Quaternion (w, x, y, z) of a turn about the vertical."""
    return [np.cos(yaw / 2), 0, 0, np.sin(yaw / 2)]


def _axes(quat: Array) -> Array:
    """Rotation matrix (3, 3) of a quaternion (x, y, z, w)."""
    matrix = np.zeros(9)
    mujoco.mju_quat2Mat(matrix, np.roll(quat, 1))
    return matrix.reshape(3, 3)


@lru_cache(maxsize=8)
def _compiled(plan: Layout) -> mujoco.MjModel:
    """Models are never changed after this, so all simulations of one layout share one."""
    return build_scene(plan).compile()


class Simulation:
    """Vega at its table. Deterministic: the state after reset(seed) depends on the seed alone."""

    def __init__(self, task: Task, variant: str = 'demonstrated') -> None:
        self.task, self.variant = task, variant
        self.layout = layout(task.name, variant)
        self.model = _compiled(self.layout)
        self.data = mujoco.MjData(self.model)
        names = [self.model.actuator(i).name for i in range(self.model.nu)]
        if names != list(task.robot.names):
            raise ConfigError(f'task "{task.name}" is for other joints than the simulated Vega has: {names}')
        joints = self.model.actuator_trnid[:, 0]
        self._qpos, self._qvel = self.model.jnt_qposadr[joints], self.model.jnt_dofadr[joints]
        self._limits = task.robot.lower, task.robot.upper
        lid = ['lid'] if self.layout.lid else []
        free = {name: self.model.joint(name) for name in [self.layout.object_name, *lid]}
        self._free_qpos = {name: int(joint.qposadr[0]) for name, joint in free.items()}
        self._free_qvel = {name: int(joint.dofadr[0]) for name, joint in free.items()}
        root = self.model.body_rootid[self.model.geom_bodyid]
        self._is_robot = root == self.model.body('base').id
        self._is_free = np.isin(root, [self.model.body(name).id for name in free])
        timestep = round(self.model.opt.timestep * 1e9)  # ns
        if task.tick_ns % timestep:
            raise ConfigError(
                f'command_hz {task.command_hz:g} does not divide into physics steps of {timestep * 1e-6:g} ms: '
                'choose 200, 100 or 50 Hz for the simulation'
            )
        self._steps = task.tick_ns // timestep
        self._cameras: dict[tuple[int, int], Camera] = {}
        self.reset(0)

    @property
    def time(self) -> float:
        """Simulated seconds since reset."""
        return float(self.data.time)

    def reset(self, seed: int) -> None:
        """Start an episode: places of all objects and the right arm's start drawn from ``seed`` alone."""
        random, plan, data = np.random.default_rng(seed), self.layout, self.data
        mujoco.mj_resetData(self.model, data)
        position = [random.uniform(*plan.object_x), random.uniform(*plan.object_y), plan.rest_height]
        yaw = random.uniform(*plan.object_yaw)
        container = [random.uniform(*plan.container_x), random.uniform(*plan.container_y), TABLE_TOP]
        home = HOME.copy()
        home[:7] += random.uniform(-ARM_JITTER, ARM_JITTER, 7)
        set_joints(self.model, data, home)
        data.ctrl[:] = home
        self._place(plan.object_name, position, yaw)
        data.mocap_pos[0], data.mocap_quat[0] = container, _turned(random.uniform(*plan.container_yaw))
        if plan.lid:
            position = [random.uniform(*plan.lid.x), random.uniform(*plan.lid.y), TABLE_TOP + plan.lid.THICKNESS]
            self._place('lid', position, random.uniform(*plan.lid.yaw))
        mujoco.mj_forward(self.model, data)

    def _place(self, name: str, position: list[float], yaw: float) -> None:
        start = self._free_qpos[name]
        self.data.qpos[start : start + 7] = [*position, *_turned(yaw)]

    def apply(self, command: ArrayLike) -> None:
        """One tick (10 ms) with joint positions ``command`` (29,) rad, clipped to the limits.

        Raises ValueError on a wrong shape or a value that is not finite, SimulationError on instability.
        """
        wanted = np.asarray(command, float)
        if wanted.shape != self.data.ctrl.shape or not np.isfinite(wanted).all():
            raise ValueError(f'a command is {self.model.nu} finite joint positions [rad], got {command!r}')
        self.data.ctrl[:] = np.clip(wanted, *self._limits)
        mujoco.mj_step(self.model, self.data, self._steps)
        if self.data.warning.number.any():
            self._refuse_unstable()

    def _refuse_unstable(self) -> None:
        """MuJoCo repairs NaN by resetting itself; a silent jump would be learned from, so stop instead."""
        raised = [mujoco.mjtWarning(i).name for i, w in enumerate(self.data.warning) if w.number]
        raise SimulationError(f'unstable at {self.time:.3f} s ({", ".join(raised)}): reset the episode')

    def joint_positions(self) -> Array:
        """(29,) rad."""
        return np.array(self.data.qpos[self._qpos])

    def joint_velocities(self) -> Array:
        """(29,) rad/s."""
        return np.array(self.data.qvel[self._qvel])

    def joint_efforts(self) -> Array:
        """(29,) N m, what the actuators exert."""
        return np.array(self.data.actuator_force)

    def object_poses(self) -> Poses:
        """Position (3,) m and quaternion (x, y, z, w) of object, container and lid in the world frame."""
        poses = {self.layout.container: (self.data.mocap_pos[0].copy(), np.roll(self.data.mocap_quat[0], -1))}
        for name, start in self._free_qpos.items():
            position, quat = np.split(self.data.qpos[start : start + 7], [3])
            poses[name] = position.copy(), np.roll(quat, -1)
        return poses

    def state(self) -> NDArray[np.float32]:
        """(S,) float32: joint positions, then per object of the task its position, and if the task asks for
        the full pose the first two columns of its rotation matrix."""
        parts, poses = [self.joint_positions()], self.object_poses()
        for item in self.task.objects:
            position, quat = poses[item.name]
            parts.append(position)
            if item.pose == 'full':
                parts.extend(_axes(quat).T[:2])
        return np.concatenate(parts).astype(np.float32)

    def show(self, state: ArrayLike) -> None:
        """Put robot and objects where a recorded ``state`` (S,) has them, for pictures: nothing moves on from there.

        Of an object whose position alone is in the state, the orientation stays as it is.
        """
        numbers, at = np.asarray(state, float), self.task.action_size
        set_joints(self.model, self.data, numbers[:at])
        for item in self.task.objects:
            pose, at = numbers[at : at + item.size], at + item.size
            quat = np.zeros(4)
            if item.pose == 'full':
                first, second = pose[3:6], pose[6:9]
                mujoco.mju_mat2Quat(quat, np.stack([first, second, np.cross(first, second)], axis=1).ravel())
            if item.name == self.layout.container:
                place, turn = self.data.mocap_pos[0], self.data.mocap_quat[0]
            else:
                place, turn = np.split(self.data.qpos[self._free_qpos[item.name] :][:7], [3])
            place[:] = pose[:3]
            if quat.any():
                turn[:] = quat
        mujoco.mj_forward(self.model, self.data)

    def touched_by_robot(self) -> bool:
        """Some part of the robot is in contact with the object or the lid."""
        pairs = self.data.contact.geom
        mine = self._is_free[pairs].any(axis=1)
        return bool(self._is_robot[pairs[mine]].any())

    def success(self) -> bool:
        """The object lies inside the container, the lid, if there is one, on it; all at rest, and let go of."""
        poses = self.object_poses()
        inside = self._inside(poses) and (self.layout.lid is None or self._covered(poses, self.layout.lid))
        speeds = [np.linalg.norm(self.data.qvel[start : start + 3]) for start in self._free_qvel.values()]
        return inside and bool(max(speeds) < REST_SPEED) and not self.touched_by_robot()

    def _inside(self, poses: Poses) -> bool:
        """The object's centre is between the container's walls."""
        container, quat = poses[self.layout.container]
        x, y, z = np.abs(_axes(quat).T @ (poses[self.layout.object_name][0] - container))
        length, width, height = self.layout.container_size
        return bool(x < length and y < width and z < 2 * height)

    def _covered(self, poses: Poses, lid: Lid) -> bool:
        """The container's opening lies wholly under the lid's plate, and against it, and the lid is on straight."""
        (container, quat), (centre, turned) = poses[self.layout.container], poses['lid']
        length, width, height = self.layout.container_size - np.array([WALL, WALL, 0])
        corners = np.array([(x, y, 2 * height) for x in (-length, length) for y in (-width, width)])
        seen = (container + corners @ _axes(quat).T - centre) @ _axes(turned)  # from the lid
        under = (np.abs(seen[:, :2]) < lid.half).all() and (np.abs(seen[:, 2] + lid.THICKNESS) < RIM_GAP).all()
        side = _axes(turned).T @ _axes(quat)[:, 0]  # either side of the square will do
        return bool(under and np.abs(side).max() > np.cos(ASKEW))

    def render(self, camera: str, height: int, width: int) -> NDArray[np.uint8]:
        """(H, W, 3) uint8 RGB. The overview is drawn finely, the head cameras fast.

        Raises RenderError where neither EGL nor OSMesa works.
        """
        size = height, width
        if size not in self._cameras:
            self._cameras[size] = Camera(self.model, height, width)
        return self._cameras[size].render(self.data, camera, fine=camera == 'overview')

    def close(self) -> None:
        """Free the renderers."""
        for camera in self._cameras.values():
            camera.close()
        self._cameras.clear()
