"""The collision gate on small models, and what it refuses. Vega's is tested with the simulation."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import mujoco
import numpy as np
import pytest

from resfit_policy.collision import CollisionGate, load_collision_model
from resfit_policy.task import ConfigError, Obstacle

# A column, two links that turn about y, a fist fixed to the second, and a follower of the second joint.
URDF = """
<robot name="two_links">
  <link name="column"><collision>
    <origin xyz="0 0 0.25"/><geometry><box size="0.2 0.2 0.5"/></geometry>
  </collision></link>
  <link name="upper"><collision>
    <origin xyz="0 0 0.2"/><geometry><cylinder radius="0.03" length="0.4"/></geometry>
  </collision></link>
  <link name="lower"><collision>
    <origin xyz="0 0 0.15"/><geometry><box size="0.05 0.05 0.3"/></geometry>
  </collision></link>
  <link name="fist"><collision><geometry><box size="0.1 0.1 0.1"/></geometry></collision></link>
  <link name="finger"><collision>
    <origin xyz="0 0 0.1"/><geometry><box size="0.02 0.02 0.2"/></geometry>
  </collision></link>
  <joint name="shoulder" type="revolute"><parent link="column"/><child link="upper"/>
    <origin xyz="0 0 0.5"/><axis xyz="0 1 0"/><limit lower="-3" upper="3" effort="1" velocity="1"/></joint>
  <joint name="elbow" type="revolute"><parent link="upper"/><child link="lower"/>
    <origin xyz="0 0 0.4"/><axis xyz="0 1 0"/><limit lower="-3" upper="3" effort="1" velocity="1"/></joint>
  <joint name="mount" type="fixed"><parent link="lower"/><child link="fist"/><origin xyz="0 0 0.35"/></joint>
  <joint name="follower" type="revolute"><parent link="fist"/><child link="finger"/>
    <axis xyz="0 1 0"/><limit lower="-3" upper="3" effort="1" velocity="1"/>
    <mimic joint="elbow" multiplier="-0.5" offset="0.1"/></joint>
</robot>
"""
JOINTS = ('shoulder', 'elbow')
CUBE = """v 0 0 0\nv 1 0 0\nv 0 1 0\nv 1 1 0\nv 0 0 1\nv 1 0 1\nv 0 1 1\nv 1 1 1
f 1 3 2\nf 2 3 4\nf 5 6 7\nf 6 8 7\nf 1 2 5\nf 2 6 5\nf 3 7 4\nf 4 7 8\nf 1 5 3\nf 3 5 7\nf 2 4 6\nf 4 8 6\n"""


@pytest.fixture
def urdf(tmp_path: Path) -> str:
    path = tmp_path / 'two_links.urdf'
    path.write_text(URDF)
    return str(path)


def test_a_urdf_is_clear_where_it_is_clear_although_neighbours_overlap(urdf: str) -> None:
    gate = CollisionGate(load_collision_model(urdf), JOINTS, depth=0.0)
    assert gate.hits([0.0, 0.0]) == ''
    assert gate.hits([0.3, -0.3]) == ''


def test_it_names_what_touches_and_how_deep(urdf: str) -> None:
    gate = CollisionGate(load_collision_model(urdf), JOINTS)
    assert gate.hits([1.2, 2.7]) == 'column and fist, 39 mm'
    assert gate.hits(np.array([0.0, 0.0], np.float32)) == '', 'and the next check starts afresh'


def test_a_contact_counts_only_beyond_the_allowed_depth(urdf: str) -> None:
    model = load_collision_model(urdf)
    assert CollisionGate(model, JOINTS, depth=0.030).hits([1.2, 2.7])
    assert not CollisionGate(model, JOINTS, depth=0.040).hits([1.2, 2.7])


def test_joints_are_taken_in_the_order_of_the_action(urdf: str) -> None:
    gate = CollisionGate(load_collision_model(urdf), JOINTS[::-1])
    assert gate.hits([2.7, 1.2]) == 'column and fist, 39 mm'


def test_soft_bodies_may_touch_anything(urdf: str) -> None:
    gate = CollisionGate(load_collision_model(urdf), JOINTS, soft=('column',))
    assert gate.hits([1.2, 2.7]) == ''


def test_mimic_joints_follow(urdf: str) -> None:
    gate = CollisionGate(load_collision_model(urdf), JOINTS)
    gate.hits([0.2, 0.8])
    follower = gate.model.joint('follower').qposadr[0]
    assert gate._data.qpos[follower] == pytest.approx(0.1 - 0.5 * 0.8)


def test_an_obstacle_is_in_the_way_of_all_but_what_stands_still(urdf: str) -> None:
    table = Obstacle('table', (0.0, 0.0, 0.2), (0.6, 0.6, 0.02))  # the column stands in it
    gate = CollisionGate(load_collision_model(urdf, [table]), JOINTS)
    assert gate.hits([0.0, 0.0]) == ''
    assert 'table' in gate.hits([2.2, 0.0])


def test_an_mjcf_file_works_with_its_own_exclusions(tmp_path: Path) -> None:
    path = tmp_path / 'arm.xml'
    path.write_text(
        '<mujoco><worldbody><body name="foot"><geom size="0.1"/><body name="arm" pos="0 0 0.1">'
        '<joint name="hinge" axis="0 1 0"/><geom type="capsule" fromto="0 0 0 0 0 0.5" size="0.04"/>'
        '</body></body></worldbody><contact>{}</contact></mujoco>'
    )
    assert 'foot' in CollisionGate(load_collision_model(str(path)), ['hinge']).hits([0.0])
    path.write_text(path.read_text().format('<exclude body1="foot" body2="arm"/>'))
    assert CollisionGate(load_collision_model(str(path)), ['hinge']).hits([0.0]) == ''


def test_meshes_are_found_beside_the_urdf_and_in_its_package(tmp_path: Path) -> None:
    package = tmp_path / 'some_robot'
    (package / 'meshes').mkdir(parents=True)
    (package / 'urdf').mkdir()
    (package / 'meshes' / 'cube.obj').write_text(CUBE)
    path = package / 'urdf' / 'robot.urdf'
    for address in ('../meshes/cube.obj', 'package://some_robot/meshes/cube.obj'):
        path.write_text(URDF.replace('<box size="0.1 0.1 0.1"/>', f'<mesh filename="{address}" scale="0.1 0.1 0.1"/>'))
        assert load_collision_model(str(path)).nmesh == 1
    path.write_text(path.read_text().replace('some_robot', 'another_robot'))
    with pytest.raises(ConfigError, match='write relative paths'):
        load_collision_model(str(path))


def test_what_is_only_drawn_does_not_collide(tmp_path: Path) -> None:
    path = tmp_path / 'drawn.urdf'
    for compiler in ('', '<mujoco><compiler discardvisual="false"/></mujoco>'):
        path.write_text(
            URDF.replace('collision>', 'visual>').replace('name="two_links">', f'name="two_links">{compiler}')
        )
        with pytest.raises(ConfigError, match='no body has geometry that can collide'):
            load_collision_model(str(path), [Obstacle('table', (1, 0, 0), (0.1, 0.1, 0.1))])


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('<robot name=', 'neither URDF nor MJCF'),
        ('solid binary', 'neither URDF nor MJCF'),
        (URDF.replace('<box size="0.1 0.1 0.1"/>', '<mesh filename="lost.stl"/>'), 'lost.stl'),
        (URDF.replace('<box size="0.1 0.1 0.1"/>', '<mesh filename="package://lost/lost.stl"/>'), 'lost/lost.stl'),
    ],
)
def test_a_file_that_cannot_be_used_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / 'bad.urdf'
    path.write_text(text)
    with pytest.raises(ConfigError, match=message) as problem:
        load_collision_model(str(path))
    assert 'bad.urdf' in str(problem.value)


def test_missing_files_joints_and_bodies_are_named(urdf: str) -> None:
    with pytest.raises(ConfigError, match='no collision model in nowhere.urdf'):
        load_collision_model('nowhere.urdf')
    model = load_collision_model(urdf)
    with pytest.raises(ConfigError, match='no joint wrist; it has shoulder, elbow, follower'):
        CollisionGate(model, (*JOINTS, 'wrist'))
    with pytest.raises(ConfigError, match='no body thumb; it has .*upper'):
        CollisionGate(model, JOINTS, soft=('thumb',))
    with pytest.raises(ConfigError, match='table'):
        load_collision_model(urdf, [Obstacle('table', (1, 0, 0), (0.1, 0.1, 0.1))] * 2)


def make_spec() -> mujoco.MjSpec:
    return mujoco.MjSpec.from_string(URDF)


def make_nothing() -> None:
    return None


def test_a_factory_is_called(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, 'some_module', sys.modules[__name__])
    assert CollisionGate(load_collision_model('some_module:make_spec'), JOINTS).hits([0.0, 0.0]) == ''
    with pytest.raises(ConfigError, match='makes a NoneType, not a mujoco.MjSpec'):
        load_collision_model('some_module:make_nothing')
    with pytest.raises(ConfigError, match='make_it'):
        load_collision_model('some_module:make_it')
    with pytest.raises(ConfigError, match='no_such_module'):
        load_collision_model('no_such_module:make_it')


@pytest.mark.parametrize('renderer', [None, 'egl'])
def test_the_model_is_loaded_without_a_window_system(renderer: str | None) -> None:
    """GLFW starts processes as it is imported; and what the user asks of MuJoCo is still asked of others."""
    script = "import resfit_policy.collision, os, sys; print('glfw' in sys.modules, os.environ.get('MUJOCO_GL'))"
    environment = {name: value for name, value in os.environ.items() if name != 'MUJOCO_GL'}
    if renderer:
        environment['MUJOCO_GL'] = renderer
    ran = subprocess.run([sys.executable, '-c', script], capture_output=True, text=True, env=environment)
    assert ran.stdout == f'False {renderer}\n', ran.stderr
