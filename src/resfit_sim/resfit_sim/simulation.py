"""One simulated task: reset, 10 ms ticks, measurements, pictures, and the success oracle."""

from __future__ import annotations

from functools import lru_cache

import mujoco
import numpy as np
from numpy.typing import ArrayLike, NDArray

from resfit_policy.task import ConfigError, Task
from resfit_sim.model import set_joints
from resfit_sim.rendering import Camera
from resfit_sim.scene import TABLE_TOP, Layout, build_scene, layout

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
REST_SPEED = 0.05  # m/s below which an object in the tote counts as at rest


class SimulationError(RuntimeError):
    """The physics has become unstable; reset before going on."""


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
        free = self.model.joint(self.layout.object_name)
        self._object_qpos, self._object_qvel = int(free.qposadr[0]), int(free.dofadr[0])
        self._object_geom = self.model.geom(self.layout.object_name).id
        robot = self.model.body('base').id
        self._is_robot = self.model.body_rootid[self.model.geom_bodyid] == robot
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
        """Start an episode: object, tote and the right arm's start drawn from ``seed`` alone."""
        random, plan, data = np.random.default_rng(seed), self.layout, self.data
        mujoco.mj_resetData(self.model, data)
        position = [random.uniform(*plan.object_x), random.uniform(*plan.object_y), plan.rest_height]
        yaw = random.uniform(*plan.object_yaw)
        tote = [random.uniform(*plan.tote_x), random.uniform(*plan.tote_y), TABLE_TOP]
        home = HOME.copy()
        home[:7] += random.uniform(-ARM_JITTER, ARM_JITTER, 7)
        set_joints(self.model, data, home)
        data.ctrl[:] = home
        start = self._object_qpos
        data.qpos[start : start + 7] = [*position, np.cos(yaw / 2), 0, 0, np.sin(yaw / 2)]
        data.mocap_pos[0] = tote
        mujoco.mj_forward(self.model, data)

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

    def object_poses(self) -> dict[str, tuple[Array, Array]]:
        """Position (3,) m and quaternion (x, y, z, w) of object and tote in the world frame."""
        start = self._object_qpos
        quat = self.data.qpos[start + 3 : start + 7]
        return {
            self.layout.object_name: (self.data.qpos[start : start + 3].copy(), np.roll(quat, -1)),
            'tote': (self.data.mocap_pos[0].copy(), np.roll(self.data.mocap_quat[0], -1)),
        }

    def state(self) -> NDArray[np.float32]:
        """(S,) float32: joint positions, then per object of the task its position, and if the task asks for
        the full pose the first two columns of its rotation matrix."""
        parts, poses = [self.joint_positions()], self.object_poses()
        for item in self.task.objects:
            position, quat = poses[item.name]
            parts.append(position)
            if item.pose == 'full':
                matrix = np.zeros(9)
                mujoco.mju_quat2Mat(matrix, np.roll(quat, 1))
                parts.extend(matrix.reshape(3, 3).T[:2])
        return np.concatenate(parts).astype(np.float32)

    def touched_by_robot(self) -> bool:
        """Some part of the robot is in contact with the object."""
        pairs = self.data.contact.geom
        mine = (pairs == self._object_geom).any(axis=1)
        return bool(self._is_robot[pairs[mine]].any())

    def success(self) -> bool:
        """The object lies at rest inside the tote, and the robot has let go of it."""
        start = self._object_qpos
        centre = self.data.qpos[start : start + 3] - self.data.mocap_pos[0]
        inside = bool((np.abs(centre[:2]) < self.layout.tote_size[:2]).all())
        inside = inside and bool(centre[2] < 2 * self.layout.tote_size[2])
        speed = np.linalg.norm(self.data.qvel[self._object_qvel : self._object_qvel + 3])
        return inside and bool(speed < REST_SPEED) and not self.touched_by_robot()

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
