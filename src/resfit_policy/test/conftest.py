"""What several tests of nodes begin with."""

from collections.abc import Iterator

import pytest

from resfit_policy.testing import Probe, isolated_domain


@pytest.fixture
def probe() -> Iterator[Probe]:
    """In the policy's place, in a ROS domain of its own."""
    with isolated_domain():
        made = Probe('policy_node')
        yield made
        made.close()
