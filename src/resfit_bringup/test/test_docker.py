"""Dockerfile and compose files are consistent with each other and with the checkout."""

import shlex
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
DOCKER = ROOT / 'docker'
pytestmark = pytest.mark.skipif(not DOCKER.is_dir(), reason='the package is tested outside its checkout')


def instructions() -> list[list[str]]:
    """Words of every instruction, continuation lines joined."""
    text = (DOCKER / 'Dockerfile').read_text().replace('\\\n', ' ')
    return [shlex.split(line, comments=True) for line in text.splitlines() if shlex.split(line, comments=True)]


def stages() -> dict[str, list[list[str]]]:
    """Instructions by stage name; the first one of each is its FROM."""
    found: dict[str, list[list[str]]] = {}
    for words in instructions():
        if words[0] == 'FROM':
            found[words[3]] = []
        found[list(found)[-1]].append(words)
    return found


def compose() -> dict[str, dict[str, object]]:
    return yaml.safe_load((DOCKER / 'compose.yaml').read_text())['services']


def user_of(stage: str) -> str | None:
    """The last USER of a stage or of the stages that it is made from; None where there is none."""
    all_stages = stages()
    while stage in all_stages:
        users = [words[1] for words in all_stages[stage] if words[0] == 'USER']
        if users:
            return users[-1]
        stage = all_stages[stage][0][1]
    return None


def test_the_promised_targets_exist_and_build_on_ros_jazzy_or_on_each_other():
    known = {'ros:jazzy-ros-base'}
    for name, words in stages().items():
        assert words[0][1] in known
        known.add(name)
    assert {'base', 'dev', 'robot', 'learner'} <= known


def test_everything_copied_is_in_the_checkout_and_in_the_build_context():
    context = [line[1:] for line in (ROOT / '.dockerignore').read_text().split() if line.startswith('!')]
    for words in instructions():
        if words[0] == 'COPY':
            for source in [word for word in words[1:-1] if not word.startswith('--')]:
                assert (ROOT / source).exists(), source
                assert any(source == entry or source.startswith(entry + '/') for entry in context), source


def test_manifests_are_copied_before_sources():
    """Otherwise every change of a source would install all ROS packages anew."""
    for name in ('learner', 'robot'):
        copied = [words for words in stages()[name] if words[0] == 'COPY']
        assert copied
        assert not any('rosdep install' in ' '.join(words) for words in stages()[name])


def test_images_run_as_an_ordinary_user_without_privileges():
    for name in ('base', 'dev', 'robot', 'learner'):
        assert user_of(name) == 'resfit'
    for name, service in compose().items():
        assert 'privileged' not in service, name


def test_compose_services_name_targets_and_share_domain_and_network():
    services = compose()
    assert set(services) == {'robot', 'learner'}
    for name, service in services.items():
        assert service['build']['target'] == name
        assert service['build']['target'] in stages()
        assert (DOCKER / service['build']['context'] / service['build']['dockerfile']).is_file()
        assert service['network_mode'] == 'host'
        assert 'ROS_DOMAIN_ID' in service['environment']


def test_the_gpu_file_adds_to_services_that_exist():
    extra = yaml.safe_load((DOCKER / 'compose.gpu.yaml').read_text())['services']
    assert set(extra) <= set(compose())


def test_launch_arguments_in_compose_are_arguments_of_the_launch_file():
    package = ROOT / 'src' / 'resfit_bringup'
    launch_file, *arguments = compose()['robot']['command'][3:]
    declared = (package / 'launch' / launch_file).read_text()
    declared += (package / 'resfit_bringup' / 'launching.py').read_text()
    for argument in arguments:
        assert f"'{argument.partition(':=')[0]}': (" in declared, argument
