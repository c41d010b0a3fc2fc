"""The simulated Dexmate Vega: model, tasks, experts, Gymnasium environments and the simulation node."""

import gymnasium

ENVIRONMENTS = {
    'resfit/VegaWoollyBall-v0': 'woolly_ball',
    'resfit/VegaPackageHandover-v0': 'package_handover',
    'resfit/VegaBoxCleanup-v0': 'box_cleanup',
}

for _id, _task in ENVIRONMENTS.items():
    gymnasium.register(_id, entry_point='resfit_sim.env:VegaEnv', kwargs={'task': _task})
