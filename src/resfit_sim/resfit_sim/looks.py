"""What the scene looks like: room, lights, cameras, drawn form of the objects. Nothing here collides."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from resfit_policy.physics import mujoco
from resfit_sim.model import COARSE, FINE

Array = NDArray[np.float64]
Faces = NDArray[np.int32]  # (F, 3)

BASELINE = 0.063  # m between the two head cameras
YARN_BANDS, YARN_STRANDS = 7, 5  # of a woolly ball
YARN_STEPS, YARN_SIDES = 36, 6  # of one strand
MATERIALS: tuple[tuple[str, tuple[float, float, float], float], ...] = (  # name, colour, gloss
    ('floor', (0.72, 0.75, 0.78), 0.05),
    ('wood', (1.0, 1.0, 1.0), 0.12),  # coloured by its texture
    ('steel', (0.30, 0.32, 0.35), 0.5),
    ('tote', (0.13, 0.50, 0.56), 0.3),
    ('rim', (0.09, 0.40, 0.46), 0.3),
    ('wool', (0.97, 0.50, 0.38), 0.02),
    ('wool_dark', (0.80, 0.33, 0.26), 0.02),
    ('paper', (0.88, 0.68, 0.38), 0.1),
    ('tape', (0.96, 0.93, 0.86), 0.3),
    ('block', (0.93, 0.42, 0.32), 0.2),
    ('lid', (0.93, 0.76, 0.36), 0.3),
)


def add_room(spec: mujoco.MjSpec) -> None:
    """Lights, floor and sky, so that no camera ever sees nothing."""
    spec.stat.center, spec.stat.extent = [0.3, 0, 1], 1.0  # scale of clipping planes and shadow maps
    visual = spec.visual
    visual.global_.offwidth, visual.global_.offheight = 1280, 960
    visual.quality.shadowsize, visual.quality.offsamples = 4096, 0
    visual.map.znear, visual.map.zfar, visual.map.haze, visual.map.shadowclip = 0.02, 10, 0.5, 4
    visual.rgba.haze = [0.90, 0.92, 0.94, 1]
    visual.headlight.ambient, visual.headlight.diffuse = [0.34] * 3, [0.12] * 3
    visual.headlight.specular = [0.05] * 3
    spec.add_texture(
        name='sky', type=mujoco.mjtTexture.mjTEXTURE_SKYBOX, builtin=mujoco.mjtBuiltin.mjBUILTIN_GRADIENT,
        rgb1=[0.78, 0.84, 0.90], rgb2=[0.90, 0.92, 0.94], width=128, height=768,
    )  # fmt: skip
    for name, rgb, specular in MATERIALS:
        spec.add_material(name=name, rgba=[*rgb, 1], specular=specular, shininess=specular)
    wood = spec.add_texture(name='wood', type=mujoco.mjtTexture.mjTEXTURE_2D, nchannel=3)
    grain = _wood_grain(512, 256)
    wood.height, wood.width, wood.data = grain.shape[0], grain.shape[1], grain.tobytes()
    spec.material('wood').textures[mujoco.mjtTextureRole.mjTEXROLE_RGB] = 'wood'
    world = spec.worldbody
    _drawn_only(world.add_geom(name='floor', type=mujoco.mjtGeom.mjGEOM_PLANE, size=[0, 0, 0.1], material='floor'))
    directional = mujoco.mjtLightType.mjLIGHT_DIRECTIONAL
    world.add_light(  # one sun with a shadow: every further one draws the whole scene twice more
        type=directional, pos=[0.675, 0.45, 2.5], dir=[-0.25, -0.30, -1], castshadow=True,
        diffuse=[0.40, 0.39, 0.36], ambient=[0.12] * 3, specular=[0.15] * 3,
    )  # fmt: skip
    world.add_light(
        type=directional, pos=[0.3, 0, 1], dir=[-0.5, 0.7, -0.6], castshadow=False,
        diffuse=[0.16, 0.18, 0.21], ambient=[0.06] * 3, specular=[0.04] * 3,
    )  # fmt: skip


def add_cameras(spec: mujoco.MjSpec) -> None:
    """A stereo pair in the head, where the robot's own cameras are, and one that overlooks the table."""
    head = spec.body('head_l3')
    for name, y in (('head_left', BASELINE / 2), ('head_right', -BASELINE / 2)):
        head.add_camera(name=name, pos=[0.0365, y, 0.0489], quat=[0.5, 0.5, -0.5, -0.5], fovy=84)
    eye, target = np.array([1.46, -0.74, 1.86]), np.array([0.18, 0.02, 1.08])
    spec.worldbody.add_camera(name='overview', pos=eye, quat=_look_at(eye, target), fovy=36)


def add_table_legs(table: mujoco.MjsBody, length: float, width: float, height: float) -> None:
    for x in (-length + 0.03, length - 0.03):
        for y in (-width + 0.03, width - 0.03):
            leg = table.add_geom(type=mujoco.mjtGeom.mjGEOM_BOX, material='steel')
            leg.pos, leg.size = [x, y, -0.02 - height / 2], [0.02, 0.02, height / 2 - 0.02]
            _drawn_only(leg)


def add_rim(container: mujoco.MjsBody, length: float, width: float, height: float) -> None:
    bar = 0.0062  # flush with the walls: an overhang's shadow frays
    for pos, size in (
        ([length, 0, height], [bar, width + bar, 0.004]),
        ([-length, 0, height], [bar, width + bar, 0.004]),
        ([0, width, height], [length, bar, 0.004]),
        ([0, -width, height], [length, bar, 0.004]),
    ):
        _drawn_only(container.add_geom(type=mujoco.mjtGeom.mjGEOM_BOX, pos=pos, size=size, material='rim'))


def add_yarn(spec: mujoco.MjSpec, body: mujoco.MjsBody, radius: float) -> None:
    """A ball of wool: bands of parallel strands wound round a core, each band across the ones below."""
    random = np.random.default_rng(4)
    sphere = mujoco.mjtGeom.mjGEOM_SPHERE
    _drawn_only(body.add_geom(type=sphere, size=[0.9 * radius, 0, 0], material='wool_dark'), FINE)
    _drawn_only(body.add_geom(type=sphere, size=[radius, 0, 0], material='wool'), COARSE)
    thread = 0.095 * radius
    vertices: list[Array] = []
    faces: list[Faces] = []
    for band in range(YARN_BANDS):
        normal = random.normal(size=3)
        lift = radius - thread * (1.9 - 1.1 * band / YARN_BANDS)
        for tilt in np.linspace(-0.42, 0.42, YARN_STRANDS):
            points, ring = _tube(normal, lift, thread, float(tilt))
            faces.append(ring + len(vertices) * len(points))
            vertices.append(points)
    _add_mesh(spec, body, 'yarn', np.concatenate(vertices), np.concatenate(faces), 'wool', FINE)


def add_pillow(spec: mujoco.MjSpec, row: list[mujoco.MjsBody], half: tuple[float, ...]) -> None:
    """A padded mailer: a rounded box with a band of tape, whose skin follows a row of bodies along y."""
    vertices, faces = _superellipsoid(np.array(half), 0.35)
    pitch = 2 * half[1] / len(row)
    places = (np.arange(len(row)) - len(row) // 2) * pitch
    along = np.clip(vertices[:, 1], places[0], places[-1])
    weights = np.clip(1 - np.abs(along - places[:, None]) / pitch, 0, 1)  # (bodies, vertices), sum 1
    skin = spec.add_skin(name='pillow', material='paper')
    skin.vert, skin.face = vertices.ravel(), faces.ravel()
    skin.bodyname = [body.name for body in row]
    skin.bindpos = np.outer(places, [0, 1, 0]).ravel()
    skin.bindquat = np.tile([1.0, 0, 0, 0], len(row))
    skin.vertid = [np.flatnonzero(weight).tolist() for weight in weights]
    skin.vertweight = [weight[weight > 0].tolist() for weight in weights]
    band = np.array([half[0] * 1.01, half[1] * 0.12, half[2] * 1.01])
    _add_mesh(spec, row[len(row) // 2], 'band', *_superellipsoid(band, 0.2), 'tape', 0)


def add_block(spec: mujoco.MjSpec, body: mujoco.MjsBody, half: tuple[float, ...]) -> None:
    """A toy block with soft edges."""
    _add_mesh(spec, body, 'block', *_superellipsoid(np.array(half), 0.2), 'block', 0)


def _wood_grain(height: int, width: int) -> NDArray[np.uint8]:
    """(height, width, 3) uint8: pale boards with a little grain along the rows."""
    random = np.random.default_rng(2)
    along = np.linspace(0, 1, height)[:, None]
    across = np.linspace(0, 1, width)[None, :]
    boards = 5
    board = np.minimum(np.floor(across[0] * boards).astype(int), boards - 1)
    phase = random.uniform(0, 2 * np.pi, (3, boards))[:, board]
    wave = across + 0.03 * np.sin(9.4 * along + phase[0]) + 0.012 * np.sin(25.1 * along + phase[1])
    grain = np.sin(240 * wave + phase[2]) + 0.6 * np.sin(570 * wave)
    tone = 1 + 0.018 * grain + random.uniform(-0.03, 0.03, boards)[board]
    tone += random.normal(0, 0.006, (height, width))
    tone = np.where(np.abs(across * boards - np.round(across * boards)) < 0.012, tone * 0.86, tone)
    colour = np.array([0.87, 0.74, 0.58]) * tone[..., None]
    return np.asarray(np.clip(colour, 0, 1) * 255, np.uint8)


def _tube(normal: Array, radius: float, thread: float, tilt: float) -> tuple[Array, Faces]:
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
    return points.reshape(-1, 3), _grid_faces(YARN_STEPS, YARN_SIDES, wrap_rows=True)[:, ::-1]  # outwards


def _superellipsoid(half: Array, power: float) -> tuple[Array, Faces]:
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


def _grid_faces(rows: int, columns: int, wrap_rows: bool) -> Faces:
    """Two triangles per cell of a grid whose columns are closed, and its rows too if asked."""
    row = np.arange(rows if wrap_rows else rows - 1)[:, None]
    column = np.arange(columns)[None, :]
    following, right = (row + 1) % rows, (column + 1) % columns
    a, b = row * columns + column, row * columns + right
    c, d = following * columns + column, following * columns + right
    return np.concatenate([np.stack([a, b, d], -1), np.stack([a, d, c], -1)]).reshape(-1, 3).astype(np.int32)


def _add_mesh(
    spec: mujoco.MjSpec, body: mujoco.MjsBody, name: str, vertices: Array, faces: Faces, material: str, group: int
) -> None:
    mesh = spec.add_mesh(name=name)
    mesh.uservert, mesh.userface = vertices.ravel(), faces.ravel()
    mesh.inertia = mujoco.mjtMeshInertia.mjMESH_INERTIA_SHELL
    _drawn_only(body.add_geom(type=mujoco.mjtGeom.mjGEOM_MESH, meshname=name, material=material), group)


def _drawn_only(geom: mujoco.MjsGeom, group: int = 0) -> None:
    geom.contype = geom.conaffinity = 0
    geom.mass, geom.group = 0, group


def _look_at(eye: Array, target: Array) -> Array:
    """Quaternion (w, x, y, z) of a camera at ``eye`` that looks at ``target``, upright."""
    back = (eye - target) / np.linalg.norm(eye - target)
    right = np.cross([0, 0, 1], back)
    right /= np.linalg.norm(right)
    quat = np.zeros(4)
    mujoco.mju_mat2Quat(quat, np.stack([right, np.cross(back, right), back], axis=1).ravel())
    return quat
