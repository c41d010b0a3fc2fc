"""What the scene looks like: room, lights, cameras, and the drawn form of the objects. Nothing here collides."""

from __future__ import annotations

import mujoco
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

BASELINE = 0.063  # m between the two head cameras
YARN_LOOPS, YARN_STEPS, YARN_SIDES = 26, 40, 5


def add_room(spec: mujoco.MjSpec) -> None:
    """Lights, floor, walls and sky, so that no camera ever sees nothing."""
    visual = spec.visual
    visual.global_.offwidth, visual.global_.offheight = 1280, 960
    visual.quality.shadowsize, visual.quality.offsamples = 2048, 4
    visual.map.znear, visual.map.zfar = 0.01, 12
    visual.headlight.ambient, visual.headlight.diffuse = [0.36] * 3, [0.22] * 3
    visual.headlight.specular = [0.05] * 3
    material = spec.add_material
    gradient = mujoco.mjtBuiltin.mjBUILTIN_GRADIENT
    spec.add_texture(
        name='sky', type=mujoco.mjtTexture.mjTEXTURE_SKYBOX, builtin=gradient,
        rgb1=[0.93, 0.94, 0.95], rgb2=[0.62, 0.68, 0.74], width=64, height=384,
    )  # fmt: skip
    material(name='floor', rgba=[0.50, 0.53, 0.56, 1], specular=0.1, shininess=0.1)
    material(name='wall', rgba=[0.80, 0.82, 0.82, 1], specular=0)
    material(name='wood', rgba=[0.80, 0.66, 0.50, 1], specular=0.15, shininess=0.2)
    material(name='steel', rgba=[0.35, 0.37, 0.40, 1], specular=0.5, shininess=0.5)
    material(name='tote', rgba=[0.16, 0.42, 0.52, 1], specular=0.3, shininess=0.4)
    material(name='rim', rgba=[0.12, 0.34, 0.43, 1], specular=0.3, shininess=0.4)
    material(name='wool', rgba=[0.88, 0.36, 0.28, 1], specular=0.02, shininess=0.05)
    material(name='wool_dark', rgba=[0.68, 0.22, 0.18, 1], specular=0.02, shininess=0.05)
    material(name='paper', rgba=[0.90, 0.70, 0.30, 1], specular=0.15, shininess=0.2)
    material(name='tape', rgba=[0.98, 0.95, 0.88, 1], specular=0.3, shininess=0.4)
    world = spec.worldbody
    plane = mujoco.mjtGeom.mjGEOM_PLANE
    floor = world.add_geom(name='floor', type=plane, size=[4, 4, 0.1], material='floor')
    back = world.add_geom(type=plane, pos=[2.6, 0, 0], zaxis=[-1, 0, 0], size=[4, 4, 0.1], material='wall')
    for geom in (floor, back):
        _drawn_only(geom)
    world.add_light(
        pos=[0.9, -1.1, 3.0], dir=[-0.25, 0.4, -1], diffuse=[0.55, 0.53, 0.50], specular=[0.2] * 3,
        type=mujoco.mjtLightType.mjLIGHT_DIRECTIONAL, castshadow=True,
    )  # fmt: skip
    world.add_light(
        pos=[0.5, 1.5, 2.5], dir=[-0.1, -0.6, -1], diffuse=[0.16, 0.18, 0.22], specular=[0.05] * 3,
        type=mujoco.mjtLightType.mjLIGHT_DIRECTIONAL, castshadow=False,
    )  # fmt: skip


def add_cameras(spec: mujoco.MjSpec) -> None:
    """A stereo pair in the head, where the robot's own cameras are, and one that overlooks the table."""
    head = spec.body('head_l3')
    for name, y in (('head_left', BASELINE / 2), ('head_right', -BASELINE / 2)):
        head.add_camera(name=name, pos=[0.0365, y, 0.0489], quat=[0.5, 0.5, -0.5, -0.5], fovy=80)
    eye, target = np.array([1.55, -0.95, 1.75]), np.array([0.22, 0.0, 0.98])
    spec.worldbody.add_camera(name='overview', pos=eye, quat=_look_at(eye, target), fovy=38)


def add_table_legs(table: mujoco.MjsBody, length: float, width: float, height: float) -> None:
    for x in (-length + 0.03, length - 0.03):
        for y in (-width + 0.03, width - 0.03):
            leg = table.add_geom(type=mujoco.mjtGeom.mjGEOM_BOX, material='steel')
            leg.pos, leg.size = [x, y, -0.02 - height / 2], [0.02, 0.02, height / 2 - 0.02]
            _drawn_only(leg)


def add_tote_rim(tote: mujoco.MjsBody, length: float, width: float, height: float) -> None:
    bar = 0.010
    for pos, size in (
        ([length, 0, height], [bar, width + bar, 0.004]),
        ([-length, 0, height], [bar, width + bar, 0.004]),
        ([0, width, height], [length, bar, 0.004]),
        ([0, -width, height], [length, bar, 0.004]),
    ):
        _drawn_only(tote.add_geom(type=mujoco.mjtGeom.mjGEOM_BOX, pos=pos, size=size, material='rim'))


def add_yarn(spec: mujoco.MjSpec, body: mujoco.MjsBody, radius: float) -> None:
    """A ball of wool: a dark core with yarn wound round it on great circles."""
    random = np.random.default_rng(1)
    core = body.add_geom(type=mujoco.mjtGeom.mjGEOM_SPHERE, size=[0.93 * radius, 0, 0], material='wool_dark')
    _drawn_only(core)
    thread = 0.085 * radius
    vertices, faces = [], []
    for loop in range(YARN_LOOPS):
        points, ring = _tube(random.normal(size=3), radius - thread, thread, random.uniform(-0.5, 0.5))
        vertices.append(points)
        faces.append(ring + loop * len(points))
    _add_mesh(spec, body, 'yarn', np.concatenate(vertices), np.concatenate(faces), 'wool')


def add_pillow(spec: mujoco.MjSpec, body: mujoco.MjsBody, half: tuple[float, ...]) -> None:
    """A padded mailer: a rounded box with a band of tape."""
    _add_mesh(spec, body, 'pillow', *_superellipsoid(np.array(half), 0.35), 'paper')
    band = np.array([half[0] * 1.01, half[1] * 0.12, half[2] * 1.01])
    _add_mesh(spec, body, 'band', *_superellipsoid(band, 0.2), 'tape')


def _tube(normal: Array, radius: float, thread: float, tilt: float) -> tuple[Array, NDArray[np.int32]]:
    """Vertices and faces of a thin ring around a sphere; ``tilt`` moves it off the great circle."""
    normal = normal / np.linalg.norm(normal)
    side = np.cross(normal, [0.31, 0.72, 0.62])
    side /= np.linalg.norm(side)
    up = np.cross(normal, side)
    around = np.linspace(0, 2 * np.pi, YARN_STEPS, endpoint=False)[:, None, None]
    across = np.linspace(0, 2 * np.pi, YARN_SIDES, endpoint=False)[None, :, None]
    out = np.cos(tilt) * (np.cos(around) * side + np.sin(around) * up) + np.sin(tilt) * normal
    lay = np.cos(tilt) * normal - np.sin(tilt) * (np.cos(around) * side + np.sin(around) * up)
    points = (radius + thread * np.cos(across)) * out + thread * np.sin(across) * lay
    return points.reshape(-1, 3), _grid_faces(YARN_STEPS, YARN_SIDES, wrap_rows=True)


def _superellipsoid(half: Array, power: float) -> tuple[Array, NDArray[np.int32]]:
    """Vertices and faces of a box of half sizes ``half`` with soft edges; power 1 is an ellipsoid."""
    rows, columns = 24, 32
    latitude = np.linspace(-np.pi / 2, np.pi / 2, rows)[:, None]
    longitude = np.linspace(0, 2 * np.pi, columns, endpoint=False)[None, :]

    def soft(x: Array) -> Array:
        return np.sign(x) * np.abs(x) ** power

    x = soft(np.cos(latitude)) * soft(np.cos(longitude))
    y = soft(np.cos(latitude)) * soft(np.sin(longitude))
    z = np.broadcast_to(soft(np.sin(latitude)), x.shape)
    return np.stack([x, y, z], axis=-1).reshape(-1, 3) * half, _grid_faces(rows, columns, wrap_rows=False)


def _grid_faces(rows: int, columns: int, wrap_rows: bool) -> NDArray[np.int32]:
    """Two triangles per cell of a grid whose columns are closed, and its rows too if asked."""
    row = np.arange(rows if wrap_rows else rows - 1)[:, None]
    column = np.arange(columns)[None, :]
    following, right = (row + 1) % rows, (column + 1) % columns
    a, b = row * columns + column, row * columns + right
    c, d = following * columns + column, following * columns + right
    return np.concatenate([np.stack([a, b, d], -1), np.stack([a, d, c], -1)]).reshape(-1, 3).astype(np.int32)


def _add_mesh(
    spec: mujoco.MjSpec, body: mujoco.MjsBody, name: str, vertices: Array, faces: NDArray[np.int32], material: str
) -> None:
    mesh = spec.add_mesh(name=name)
    mesh.uservert, mesh.userface = vertices.ravel(), faces.ravel()
    mesh.inertia = mujoco.mjtMeshInertia.mjMESH_INERTIA_SHELL
    _drawn_only(body.add_geom(type=mujoco.mjtGeom.mjGEOM_MESH, meshname=name, material=material))


def _drawn_only(geom: mujoco.MjsGeom) -> None:
    geom.contype = geom.conaffinity = 0
    geom.mass, geom.group = 0, 2


def _look_at(eye: Array, target: Array) -> Array:
    """Quaternion (w, x, y, z) of a camera at ``eye`` that looks at ``target``, upright."""
    back = (eye - target) / np.linalg.norm(eye - target)
    right = np.cross([0, 0, 1], back)
    right /= np.linalg.norm(right)
    quat = np.zeros(4)
    mujoco.mju_mat2Quat(quat, np.stack([right, np.cross(back, right), back], axis=1).ravel())
    return quat
