"""Inverse kinematics of Vega's arms: damped least squares on a robot model of its own.

Hand coordinates, the same for both hands seen from their owner: column 0 along the fingers, column 1 out of
the palm, column 2 towards the thumb. The left hand's axes are therefore a left-handed frame.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from resfit_policy.physics import mujoco
from resfit_sim.model import build_robot, load_robot, set_joints

Array = NDArray[np.float64]
Side = Literal['R', 'L']

ARM: dict[Side, slice] = {'R': slice(0, 7), 'L': slice(7, 14)}
HAND: dict[Side, slice] = {'R': slice(14, 20), 'L': slice(20, 26)}  # th_j0, th_j1, then ff, mf, rf, lf
MIRROR = np.diag([1.0, -1.0, 1.0])
# Elbow low and out, forearm forward: what the null space of the seventh joint leans towards.
_RIGHT_REST = np.array([-1.99, -0.28, 0.14, -2.34, -0.24, -0.38, 0.46])
REST: dict[Side, Array] = {'R': _RIGHT_REST, 'L': _RIGHT_REST * [-1, -1, -1, 1, -1, -1, -1]}

DAMPING = 1e-4  # of the normal equations, m^2
ROTATION_WEIGHT = 0.3  # m/rad: how much a turn counts against a shift
REST_WEIGHT = 0.1  # step towards REST in the null space, per iteration
MAX_SHIFT, MAX_TURN = 0.1, 0.25  # m and rad per iteration
LIMIT_MARGIN = 0.02  # rad kept from every joint limit


def hand_axes(roll: float, yaw: float, pitch: float, side: Side = 'R') -> Array:
    """Axes (3, 3) of a hand whose fingers point forward and whose palm faces inward, thumb up, then turned:
    roll > 0 turns the palm down, pitch > 0 the fingers down, yaw > 0 the hand to the left (right hand; the
    left one is its mirror image)."""
    cr, sr, cy, sy, cp, sp = (f(a) for a in (roll, yaw, pitch) for f in (math.cos, math.sin))
    turn_x = np.array([[1, 0, 0], [0, cr, sr], [0, -sr, cr]])
    turn_y = np.array([[cp, 0, sp], [0, 1, 0], [-sp, 0, cp]])
    turn_z = np.array([[cy, -sy, 0], [sy, cy, 0], [0, 0, 1]])
    axes: Array = turn_z @ turn_y @ turn_x
    return axes if side == 'R' else MIRROR @ axes


@dataclass(frozen=True)
class Solution:
    """joints (29,) rad; position_error m and rotation_error rad (sine) that are left."""

    joints: Array
    position_error: float
    rotation_error: float


class Kinematics:
    """Forward and inverse kinematics; holds its own model and data, so two never disturb each other."""

    def __init__(self) -> None:
        self.model = build_robot(visuals=False).compile()
        self.data = mujoco.MjData(self.model)
        robot = load_robot()
        self.lower, self.upper, self.velocity = robot.lower, robot.upper, robot.velocity
        self._bodies: dict[Side, int] = {s: self.model.body(f'{s}_hand_base').id for s in ('R', 'L')}
        self._dofs = self.model.jnt_dofadr[self.model.actuator_trnid[:, 0]]
        self._jacobian = np.zeros((6, self.model.nv))

    def hand_pose(self, side: Side, joints: Array) -> tuple[Array, Array]:
        """Wrist position (3,) m and hand axes (3, 3) at ``joints`` (29,) rad, in the world frame."""
        set_joints(self.model, self.data, joints)
        mujoco.mj_kinematics(self.model, self.data)
        body = self._bodies[side]
        frame = self.data.xmat[body].reshape(3, 3)
        thumb = -frame[:, 1] if side == 'R' else frame[:, 1]
        return self.data.xpos[body].copy(), np.stack([-frame[:, 0], -frame[:, 2], thumb], axis=1)

    def solve(
        self, side: Side, joints: Array, point: Array, axes: Array, offset: Array, iterations: int = 80
    ) -> Solution:
        """Move one arm so that the point at ``offset`` (3,) m in hand coordinates is at ``point`` (3,) m in
        the world and the hand's axes are ``axes`` (3, 3). Starts from ``joints`` (29,) rad and leaves the
        other joints alone. Always returns its best; look at the errors."""
        joints, arm = joints.astype(float), ARM[side]
        columns, rest = self._dofs[arm], REST[side]
        lower, upper = self.lower[arm] + LIMIT_MARGIN, self.upper[arm] - LIMIT_MARGIN
        shift, turn = math.inf, math.inf
        for _ in range(iterations):
            wrist, now = self.hand_pose(side, joints)
            mujoco.mj_comPos(self.model, self.data)
            grip = wrist + now @ offset
            to_go, to_turn = point - grip, _rotation_error(axes @ now.T)
            shift, turn = float(np.linalg.norm(to_go)), float(np.linalg.norm(to_turn))
            if shift < 5e-4 and turn < 3e-3:
                break
            full = self._jacobian
            mujoco.mj_jac(self.model, self.data, full[:3], full[3:], grip, self._bodies[side])
            jacobian = np.vstack([full[:3, columns], ROTATION_WEIGHT * full[3:, columns]])
            error = np.concatenate([to_go * min(1.0, MAX_SHIFT / (shift + 1e-9)), ROTATION_WEIGHT * to_turn])
            inverse = jacobian.T @ np.linalg.inv(jacobian @ jacobian.T + DAMPING * np.eye(6))
            idle = (np.eye(7) - inverse @ jacobian) @ (REST_WEIGHT * (rest - joints[arm]))
            step = np.clip(inverse @ error + idle, -MAX_TURN, MAX_TURN)
            joints[arm] = np.clip(joints[arm] + step, lower, upper)
        return Solution(joints, shift, turn)


def _rotation_error(turn: Array) -> Array:
    """Rotation vector (3,) of the matrix ``turn``, its length sin(angle), or 1 beyond 90 degrees."""
    error = 0.5 * np.array([turn[2, 1] - turn[1, 2], turn[0, 2] - turn[2, 0], turn[1, 0] - turn[0, 1]])
    if np.trace(turn) < 1:
        error /= np.linalg.norm(error) + 1e-9
    return error
