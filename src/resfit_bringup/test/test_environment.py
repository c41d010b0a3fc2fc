"""setup.bash: the environment, from any folder, once or twice, and never two kinds of ROS in one shell."""

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
SETUP = ROOT / 'setup.bash'
pytestmark = pytest.mark.skipif(
    not (ROOT / 'install' / 'local_setup.bash').is_file() or not (ROOT / '.venv').is_dir(),
    reason='the checkout is not set up',
)


def bash(script: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a script in a shell that knows nothing of ROS but ``variables``."""
    environment = {'PATH': '/usr/bin:/bin', 'HOME': os.environ.get('HOME', '/'), **variables}
    return subprocess.run(
        ['/bin/bash', '-c', script], env=environment, cwd='/', text=True, capture_output=True, timeout=60
    )


def environment_after(script: str, **variables: str) -> dict[str, str]:
    done = bash(f'{script} && env -0', **variables)
    assert done.returncode == 0, done.stderr
    return dict(entry.split('=', 1) for entry in done.stdout.split('\0') if '=' in entry)


def wheels() -> bool:
    config = ROOT / '.venv' / 'pyvenv.cfg'
    return config.is_file() and 'include-system-site-packages = false' in config.read_text()


def test_it_works_from_any_folder():
    done = bash(f'. {SETUP} && python -c "import rclpy, resfit_msgs.msg, resfit_bringup" && command -v resfit colcon')
    assert done.returncode == 0, done.stderr
    assert str(ROOT / 'install') in done.stdout


def test_it_selects_the_fast_dds_profile_and_stays_on_this_machine():
    environment = environment_after(f'. {SETUP}')
    assert Path(environment['FASTRTPS_DEFAULT_PROFILES_FILE']).is_file()
    assert environment['ROS_AUTOMATIC_DISCOVERY_RANGE'] == 'LOCALHOST'


def test_what_the_user_has_chosen_stays():
    own = {'FASTRTPS_DEFAULT_PROFILES_FILE': '/own.xml', 'ROS_AUTOMATIC_DISCOVERY_RANGE': 'SUBNET'}
    environment = environment_after(f'. {SETUP}', **own)
    assert {name: environment[name] for name in own} == own


def test_a_second_time_changes_nothing():
    def listed(environment: dict[str, str]) -> dict[str, list[str]]:
        names = ('AMENT_PREFIX_PATH', 'CMAKE_PREFIX_PATH', 'LD_LIBRARY_PATH', 'PYTHONPATH', 'PATH')
        return {name: sorted(environment.get(name, '').split(':')) for name in names}

    assert listed(environment_after(f'. {SETUP}; . {SETUP}')) == listed(environment_after(f'. {SETUP}'))


@pytest.mark.skipif(not wheels(), reason='this checkout uses apt ROS')
def test_wheels_are_refused_in_a_shell_with_apt_ros():
    done = bash(f'. {SETUP}', AMENT_PREFIX_PATH='/opt/ros/jazzy')
    assert done.returncode == 1
    assert done.stderr == 'resfit: this shell has apt ROS, this checkout uses wheels; open a new shell\n'


def test_install_setup_bash_alone_is_enough_too():
    """As any ROS user does it."""
    if not (ROOT / '.venv' / 'local_setup.bash').is_file() and wheels():
        pytest.skip('.venv was not made by ./resfit setup')
    done = bash(f'. {ROOT}/install/setup.bash && python -c "import rclpy, resfit_msgs.msg"')
    assert done.returncode == 0, done.stderr
