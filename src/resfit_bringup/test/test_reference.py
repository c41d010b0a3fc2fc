"""docs/reference.md says what the code says."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest
from rclpy.qos import DurabilityPolicy, ReliabilityPolicy

from resfit_bringup.reference import QUALITIES, node_modules, reference
from resfit_policy import ros, watch_node

PAGE = Path(__file__).resolve().parents[3] / 'docs' / 'reference.md'


@pytest.mark.skipif(not PAGE.parent.is_dir(), reason='the package is tested outside its checkout')
def test_the_reference_is_what_the_code_would_write_now() -> None:
    assert PAGE.read_text() == reference(), 'run: python -m resfit_bringup.reference docs/reference.md'


@pytest.mark.parametrize('name', QUALITIES)
def test_the_words_for_a_quality_of_service_are_true(name: str) -> None:
    profile = getattr(ros, name, None) or getattr(watch_node, name)
    said = QUALITIES[name]
    assert ('best effort' in said) == (profile.reliability == ReliabilityPolicy.BEST_EFFORT)
    assert ('latched' in said) == (profile.durability == DurabilityPolicy.TRANSIENT_LOCAL)
    assert said.endswith('newest' if profile.depth == 1 else f'newest {profile.depth}')


def test_every_node_that_can_be_started_is_in_it() -> None:
    from importlib.metadata import entry_points

    started = {
        f'{point.value.partition(".")[0]}.{point.name}'
        for point in entry_points(group='console_scripts')
        if point.name.endswith('_node') and point.value.startswith('resfit_')
    }
    assert started == set(node_modules())
    for name in node_modules():
        assert importlib.import_module(name).__doc__
