"""Dockerfile and compose files are consistent with each other and with the checkout."""

import argparse
import shlex
from dataclasses import fields
from pathlib import Path

import pytest
import yaml

from resfit_bringup import cli
from resfit_learner.learner_node import Parameters

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
        if found:  # what comes before the first stage are its arguments
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
    assert ['ARG', 'BASE=ros:jazzy-ros-base'] in instructions()
    known = {'${BASE}'}
    for name, words in stages().items():
        assert words[0][1] in known
        known.add(name)
    assert {'base', 'dev', 'robot', 'learner'} <= known


def test_everything_copied_is_in_the_checkout_and_in_the_build_context():
    left_out = (ROOT / '.dockerignore').read_text().split()
    for words in instructions():
        if words[0] == 'COPY':
            for source in [word for word in words[1:-1] if not word.startswith('--')]:
                assert (ROOT / source).exists(), source
                assert source.partition('/')[0] not in left_out, source


def test_nothing_that_git_ignores_is_sent_to_the_build():
    """An environment of this machine in the image would be taken for the image's own."""
    ignored = {line.strip('/') for line in (ROOT / '.gitignore').read_text().split()}
    left_out = {line.removeprefix('**/') for line in (ROOT / '.dockerignore').read_text().split()}
    assert ignored == left_out


def test_manifests_and_requirements_are_copied_before_sources():
    """Otherwise every change of a source would install all packages anew."""
    for name in ('base', 'full'):
        copied = [source for words in stages()[name] if words[0] == 'COPY' for source in words[1:-1]]
        sources = [source for source in copied if source.startswith('src/')]
        assert all(Path(source).suffix == '.xml' for source in sources)
    for name in ('learner', 'robot'):
        assert not any('machine' in words or 'packages' in words for words in stages()[name])


def test_the_image_of_the_learner_has_the_manifests_of_what_it_builds():
    def packages(stage: str, suffix: str) -> set[str]:
        copied = [words[-1] for words in stages()[stage] if words[0] == 'COPY' and words[-2].endswith(suffix)]
        return {target for target in copied if target.startswith('src/')}

    assert packages('learner', '/') == packages('base', 'package.xml')
    assert {f'src/{path.parent.name}/' for path in (ROOT / 'src').glob('*/package.xml')} == packages(
        'base', 'package.xml'
    ) | packages('full', 'package.xml')


def test_images_run_as_an_ordinary_user_without_privileges():
    for name in ('base', 'full', 'dev', 'robot', 'learner'):
        assert user_of(name) == 'resfit'
    for name, service in compose().items():
        assert 'privileged' not in service, name


def test_compose_services_name_targets_and_share_domain_and_network():
    services = compose()
    assert set(services) == {'simulation', 'robot', 'learner'}
    arguments = {words[1].partition('=')[0] for words in instructions() if words[0] == 'ARG'}
    for name, service in services.items():
        assert service['build']['target'] == {'simulation': 'robot'}.get(name, name)
        assert service['image'] == f'resfit:{service["build"]["target"]}'
        assert service['build']['target'] in stages()
        assert set(service['build']['args']) <= arguments
        assert (DOCKER / service['build']['context'] / service['build']['dockerfile']).is_file()
        assert service['network_mode'] == 'host'
        assert {'ROS_DOMAIN_ID', 'FASTRTPS_DEFAULT_PROFILES_FILE'} <= set(service['environment'])


def test_up_alone_starts_the_simulated_run_and_the_other_services_are_for_two_hosts():
    services = compose()
    assert [name for name, service in services.items() if 'profiles' not in service] == ['simulation']
    for name in ('robot', 'learner'):
        assert services[name]['environment']['ROS_AUTOMATIC_DISCOVERY_RANGE'] == 'SUBNET', name


def test_the_simulated_run_is_a_command_that_resfit_knows():
    command = [
        word.replace('${RESFIT_TASK:-woolly_ball}', 'woolly_ball') for word in compose()['simulation']['command']
    ]
    args = argparse.Namespace(command='', resume=None, words=[])
    assert command[0] == 'resfit'
    cli.parse(command[1:], args)
    assert args.run_dir == Path('/runs/docker')


def test_the_learners_parameters_in_compose_are_those_of_the_node():
    words = compose()['learner']['command']
    given = {word.partition(':=')[0] for word in words if ':=' in word}
    assert given <= {item.name for item in fields(Parameters)} and 'directory' in given


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
