"""Configuration, robot description, controllers, RViz, launch graph and the resfit command."""
