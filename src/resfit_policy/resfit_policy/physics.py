"""MuJoCo, imported without a window system: nothing here opens a window, and a picture's context is made by who draws.

On import MuJoCo loads what ``MUJOCO_GL`` names. That is GLFW by default, which starts two Python processes to ask for
its own version: slow, and a signal in that moment leaves their tracebacks in a node's log. Or it is a renderer that
this machine does not have, and the import fails where nothing is ever drawn.
"""

import os

_wanted = os.environ.get('MUJOCO_GL')
os.environ['MUJOCO_GL'] = 'off'
try:
    import mujoco
finally:  # others in this process, and rendering.py, go by what the user wants
    os.environ.pop('MUJOCO_GL')
    if _wanted is not None:
        os.environ['MUJOCO_GL'] = _wanted

__all__ = ['mujoco']
