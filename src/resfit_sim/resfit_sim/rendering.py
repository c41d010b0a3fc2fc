"""Off-screen pictures on a machine with or without a GPU: EGL first, then OSMesa."""

from __future__ import annotations

import ctypes
import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resfit_policy.physics import mujoco
from resfit_sim.model import COARSE, FINE

_DEVICE_PLATFORM = 0x313F  # EGL_PLATFORM_DEVICE_EXT
OVERSAMPLING = 2  # per axis; half the time of the software renderer's own multisampling
HELP = (
    'cannot render: neither EGL nor OSMesa works on this machine. Install one of them, '
    'for example: apt-get install libegl1 libgl1-mesa-dri (EGL) or libosmesa6 (OSMesa)'
)


class RenderError(RuntimeError):
    """No way to draw; the text says what to install."""


def _egl_works() -> bool:
    """Whether some EGL device can be opened. Asked of the library itself: once PyOpenGL has tried EGL in a
    process, it cannot go back to OSMesa."""
    pointer, number = ctypes.c_void_p, ctypes.c_uint
    try:
        egl = ctypes.CDLL('libEGL.so.1')
        egl.eglGetProcAddress.restype = pointer
        query = egl.eglGetProcAddress(b'eglQueryDevicesEXT')
        display = egl.eglGetProcAddress(b'eglGetPlatformDisplayEXT')
    except (OSError, AttributeError):
        return False
    if not query or not display:
        return False
    query_devices = ctypes.CFUNCTYPE(number, ctypes.c_int, pointer, pointer)(query)
    open_display = ctypes.CFUNCTYPE(pointer, number, pointer, pointer)(display)
    egl.eglInitialize.argtypes = [pointer, pointer, pointer]
    devices, count = (pointer * 16)(), ctypes.c_int(0)
    query_devices(16, devices, ctypes.byref(count))
    opened = (open_display(_DEVICE_PLATFORM, devices[i], None) for i in range(count.value))
    return any(bool(each) and bool(egl.eglInitialize(each, None, None)) for each in opened)


def _osmesa_works() -> bool:
    for name in ('libOSMesa.so.8', 'libOSMesa.so.6', 'libOSMesa.so'):
        try:
            ctypes.CDLL(name)
        except OSError:
            continue
        return True
    return False


def select_backend() -> str:
    """'egl' or 'osmesa', or which of them MUJOCO_GL asks for. Raises RenderError when there is neither."""
    wanted = os.environ.get('MUJOCO_GL', '').lower()
    if wanted in ('egl', 'osmesa'):
        return wanted
    if _egl_works():
        return 'egl'
    if _osmesa_works():
        return 'osmesa'
    raise RenderError(HELP)


def _context(width: int, height: int) -> Any:
    asked_for = os.environ.get('MUJOCO_GL', '')
    backend = select_backend()
    os.environ['MUJOCO_GL'] = backend  # the C library asks again when it loads OpenGL
    try:
        if backend == 'egl':
            from mujoco.egl import GLContext
        else:
            from mujoco.osmesa import GLContext
        context = GLContext(width, height)
        context.make_current()
    except (ImportError, RuntimeError, OSError, AttributeError) as error:
        if backend == asked_for.lower():
            raise RenderError(f'cannot render: MUJOCO_GL={asked_for} does not work here ({error}); unset it') from error
        raise RenderError(f'{HELP} ({backend}: {error})') from error
    return context


class Camera:
    """Draws one model at one size. Made lazily: making it takes some 0.1 s and 50 MB."""

    def __init__(self, model: mujoco.MjModel, height: int, width: int) -> None:
        self._model = model
        self._gl = _context(width, height)
        self._scene = mujoco.MjvScene(model, maxgeom=2000)
        self._option = mujoco.MjvOption()
        self._view = mujoco.MjvCamera()
        self._view.type = mujoco.mjtCamera.mjCAMERA_FIXED
        width, height = OVERSAMPLING * width, OVERSAMPLING * height
        self._rect = mujoco.MjrRect(0, 0, width, height)
        self._context = mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_100)
        mujoco.mjr_resizeOffscreen(width, height, self._context)
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, self._context)
        self._pixels = np.zeros((height, width, 3), np.uint8)

    def render(self, data: mujoco.MjData, camera: str, fine: bool) -> NDArray[np.uint8]:
        """(H, W, 3) uint8 RGB as the named camera sees it. ``fine`` draws shadows and all triangles."""
        self._gl.make_current()
        self._view.fixedcamid = self._model.camera(camera).id
        self._option.geomgroup[:] = 0
        self._option.geomgroup[[0, FINE if fine else COARSE]] = 1
        self._scene.flags[mujoco.mjtRndFlag.mjRND_SHADOW] = fine
        mujoco.mjv_updateScene(
            self._model, data, self._option, None, self._view, mujoco.mjtCatBit.mjCAT_ALL, self._scene
        )
        mujoco.mjr_render(self._rect, self._scene, self._context)
        mujoco.mjr_readPixels(self._pixels, None, self._rect, self._context)
        rows, columns = self._rect.height // OVERSAMPLING, self._rect.width // OVERSAMPLING
        blocks = self._pixels[::-1].reshape(rows, OVERSAMPLING, columns, OVERSAMPLING, 3)
        return np.asarray(blocks.sum(axis=(1, 3), dtype=np.uint16) // OVERSAMPLING**2, np.uint8)

    def close(self) -> None:
        self._gl.make_current()
        self._context.free()
        self._gl.free()
