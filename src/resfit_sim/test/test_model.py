"""The robot model against its two descriptions, and its self-collision."""

import xml.etree.ElementTree as ET
from pathlib import Path
from threading import Thread

import mujoco
import numpy as np
import pytest

from resfit_sim.meshes import cache_dir, visual_parts
from resfit_sim.model import TORSO, URDF, build_robot, load_robot, set_joints
from resfit_sim.simulation import HOME, Simulation


@pytest.fixture(scope='module')
def model() -> mujoco.MjModel:
    return build_robot(visuals=False).compile()


@pytest.fixture(scope='module')
def urdf() -> dict[str, ET.Element]:
    return {str(joint.get('name')): joint for joint in ET.parse(URDF).getroot().findall('joint')}


def test_actuators_are_the_29_joints_in_the_order_of_every_action(model: mujoco.MjModel) -> None:
    assert model.nu == 29
    assert [model.actuator(i).name for i in range(29)] == list(load_robot().names)


def test_limits_and_efforts_are_those_of_yaml_and_urdf(model: mujoco.MjModel, urdf: dict[str, ET.Element]) -> None:
    for i, joint in enumerate(load_robot().joints):
        limit = urdf[joint.name].find('limit')
        wanted = float(limit.get('lower')), float(limit.get('upper'))
        assert (joint.lower, joint.upper) == wanted
        assert tuple(model.actuator_ctrlrange[i]) == wanted
        assert tuple(model.joint(joint.name).range) == wanted
        assert model.actuator_forcerange[i, 1] == float(limit.get('effort'))
        assert joint.velocity <= float(limit.get('velocity'))


def test_torso_is_fixed_and_mimic_joints_are_not_actuated(model: mujoco.MjModel) -> None:
    names = {model.joint(i).name for i in range(model.njnt)}
    mimics = {name for name in names if name[2:4] in ('th', 'ff', 'mf', 'rf', 'lf') and name.endswith('_j2')}
    assert len(mimics) == 10
    assert names == set(load_robot().names) | mimics
    assert not names & set(TORSO)


def test_mimic_joints_follow_their_leaders(ball: Simulation, urdf: dict[str, ET.Element]) -> None:
    ball.reset(0)
    command = HOME.copy()
    command[14:26] = 0.5 * (load_robot().lower + load_robot().upper)[14:26]
    for _ in range(100):
        ball.apply(command)
    for name, joint in urdf.items():
        mimic = joint.find('mimic')
        if mimic is None:
            continue
        leader = ball.data.joint(mimic.get('joint')).qpos[0]
        wanted = float(mimic.get('multiplier')) * leader + float(mimic.get('offset'))
        assert ball.data.joint(name).qpos[0] == pytest.approx(wanted, abs=0.01), name


def test_the_arm_stays_where_it_is_without_command_changes(ball: Simulation) -> None:
    ball.reset(1)
    start = ball.joint_positions()
    for _ in range(50):
        ball.apply(start)
    assert np.abs(ball.joint_positions() - start).max() < 2e-3  # gravity is compensated


def test_nothing_of_the_robot_touches_at_home_wherever_the_arms_start(simulation: Simulation) -> None:
    for seed in range(20):
        simulation.reset(seed)
        touching = simulation.data.contact.geom.ravel()
        names = {simulation.model.body(simulation.model.geom_bodyid[geom]).name for geom in touching}
        assert not simulation._is_robot[touching].any(), names


@pytest.mark.parametrize('side', ['R', 'L'])
def test_self_collision_stops_an_arm_that_is_driven_into_the_torso(side: str) -> None:
    spec = build_robot(visuals=False)
    spec.option.integrator = mujoco.mjtIntegrator.mjINT_IMPLICITFAST
    model = spec.compile()
    data = mujoco.MjData(model)
    arm = slice(0, 7) if side == 'R' else slice(7, 14)
    inward = np.array([-2.18, 0.21, -0.5, -1.6, -0.52, -0.18, -0.3])  # forearm 13 cm inside the chest
    command = HOME.copy()
    command[arm] = inward if side == 'R' else inward * [-1, -1, -1, 1, -1, -1, -1]
    set_joints(model, data, HOME)
    for tick in range(300):
        data.ctrl[:] = HOME + (command - HOME) * min(1.0, tick / 150)
        mujoco.mj_step(model, data, 5)
    joints = data.qpos[model.jnt_qposadr[model.actuator_trnid[:, 0]]]
    assert np.abs(joints[arm] - command[arm]).max() > 0.1
    pairs = [{model.body(b).name for b in pair} for pair in model.geom_bodyid[data.contact.geom]]
    assert any('torso_l3' in pair and any(name.startswith(f'{side}_arm') for name in pair) for pair in pairs)
    assert data.contact.dist.min() > -0.01


def test_every_link_of_arms_head_and_torso_can_collide(model: mujoco.MjModel) -> None:
    solid = {model.body(model.geom_bodyid[g]).name for g in range(model.ngeom) if model.geom_contype[g]}
    links = [f'{s}_arm_l{i}' for s in 'RL' for i in range(1, 9)] + ['head_l1', 'head_l2', 'head_l3']
    assert solid >= {*links, 'torso_l1', 'torso_l2', 'torso_l3', 'base', 'R_hand_base', 'L_hand_base'}


def test_same_arm_links_collide_when_folded(model: mujoco.MjModel) -> None:
    data = mujoco.MjData(model)
    random, robot, found = np.random.default_rng(0), load_robot(), set()
    for _ in range(400):
        set_joints(model, data, random.uniform(robot.lower, robot.upper))
        mujoco.mj_forward(model, data)
        for pair in model.geom_bodyid[data.contact.geom]:
            found.add(frozenset(model.body(b).name for b in pair))
    arms = [pair for pair in found if all(n.startswith('R_arm') for n in pair) and len(pair) == 2]
    assert arms, 'no folded arm ever touched itself'


def test_two_builders_of_the_mesh_cache_do_not_disturb_each_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    mesh = URDF.parent / 'meshes' / 'visual' / 'arm_l5.glb'
    threads = [Thread(target=visual_parts, args=(mesh, 200)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    files = list(cache_dir().iterdir())
    assert [file.suffix for file in files] == ['.npz']
    files[0].write_bytes(files[0].read_bytes()[:100])  # a damaged file is built again
    again = visual_parts(mesh, 200)
    assert again and all(np.isfinite(part.vertices).all() for part in again)


def test_an_unwritable_cache_only_costs_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocked = tmp_path / 'file'
    blocked.write_text('not a folder')
    monkeypatch.setenv('XDG_CACHE_HOME', str(blocked))
    assert visual_parts(URDF.parent / 'meshes' / 'visual' / 'arm_l5.glb', 200)
