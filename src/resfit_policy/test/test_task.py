"""Task and robot files."""

import pytest

from resfit_policy.task import ConfigError, load_task, task_names


@pytest.mark.parametrize('name', task_names())
def test_every_shipped_task_loads(name):
    task = load_task(name)
    assert task.name == name
    assert task.action_size == 29
    assert task.period_ns == 50_000_000 and task.ticks == 5


def test_a_wrong_task_name_lists_the_right_ones():
    with pytest.raises(ConfigError, match='woolly_ball'):
        load_task('wooly_ball')


def write(folder, text):
    path = folder / 'task.yaml'
    path.write_text(text)
    return str(path)


def test_an_unknown_key_is_refused_with_the_known_ones(tmp_path):
    with pytest.raises(ConfigError, match='unknown key "horizont".*horizon'):
        load_task(write(tmp_path, 'name: x\nrobot: vega_1\nhorizont: 3\nhorizon: 3\n'))


def test_a_command_rate_that_does_not_divide_is_refused(tmp_path):
    with pytest.raises(ConfigError, match='multiple of control_hz'):
        load_task(write(tmp_path, 'name: x\nrobot: vega_1\nhorizon: 3\ncontrol_hz: 30.0\n'))


def test_broken_yaml_is_named(tmp_path):
    with pytest.raises(ConfigError, match='not valid YAML'):
        load_task(write(tmp_path, 'name: [x\n'))


def test_limits_that_are_not_finite_are_refused(tmp_path):
    robot = '{name: r, joints: [{name: a, lower: -1, upper: %s, velocity: 1, acceleration: %s}]}'
    for values in (('.inf', '1'), ('.nan', '1'), ('1', '.inf'), ('1', '0')):
        with pytest.raises(ConfigError, match='robot.joints.0.(upper|acceleration)'):
            load_task(write(tmp_path, f'name: x\nhorizon: 3\nrobot: {robot % values}\n'))
    task = load_task(write(tmp_path, f'name: x\nhorizon: 3\nrobot: {robot % (1, 5)}\n'))
    assert task.robot.acceleration == [5.0] and task.obstacles == () and task.robot.collision == ''


def test_an_obstacle_needs_a_size(tmp_path):
    obstacle = '{name: box, position: [0, 0, 1], half_size: [0.1, 0.1, %s]}'
    assert len(
        load_task(write(tmp_path, f'name: x\nrobot: vega_1\nhorizon: 3\nobstacles: [{obstacle % 1}]\n')).obstacles
    )
    with pytest.raises(ConfigError, match='obstacles.0.half_size.2'):
        load_task(write(tmp_path, f'name: x\nrobot: vega_1\nhorizon: 3\nobstacles: [{obstacle % 0}]\n'))
