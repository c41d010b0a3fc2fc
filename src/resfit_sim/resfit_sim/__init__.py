"""The simulated Dexmate Vega: model, tasks, experts, Gymnasium environments and the simulation node."""
