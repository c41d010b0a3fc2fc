"""The simulated Dexmate Vega 1 with two F5D6 hands, built from the vendor's URDF (package dexmate-urdf).

The base stands, the torso is fixed at 30/90/60 degrees, and the 29 joints of ``vega_1.yaml`` have position
actuators in the order of every action. The ten mimic joints of the fingers follow by equality constraints.
"""

from __future__ import annotations

import math
import xml.etree.ElementTree as ET
from pathlib import Path

import dexmate_urdf
import numpy as np
from numpy.typing import NDArray

from resfit_policy.collision import follow_leaders
from resfit_policy.physics import mujoco
from resfit_policy.task import CONFIG_DIR, Robot, parse_config, read_yaml
from resfit_sim.meshes import visual_parts

Array = NDArray[np.float64]

URDF = Path(dexmate_urdf.__file__).parent / 'robots' / 'humanoid' / 'vega_1' / 'vega_1_f5d6.urdf'
ROBOT_YAML = CONFIG_DIR / 'robots' / 'vega_1.yaml'
TORSO = {'torso_j1': math.radians(30), 'torso_j2': math.radians(90), 'torso_j3': math.radians(60)}
LEFT_OUT = ('ultrasonic', 'base_cam', 'imu', 'lidar')  # sensors that the tasks do not use
FINGERS = ('th', 'ff', 'mf', 'rf', 'lf')

# Position gains [N m/rad] and reflected inertia [kg m^2]; the damping follows from both.
ARM_GAINS = {'j1': 800.0, 'j2': 800.0, 'j3': 500.0, 'j4': 500.0, 'j5': 200.0, 'j6': 200.0, 'j7': 200.0}
HEAD_GAIN, FINGER_GAIN = 40.0, 2.0
ARM_INERTIA, HEAD_INERTIA, FINGER_INERTIA = 0.35, 0.05, 0.0008

# The vendor's collision mesh of the torso has a waist, so its hull would be far too large. Three boxes
# (centre, half size) for hips, chest and neck, and a cylinder through the shoulders follow it.
TORSO_BOXES = (
    ((-0.007, 0.0, 0.055), (0.087, 0.112, 0.135)),
    ((-0.090, 0.0, 0.285), (0.085, 0.069, 0.100)),
    ((-0.088, 0.0, 0.441), (0.082, 0.090, 0.057)),
)
SHOULDERS, SHOULDER_RADIUS = (-0.057, -0.172, 0.445, -0.057, 0.172, 0.445), 0.045
HULL_VERTICES = 40

# Geom groups: every visual mesh twice, since a software renderer draws a head camera's view 4 times faster
# from the coarse ones; collision geoms are never drawn.
COARSE, FINE, COLLISION = 1, 2, 3
FINGER_RADIUS, THUMB_RADIUS = 0.0075, 0.010

# Links that always touch although MuJoCo does not count them as parent and child: neighbours across a short
# link, and what is mounted on the torso (which is fixed, so part of the world). {s} is the side, R or L.
ALWAYS_TOUCHING = (
    ('torso_l3', '{s}_arm_l1'),
    ('torso_l3', 'head_l1'),
    ('torso_l3', 'head_l2'),
    ('torso_l3', 'head_l3'),
    ('head_l1', 'head_l3'),
    ('{s}_hand_base', '{s}_th_l1'),
)


def load_robot() -> Robot:
    """The joints of ``vega_1.yaml``, in the order of every action."""
    return parse_config(Robot, read_yaml(ROBOT_YAML), str(ROBOT_YAML))


def build_robot(visuals: bool = True) -> mujoco.MjSpec:
    """The robot alone. ``visuals=False`` leaves out the meshes that are only drawn."""
    return _Builder(visuals).build()


def collision_robot() -> mujoco.MjSpec:
    """The robot as actions are checked with: ``collision`` in ``vega_1.yaml``."""
    return build_robot(visuals=False)


def set_joints(model: mujoco.MjModel, data: mujoco.MjData, positions: Array) -> None:
    """Put the actuated joints at ``positions`` (29,) rad and the mimic joints where they belong."""
    data.qpos[model.jnt_qposadr[model.actuator_trnid[:, 0]]] = positions
    follow_leaders(model, data)


def _numbers(text: str | None) -> Array:
    return np.array([float(x) for x in (text or '0 0 0').split()])


def _pose(element: ET.Element | None) -> tuple[Array, Array]:
    """Position [m] and quaternion (w, x, y, z) of an <origin>."""
    quat = np.zeros(4)
    if element is None:
        return np.zeros(3), np.array([1.0, 0, 0, 0])
    mujoco.mju_euler2Quat(quat, _numbers(element.get('rpy')), 'XYZ')
    return _numbers(element.get('xyz')), quat


def _is_hand(link: str) -> bool:
    return link[2:] == 'hand_base' or link[2:4] in FINGERS


class _Builder:
    def __init__(self, visuals: bool) -> None:
        root = ET.parse(URDF).getroot()
        self.visuals = visuals
        self.links = {str(link.get('name')): link for link in root.findall('link')}
        self.joints: dict[str, list[ET.Element]] = {}
        for joint in root.findall('joint'):
            self.joints.setdefault(_child(joint, 'parent'), []).append(joint)
        self.efforts: dict[str, float] = {}
        self.meshes: dict[str, list[tuple[int, str, Array]]] = {}
        self.spec = mujoco.MjSpec()

    def build(self) -> mujoco.MjSpec:
        spec = self.spec
        spec.modelname = 'vega_1_f5d6'
        spec.compiler.degree = False
        spec.compiler.autolimits = True
        self._add_link('base', spec.worldbody, None)
        for joint in load_robot().joints:
            self._add_actuator(joint.name, (joint.lower, joint.upper))
        for first, second in ALWAYS_TOUCHING:
            for side in 'RL' if '{s}' in first + second else 'R':
                names = first.format(s=side), second.format(s=side)
                spec.add_exclude(bodyname1=names[0], bodyname2=names[1])
        return spec

    def _add_link(self, name: str, parent: mujoco.MjsBody, joint: ET.Element | None) -> None:
        if any(word in name for word in LEFT_OUT):
            return
        body = parent.add_body(name=name)
        body.gravcomp = 1
        if joint is not None:
            self._place(body, joint)
        link = self.links[name]
        inertial = link.find('inertial')
        if inertial is not None:
            self._add_inertia(body, inertial)
        if self.visuals:
            self._add_visuals(body, link)
        if 'wheel' not in name:
            self._add_collisions(body, link)
        for child in self.joints.get(name, []):
            self._add_link(_child(child, 'child'), body, child)

    def _place(self, body: mujoco.MjsBody, joint: ET.Element) -> None:
        name = str(joint.get('name'))
        body.pos, quat = _pose(joint.find('origin'))
        axis_element = joint.find('axis')
        axis = _numbers(axis_element.get('xyz') if axis_element is not None else None)
        if name in TORSO:
            turn = np.zeros(4)
            mujoco.mju_axisAngle2Quat(turn, axis, TORSO[name])
            fixed = quat.copy()
            mujoco.mju_mulQuat(quat, fixed, turn)
        elif joint.get('type') == 'revolute' and 'wheel' not in name:
            self._add_joint(body, joint, name, axis)
        body.quat = quat

    def _add_joint(self, body: mujoco.MjsBody, joint: ET.Element, name: str, axis: Array) -> None:
        limit = joint.find('limit')
        assert limit is not None, f'{name} has no limits in {URDF}'
        lower, upper = float(limit.get('lower', 0)), float(limit.get('upper', 0))
        hand = name[2:4] in FINGERS
        hinge = body.add_joint(name=name, type=mujoco.mjtJoint.mjJNT_HINGE, axis=axis, range=[lower, upper])
        hinge.armature = 0.0005 if hand else 0.02 if 'head' in name else 0.1
        hinge.damping[0] = 0.02 if hand else 1.0
        mimic = joint.find('mimic')
        if mimic is None:
            self.efforts[name] = float(limit.get('effort', 0))
            return
        equality = self.spec.add_equality(type=mujoco.mjtEq.mjEQ_JOINT, objtype=mujoco.mjtObj.mjOBJ_JOINT)
        equality.name1, equality.name2 = name, str(mimic.get('joint'))
        equality.data[:2] = float(mimic.get('offset', 0)), float(mimic.get('multiplier', 1))
        equality.solref = [0.005, 1]

    def _add_inertia(self, body: mujoco.MjsBody, inertial: ET.Element) -> None:
        mass, inertia = inertial.find('mass'), inertial.find('inertia')
        assert mass is not None and inertia is not None
        body.explicitinertial = True
        body.mass = float(mass.get('value', 0))
        body.ipos, _ = _pose(inertial.find('origin'))
        body.fullinertia = [float(inertia.get(k, 0)) for k in ('ixx', 'iyy', 'izz', 'ixy', 'ixz', 'iyz')]

    def _add_visuals(self, body: mujoco.MjsBody, link: ET.Element) -> None:
        for visual in link.findall('visual'):
            mesh = visual.find('geometry/mesh')
            if mesh is None:
                continue
            path = (URDF.parent / str(mesh.get('filename'))).resolve()
            pos, quat = _pose(visual.find('origin'))
            for group, name, rgb in self._visual_meshes(path):
                geom = body.add_geom(type=mujoco.mjtGeom.mjGEOM_MESH, meshname=name, pos=pos, quat=quat)
                geom.material = _material(self.spec, rgb)
                geom.contype = geom.conaffinity = 0
                geom.mass, geom.group = 0, group

    def _visual_meshes(self, path: Path) -> list[tuple[int, str, Array]]:
        """Group, name and colour of the meshes of one GLB file; both arms share many files."""
        key = f'{path.parent.parent.parent.name}_{path.stem}'
        if key not in self.meshes:
            self.meshes[key] = []
            for group, faces in _budgets(path.stem):
                for i, part in enumerate(visual_parts(path, faces)):
                    mesh = self.spec.add_mesh(name=f'{key}_{group}_{i}')
                    mesh.uservert, mesh.userface = part.vertices.ravel(), part.faces.ravel()
                    mesh.inertia = mujoco.mjtMeshInertia.mjMESH_INERTIA_SHELL
                    self.meshes[key].append((group, mesh.name, part.rgb.astype(float)))
        return self.meshes[key]

    def _add_collisions(self, body: mujoco.MjsBody, link: ET.Element) -> None:
        """Hulls of the vendor's collision meshes; boxes for the torso; capsules for the fingers."""
        name = str(link.get('name'))
        if name == 'torso_l3':
            for pos, size in TORSO_BOXES:
                body.add_geom(type=mujoco.mjtGeom.mjGEOM_BOX, pos=pos, size=size, mass=0, group=COLLISION)
            cylinder, size = mujoco.mjtGeom.mjGEOM_CYLINDER, (SHOULDER_RADIUS, 0, 0)
            body.add_geom(type=cylinder, fromto=SHOULDERS, size=size, mass=0, group=COLLISION)
        elif name[2:4] in FINGERS and not name.endswith('tip'):
            if name[2:] != 'th_l0':  # lies inside the palm's hull
                self._add_phalanx(body, name)
        else:
            for collision in link.findall('collision'):
                mesh = collision.find('geometry/mesh')
                if mesh is not None:
                    self._add_hull(body, collision, str(mesh.get('filename')))

    def _add_phalanx(self, body: mujoco.MjsBody, name: str) -> None:
        radius = THUMB_RADIUS if name[2:4] == 'th' else FINGER_RADIUS
        end, _ = _pose(self.joints[name][0].find('origin'))
        if name.endswith('l2'):  # the capsule's cap ends at the finger tip
            end = end * (1 - radius / float(np.linalg.norm(end)))
        geom = body.add_geom(type=mujoco.mjtGeom.mjGEOM_CAPSULE, fromto=[0, 0, 0, *end], size=[radius, 0, 0])
        geom.mass, geom.group = 0, COLLISION
        _rubber(geom)

    def _add_hull(self, body: mujoco.MjsBody, collision: ET.Element, file: str) -> None:
        path = (URDF.parent / file).resolve()
        name = f'hull_{path.stem}'
        if self.spec.mesh(name) is None:
            mesh = self.spec.add_mesh(name=name, file=str(path))
            mesh.maxhullvert = HULL_VERTICES
        pos, quat = _pose(collision.find('origin'))
        geom = body.add_geom(type=mujoco.mjtGeom.mjGEOM_MESH, meshname=name, pos=pos, quat=quat)
        geom.mass, geom.group = 0, COLLISION
        if _is_hand(body.name):
            _rubber(geom)

    def _add_actuator(self, name: str, limits: tuple[float, float]) -> None:
        if name[2:4] in FINGERS:
            gain, inertia = FINGER_GAIN, FINGER_INERTIA
        elif name.startswith('head'):
            gain, inertia = HEAD_GAIN, HEAD_INERTIA
        else:
            gain, inertia = ARM_GAINS[name[-2:]], ARM_INERTIA
        actuator = self.spec.add_actuator(name=name, target=name, trntype=mujoco.mjtTrn.mjTRN_JOINT)
        actuator.set_to_position(kp=gain, kv=2 * math.sqrt(gain * inertia))  # critically damped
        actuator.ctrlrange, actuator.ctrllimited = limits, True
        actuator.forcerange, actuator.forcelimited = [-self.efforts[name], self.efforts[name]], True


def _budgets(stem: str) -> list[tuple[int, int]]:
    """Geom groups a visual mesh is drawn in, and its triangles there. The head sees arms, hands and chest."""
    if stem[:2] in FINGERS:
        return [(FINE, 1600), (COARSE, 250)]
    if stem == 'torso_l3':
        return [(FINE, 6000), (COARSE, 900)]
    if stem.endswith('hand_base'):
        return [(FINE, 6000), (COARSE, 700)]
    if 'arm' in stem or stem == 'connector':
        return [(FINE, 3200), (COARSE, 350)]
    return [(FINE, 6000 if stem == 'base' else 3200)]


def _child(element: ET.Element, tag: str) -> str:
    """Link named by <parent link=...> or <child link=...>."""
    found = element.find(tag)
    assert found is not None
    return str(found.get('link'))


def _rubber(geom: mujoco.MjsGeom) -> None:
    """Finger pads: soft and grippy."""
    geom.friction, geom.condim = [1.5, 0.02, 0.001], 4
    geom.solref, geom.solimp = [0.01, 1], [0.9, 0.95, 0.002, 0.5, 2]


def _material(spec: mujoco.MjSpec, rgb: Array) -> str:
    """Name of the material for one colour of the robot, made when first needed."""
    name = 'robot_' + ''.join(f'{round(float(x) * 255):02x}' for x in rgb)
    if spec.material(name) is None:
        shade = np.clip(0.09 + rgb * 0.86, 0, 1)  # pure black would show no form
        spec.add_material(name=name, rgba=[*shade, 1], specular=0.35, shininess=0.4)
    return name
