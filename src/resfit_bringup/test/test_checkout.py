"""Files that no program of this repository reads in its tests are at least well formed and complete."""

import importlib.metadata
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
REQUIREMENTS = ROOT / 'requirements'
PIN = re.compile(r'([\w.-]+)(?:\[[\w,]+\])?==([\w.+!-]+)')
pytestmark = pytest.mark.skipif(not REQUIREMENTS.is_dir(), reason='the package is tested outside its checkout')


def pins(name: str) -> dict[str, str]:
    """Version by distribution name; anything but comments and exact pins is an error."""
    found = {}
    for line in (REQUIREMENTS / name).read_text().splitlines():
        requirement = line.partition('#')[0].strip()
        if requirement:
            match = PIN.fullmatch(requirement)
            assert match, f'{name}: not an exact pin: {requirement}'
            found[re.sub('[-_.]+', '-', match[1]).lower()] = match[2]
    return found


def test_xml_files_are_well_formed():
    files = [path for kind in ('*.xml', '*.xacro') for path in (ROOT / 'src').rglob(kind) if path.is_file()]
    assert len(files) >= 7
    for path in files:
        ET.parse(path)


def test_packages_have_one_version_licence_and_the_imports_run_one_way():
    packages = {}
    for path in (ROOT / 'src').glob('*/package.xml'):
        root = ET.parse(path).getroot()
        packages[root.findtext('name')] = root
    assert {root.findtext('license') for root in packages.values()} == {'Apache-2.0'}
    assert len({root.findtext('version') for root in packages.values()}) == 1
    allowed = {
        'resfit_msgs': set(),
        'resfit_policy': {'resfit_msgs'},
        'resfit_learner': {'resfit_msgs', 'resfit_policy'},
        'resfit_sim': {'resfit_msgs', 'resfit_policy'},
        'resfit_bringup': {'resfit_msgs', 'resfit_policy', 'resfit_learner', 'resfit_sim'},
    }
    for name, root in packages.items():
        named = {entry.text for kind in ('depend', 'exec_depend') for entry in root.iterfind(kind)}
        assert named & set(packages) == allowed[name]


@pytest.mark.parametrize('mode', ['wheels', 'apt'])
def test_no_two_requirement_files_disagree(mode):
    direct = pins('common.txt') | pins(f'{mode}.txt') | pins('gpu.txt')
    assert not direct.keys() & pins('lock.txt').keys()
    assert pins('cpu.txt')['torch'].partition('+')[0] == pins('gpu.txt')['torch']


def test_what_is_installed_is_what_is_locked():
    locked = pins('lock.txt') | pins('common.txt') | pins('wheels.txt') | pins('gpu.txt')
    installed = {
        re.sub('[-_.]+', '-', distribution.metadata['Name']).lower(): distribution.version.partition('+')[0]
        for distribution in importlib.metadata.distributions()
    }
    if 'ros-rclpy' not in installed:
        pytest.skip('with apt ROS, the system decides on some versions')
    assert {name: installed.get(name) for name in locked} == locked


@pytest.mark.parametrize('package', ['resfit_policy', 'resfit_learner', 'resfit_sim', 'resfit_bringup'])
def test_package_xml_names_every_ros_package_that_is_imported(package):
    root = ET.parse(ROOT / 'src' / package / 'package.xml').getroot()
    named = {entry.text for kind in ('depend', 'exec_depend', 'test_depend') for entry in root.iterfind(kind)}
    other = r'rclpy|xacro|launch|launch_ros|ament_index_python|cv_bridge|resfit_\w+'
    ros = re.compile(rf'^ *(?:from|import) ((?:{other}|\w+_(?:msgs|srvs|interfaces))\b)', re.MULTILINE)
    for path in (ROOT / 'src' / package).rglob('*.py'):
        assert set(ros.findall(path.read_text())) - {package} <= named, path


def test_files_stay_as_short_as_contributing_says():
    said = (ROOT / 'CONTRIBUTING.md').read_text()
    nodes, files = (int(number) for number in re.findall(r'under (\d+)', said))
    lengths = {path: len(path.read_text().splitlines()) for path in (ROOT / 'src').rglob('*.py') if path.is_file()}
    assert sum(path.match('resfit_*/*_node.py') for path in lengths) > 10
    assert [f'{path}: {length}' for path, length in lengths.items() if length >= files] == []
    assert [f'{path}: {n}' for path, n in lengths.items() if path.match('resfit_*/*_node.py') and n >= nodes] == []
