"""Entry points."""

from __future__ import annotations

from resfit_policy.start import start


def sim_node() -> None:
    start('resfit_sim.sim_node')
