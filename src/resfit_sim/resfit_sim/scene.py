"""The tasks' scenes: robot, table, object, the container it goes into, room, lights and cameras.

A variant names the object: 'demonstrated' is the one in the demonstrations, 'unseen' another size, on which
a policy cloned from the demonstrations is weak (paper section IV-B: one small ball was hardest).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from resfit_policy.physics import mujoco
from resfit_policy.task import ConfigError
from resfit_sim import looks
from resfit_sim.model import COLLISION, build_robot

Array = NDArray[np.float64]
Box, Mesh = mujoco.mjtGeom.mjGEOM_BOX, mujoco.mjtGeom.mjGEOM_MESH

TABLE_TOP = 0.92  # m above the floor
TIMESTEP = 0.005  # s; 1 to 5 ms give the same success, and 2 ms takes twice as long
VARIANTS = ('demonstrated', 'unseen')
WALL = 0.006  # m, half the thickness of the container's walls

# A package bends as a row of segments. Held by one end, it sags by some 20 degrees from end to end.
SEGMENTS = 5
STIFFNESS = 0.06  # N m/rad, of the spring between two segments
RELAXATION = 0.05  # s in which a bend relaxes


@dataclass(frozen=True)
class Lid:
    """A square plate with a round knob, for the container. Its pose is that of the plate's centre. m, rad and kg."""

    half: float  # half the side of the plate
    knob: float  # radius
    mass: float
    x: tuple[float, float]
    y: tuple[float, float]
    yaw: tuple[float, float]

    THICKNESS: ClassVar[float] = 0.004  # half of the plate's, m
    UPRIGHT: ClassVar[float] = 0.012  # half of the knob's straight part, m


@dataclass(frozen=True)
class Layout:
    """Where a task's object, container and lid may start, and how large they are. Ranges are uniform; m, rad."""

    object_name: str
    shape: Literal['ball', 'package', 'block']
    size: tuple[float, ...]  # radius, or the three half sizes
    mass: float  # kg
    object_x: tuple[float, float]
    object_y: tuple[float, float]
    object_yaw: tuple[float, float]
    container_size: tuple[float, float, float]  # half length, half width, half height
    container_x: tuple[float, float]
    container_y: tuple[float, float]
    container_yaw: tuple[float, float] = (0.0, 0.0)
    container: str = 'tote'  # its name
    lid: Lid | None = None

    @property
    def rest_height(self) -> float:
        """Height of the object's centre when it lies on the table, m."""
        return TABLE_TOP + self.size[-1]


_SIZES: dict[str, dict[str, tuple[tuple[float, ...], float]]] = {
    'woolly_ball': {'demonstrated': ((0.033,), 0.030), 'unseen': ((0.028,), 0.021)},
    'package_handover': {
        'demonstrated': ((0.022, 0.130, 0.026), 0.080),
        'unseen': ((0.022, 0.130, 0.020), 0.070),
    },
    'box_cleanup': {
        'demonstrated': ((0.028, 0.028, 0.034), 0.040),
        'unseen': ((0.024, 0.024, 0.030), 0.030),
    },
}


def layout(task_name: str, variant: str) -> Layout:
    """The layout of one task and variant. Raises ConfigError that lists what there is."""
    if task_name not in _SIZES:
        raise ConfigError(f'no simulated scene for task "{task_name}": there are {", ".join(_SIZES)}')
    if variant not in VARIANTS:
        raise ConfigError(f'no variant "{variant}": choose one of {", ".join(VARIANTS)}')
    size, mass = _SIZES[task_name][variant]
    if task_name == 'woolly_ball':
        return Layout(
            object_name='ball', shape='ball', size=size, mass=mass,
            object_x=(0.28, 0.42), object_y=(-0.30, -0.12), object_yaw=(0.0, 0.0),
            container_size=(0.09, 0.09, 0.04), container_x=(0.30, 0.38), container_y=(0.06, 0.16),
        )  # fmt: skip
    if task_name == 'box_cleanup':
        knob = {'demonstrated': 0.025, 'unseen': 0.024}[variant]
        return Layout(
            object_name='block', shape='block', size=size, mass=mass,
            object_x=(0.29, 0.39), object_y=(-0.31, -0.21), object_yaw=(-0.3, 0.3),
            container='box', container_size=(0.08, 0.08, 0.04),
            container_x=(0.33, 0.37), container_y=(-0.03, 0.01), container_yaw=(-0.15, 0.15),
            lid=Lid(half=0.105, knob=knob, mass=0.080, x=(0.30, 0.36), y=(0.26, 0.32), yaw=(-0.2, 0.2)),
        )  # fmt: skip
    return Layout(
        object_name='package', shape='package', size=size, mass=mass,
        object_x=(0.28, 0.40), object_y=(-0.28, -0.16), object_yaw=(-0.6, 0.6),
        container_size=(0.10, 0.18, 0.04), container_x=(0.30, 0.38), container_y=(0.30, 0.36),
    )  # fmt: skip


def build_scene(plan: Layout) -> mujoco.MjSpec:
    """Robot and scene, ready to compile. The container is a mocap body: placed at reset, moved by nothing."""
    spec = build_robot()
    option = spec.option
    option.timestep = TIMESTEP
    # The fast integrator leaves out what spinning bodies do to themselves: a crushed package's segments explode.
    soft = plan.shape == 'package'
    option.integrator = mujoco.mjtIntegrator.mjINT_IMPLICIT if soft else mujoco.mjtIntegrator.mjINT_IMPLICITFAST
    option.cone = mujoco.mjtCone.mjCONE_ELLIPTIC  # a pyramidal cone, or less impratio, lets the ball slip
    option.impratio = 10
    looks.add_room(spec)
    _add_table(spec)
    _add_container(spec, plan)
    _add_object(spec, plan)
    if plan.lid:
        _add_lid(spec, plan.lid)
    looks.add_cameras(spec)
    return spec


def _add_table(spec: mujoco.MjSpec) -> None:
    table = spec.worldbody.add_body(name='table', pos=[0.40, 0, TABLE_TOP])
    top = table.add_geom(name='table', type=Box, size=[0.30, 0.60, 0.02], pos=[0, 0, -0.02])
    top.material, top.friction, top.condim = 'wood', [1, 0.01, 0.001], 4
    looks.add_table_legs(table, 0.30, 0.60, TABLE_TOP)


def _add_container(spec: mujoco.MjSpec, plan: Layout) -> None:
    length, width, height = plan.container_size
    container = spec.worldbody.add_body(name=plan.container, mocap=True)
    walls = (
        ([0, 0, WALL], [length, width, WALL]),
        ([length, 0, height], [WALL, width + WALL, height]),
        ([-length, 0, height], [WALL, width + WALL, height]),
        ([0, width, height], [length - WALL, WALL, height]),
        ([0, -width, height], [length - WALL, WALL, height]),
    )
    for pos, size in walls:
        container.add_geom(type=Box, pos=pos, size=size, material='tote')
    looks.add_rim(container, length, width, 2 * height)


def _add_object(spec: mujoco.MjSpec, plan: Layout) -> None:
    body = spec.worldbody.add_body(name=plan.object_name)
    body.add_freejoint(name=plan.object_name)
    if plan.shape == 'ball':
        _add_padded(body, mujoco.mjtGeom.mjGEOM_SPHERE, (plan.size[0], 0, 0), plan.mass, give=0.008)
        looks.add_yarn(spec, body, plan.size[0])
    elif plan.shape == 'block':
        _add_padded(body, Box, plan.size, plan.mass, give=0.004)
        looks.add_block(spec, body, plan.size)
    else:
        looks.add_pillow(spec, _add_segments(body, plan), plan.size)


def _add_segments(centre: mujoco.MjsBody, plan: Layout) -> list[mujoco.MjsBody]:
    """The soft package: a row of segments along y that bends and twists, from right to left.

    ``centre`` is the one in the middle, whose pose is the package's. Ball joints with damped springs between
    segments bend as a whole package does, at a fraction of a deformable mesh's cost.
    """
    length, width, height = plan.size
    half, row = width / SEGMENTS, [centre]
    for side in (-1, 1):
        for _ in range(SEGMENTS // 2):
            inner = row[0] if side < 0 else row[-1]
            body = inner.add_body(name=f'{plan.object_name}_{len(row)}', pos=[0, 2 * half * side, 0])
            joint = body.add_joint(type=mujoco.mjtJoint.mjJNT_BALL, pos=[0, -half * side, 0])
            joint.stiffness[0], joint.damping[0] = STIFFNESS, STIFFNESS * RELAXATION
            row.insert(0 if side < 0 else len(row), body)
    for body in row:
        _add_padded(body, Box, (length, half, height), plan.mass / SEGMENTS, give=0.006)
    return row


def _add_padded(
    body: mujoco.MjsBody, kind: mujoco.mjtGeom, size: tuple[float, ...], mass: float, give: float
) -> mujoco.MjsGeom:
    """A geom that is soft, over a depth of ``give`` m, and grips whatever it touches."""
    geom = body.add_geom(name=body.name, type=kind, size=size, mass=mass, group=COLLISION)
    geom.friction, geom.condim, geom.priority = [1.5, 0.02, 0.003], 6, 1  # priority: wool decides, not wood
    geom.solref, geom.solimp = [0.02, 1], [0.7, 0.95, give, 0.5, 2]
    return geom


def _add_lid(spec: mujoco.MjSpec, lid: Lid) -> None:
    body = spec.worldbody.add_body(name='lid')
    body.add_freejoint(name='lid')
    plate = body.add_geom(name='plate', type=Box, size=[lid.half, lid.half, lid.THICKNESS], mass=0.7 * lid.mass)
    plate.material, plate.friction, plate.condim = 'lid', [0.8, 0.01, 0.001], 4
    knob = _add_padded(body, mujoco.mjtGeom.mjGEOM_CAPSULE, (lid.knob, lid.UPRIGHT, 0), 0.3 * lid.mass, give=0.004)
    knob.pos = [0, 0, lid.knob + lid.UPRIGHT]  # its lower end is inside the plate
    knob.material, knob.group = 'rim', 0
