"""Shared by the simulation's tests."""

import pytest

from resfit_policy.task import load_task
from resfit_sim.simulation import Simulation

TASKS = ('woolly_ball', 'package_handover', 'box_cleanup')


@pytest.fixture(params=TASKS)
def simulation(request: pytest.FixtureRequest) -> Simulation:
    return Simulation(load_task(request.param), 'demonstrated')


@pytest.fixture
def ball() -> Simulation:
    return Simulation(load_task('woolly_ball'), 'demonstrated')
