"""Would the robot, at some joint positions, touch itself or what stands around it? On MuJoCo, without dynamics.

The model is a URDF or MJCF file, or a ``mujoco.MjSpec``. MuJoCo takes a mesh for its convex hull. Joints that are in
no action and follow none stay where the model puts them.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from resfit_policy.physics import mujoco
from resfit_policy.task import ConfigError, Obstacle

ALLOWED_DEPTH = 0.02  # m; in demonstrations on Vega, whose hulls are generous, an arm is up to 14 mm inside the torso
PACKAGE = 'package://'
SINGLE = (int(mujoco.mjtJoint.mjJNT_HINGE), int(mujoco.mjtJoint.mjJNT_SLIDE))  # joints with one position


class CollisionGate:
    """Finds the deepest contact of a robot at given joint positions."""

    def __init__(
        self, model: mujoco.MjModel, joints: Sequence[str], soft: Sequence[str] = (), depth: float = ALLOWED_DEPTH
    ) -> None:
        """``joints``: names (A,), in the order of every action. ``depth``: m that bodies may be inside each other.

        ``soft``: bodies that may touch anything. Fingers are: they give way, and when a hand holds something, what
        they are told is to be inside it. Raises ConfigError for a joint or a body that the model lacks.
        """
        single = {model.joint(i).name: i for i in range(model.njnt) if model.jnt_type[i] in SINGLE}
        bodies = {model.body(i).name: i for i in range(model.nbody)}
        for kind, wanted, known in (('joint', joints, single), ('body', soft, bodies)):
            missing = [name for name in wanted if name not in known]
            if missing:
                raise ConfigError(f'the collision model has no {kind} {", ".join(missing)}; it has {", ".join(known)}')
        self.model, self.depth = model, depth
        self._data = mujoco.MjData(model)
        self._qpos = model.jnt_qposadr[[single[name] for name in joints]]
        self._soft = np.isin(model.geom_bodyid, [bodies[name] for name in soft])

    def hits(self, positions: ArrayLike) -> str:
        """What touches at ``positions`` (A,) rad, as in 'L_arm_l4 and torso_l3, 24 mm'; '' for nothing."""
        data = self._data
        data.qpos[self._qpos] = positions
        follow_leaders(self.model, data)
        mujoco.mj_kinematics(self.model, data)
        mujoco.mj_collision(self.model, data)
        geoms, distance = data.contact.geom, data.contact.dist
        hard = np.flatnonzero((distance < -self.depth) & ~self._soft[geoms].any(1))
        if not hard.size:
            return ''
        worst = hard[distance[hard].argmin()]
        first, second = (self.model.body(self.model.geom_bodyid[geom]).name for geom in geoms[worst])
        return f'{first} and {second}, {-1e3 * distance[worst]:.0f} mm'


def follow_leaders(model: mujoco.MjModel, data: mujoco.MjData) -> None:
    """Put mimic joints where the joints that they follow want them (a joint of an equality constraint)."""
    rows = np.flatnonzero((model.eq_type == mujoco.mjtEq.mjEQ_JOINT) & (model.eq_obj2id >= 0))
    follower, leader = model.jnt_qposadr[model.eq_obj1id[rows]], model.jnt_qposadr[model.eq_obj2id[rows]]
    moved = data.qpos[leader] - model.qpos0[leader]
    offset, *factors = model.eq_data[rows, :5].T
    data.qpos[follower] = model.qpos0[follower] + offset + sum(c * moved**i for i, c in enumerate(factors, 1))


def load_collision_model(where: str, obstacles: Sequence[Obstacle] = ()) -> mujoco.MjModel:
    """The model in a URDF or MJCF file, or that of ``module:factory`` (called without arguments), and the obstacles.

    Raises ConfigError where it cannot be read, or where nothing of it can collide.
    """
    spec = _made(where) if ':' in where and not Path(where).exists() else _read(Path(where))
    try:
        for obstacle in obstacles:
            body = spec.worldbody.add_body(name=obstacle.name, pos=obstacle.position)
            body.add_geom(type=mujoco.mjtGeom.mjGEOM_BOX, size=obstacle.half_size)
        model = spec.compile()
    except ValueError as error:
        raise ConfigError(f'{where}: {error}') from None
    if np.count_nonzero(model.geom_contype | model.geom_conaffinity) <= len(obstacles):
        raise ConfigError(f'{where}: no body has geometry that can collide; a URDF needs <collision> elements')
    return model


def _made(where: str) -> mujoco.MjSpec:
    module, _, factory = where.partition(':')
    try:
        spec = getattr(importlib.import_module(module), factory)()
    except (ImportError, AttributeError) as error:
        raise ConfigError(f'cannot make a collision model from "{where}": {error}') from None
    if not isinstance(spec, mujoco.MjSpec):
        raise ConfigError(f'"{where}" makes a {type(spec).__name__}, not a mujoco.MjSpec')
    return spec


def _read(path: Path) -> mujoco.MjSpec:
    if not path.is_file():
        raise ConfigError(f'no collision model in {path}: give a URDF or MJCF file, or module:factory')
    try:
        spec = mujoco.MjSpec.from_file(str(path))
    except ValueError as error:
        raise ConfigError(f'{path} is neither URDF nor MJCF: {" ".join(str(error).split())}') from None
    if path.suffix == '.urdf':
        _complete(spec, path)
    return spec


def _complete(spec: mujoco.MjSpec, path: Path) -> None:
    """What MuJoCo does not make of a URDF by itself."""
    compiler = spec.compiler
    compiler.fusestatic = False  # links at fixed joints keep their names
    compiler.boundmass = compiler.boundinertia = 1e-6  # links without masses are as good as others
    compiler.balanceinertia = True
    for body in spec.bodies[1:]:  # MuJoCo lets neighbours touch, but not those of a link that stands still
        if body.parent.name != 'world':
            spec.add_exclude(bodyname1=body.parent.name, bodyname2=body.name)
    for mesh in spec.meshes:
        if mesh.file.startswith(PACKAGE):
            mesh.file = str(_in_package(mesh.file, path.resolve()))


def _in_package(url: str, urdf: Path) -> Path:
    """The file of a package:// address: in the package that the URDF lies in, or beside it."""
    relative = Path(url.removeprefix(PACKAGE))
    for folder in urdf.parents:
        if (folder / relative).is_file():
            return folder / relative
    raise ConfigError(f'{urdf} names {url}, but there is no {relative} in any folder above it: write relative paths')
