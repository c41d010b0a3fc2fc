"""What ResFiT is compared with, each a ``Method`` in one file. RLPD and IBRL are recipes of our learner (config.py)."""
