"""The simulated Dexmate Vega: model, tasks, experts, Gymnasium environments and the simulation node."""

import importlib
import os

import gymnasium

try:
    importlib.import_module('mujoco')
except (AttributeError, ImportError, RuntimeError):
    # It asks for the renderer that MUJOCO_GL names. Most of this package never draws, and where something is
    # drawn, rendering.py says what is wrong.
    _wanted = os.environ.pop('MUJOCO_GL', None)
    if _wanted is None:
        raise
    importlib.import_module('mujoco')
    os.environ['MUJOCO_GL'] = _wanted

ENVIRONMENTS = {
    'resfit/VegaWoollyBall-v0': 'woolly_ball',
    'resfit/VegaPackageHandover-v0': 'package_handover',
    'resfit/VegaBoxCleanup-v0': 'box_cleanup',
}

for _id, _task in ENVIRONMENTS.items():
    gymnasium.register(_id, entry_point='resfit_sim.env:VegaEnv', kwargs={'task': _task})
