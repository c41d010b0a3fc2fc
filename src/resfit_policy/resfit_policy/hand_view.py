"""The objects as the hands see them once they have done what they are told.

A grasp is decided by millimetres between a hand and an object. A small network that is given joint angles and places in
the world has to learn the arm's kinematics first; with forward kinematics in front of it, it is given the millimetres.
The kinematics are taken from the model that the robot's actions are checked with, and travel with the weights.
"""

from __future__ import annotations

from typing import Annotated

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass
from torch import Tensor, nn

from resfit_policy.collision import follow_leaders, load_collision_model
from resfit_policy.physics import mujoco
from resfit_policy.task import ConfigError, Task

Index = Annotated[int, Field(ge=0)]
POSITION, AXES = 3, 6  # numbers of an object's position, and of its first two rotation columns


@dataclass(frozen=True, config=ConfigDict(extra='forbid'))
class ViewConfig:
    """What a hand view is of: H hands, each moved by at most L joints, and O objects."""

    joints: tuple[tuple[Index, ...], ...] = ()  # (H, L) in the action; a shorter chain is filled up with 0
    positions: tuple[Index, ...] = ()  # in the state, where an object's position begins, m
    axes: tuple[Index, ...] = ()  # in the state, where its rotation columns begin

    @property
    def places(self) -> int:
        """Numbers in what is seen that are positions, m; they come first."""
        return POSITION * len(self.joints) * len(self.positions)

    @property
    def size(self) -> int:
        """Numbers in what is seen: V."""
        return self.places + AXES * len(self.joints) * len(self.axes)

    def fits(self, state_size: int, action_size: int) -> bool:
        """Whether all of it lies within the state and the action."""
        ends = [start + POSITION for start in self.positions] + [start + AXES for start in self.axes]
        joints = [joint for chain in self.joints for joint in chain]
        even = len({len(chain) for chain in self.joints}) <= 1
        return even and max(ends, default=0) <= state_size and max(joints, default=-1) < action_size


class HandView(nn.Module):
    """(B, S) state and (B, A) rad action -> (B, V): positions (m), then axes, of the objects in each hand's frame.

    Forward kinematics by the product of exponentials (Murray, Li, Sastry 1994, equation 3.1).
    """

    def __init__(self, config: ViewConfig) -> None:
        super().__init__()
        self.config = config
        self.screw: Tensor
        self.home: Tensor
        self.origin: Tensor
        hands, links = len(config.joints), len(config.joints[0]) if config.joints else 0
        self.register_buffer('screw', torch.zeros(hands, links, 4, 4))  # of each joint, 0 where it is filled up
        self.register_buffer('origin', torch.zeros(hands, links))  # rad or m, where the joints are at home
        self.register_buffer('home', torch.eye(4).repeat(hands, 1, 1))  # pose of each hand there

    def hands(self, action: Tensor) -> Tensor:
        """Poses of the hands (B, H, 4, 4) in the robot's frame, at joint positions (B, A)."""
        angle = (action[:, self.config.joints] - self.origin)[..., None, None]
        square = self.screw @ self.screw
        turns = torch.eye(4) + angle * self.screw + (1 - angle.cos()) * square
        turns = turns + (angle - angle.sin()) * (square @ self.screw)
        pose = self.home
        for turn in reversed(turns.unbind(2)):
            pose = turn @ pose
        return pose

    def forward(self, state: Tensor, action: Tensor) -> Tensor:
        if not self.config.size:
            return action[:, :0]
        pose = self.hands(action)
        turn, place = pose[:, :, :3, :3], pose[:, :, :3, 3]
        points = _columns(state, self.config.positions, POSITION)[:, None] - place[:, :, None]
        axes = _columns(state, self.config.axes, AXES).reshape(len(state), 1, -1, POSITION)
        return torch.cat([(part @ turn).flatten(1) for part in (points, axes)], 1)


def hand_view(task: Task) -> HandView:
    """The view of ``task``'s objects from its robot's hands; of nothing where it has no poses, or names no model.

    Raises ConfigError where the model cannot be read, or lacks a joint or an end effector.
    """
    starts = task.action_size + np.cumsum([0] + [item.size for item in task.objects])[:-1]
    posed = [(int(start), item) for start, item in zip(starts, task.objects, strict=True) if item.pose != 'vector']
    robot = task.robot
    if not posed or not robot.collision or not robot.end_effectors:
        return HandView(ViewConfig())
    model = load_collision_model(robot.collision)
    data = mujoco.MjData(model)
    try:
        hands = [model.body(name).id for name in robot.end_effectors]
        column = {model.joint(name).id: index for index, name in enumerate(robot.names)}
    except KeyError as error:
        raise ConfigError(
            f'{robot.collision}: {error.args[0]}; correct the names of robot {robot.name}, or leave end_effectors out'
        ) from None
    follow_leaders(model, data)
    mujoco.mj_kinematics(model, data)
    chains = [[joint for joint in _chain(model, hand) if joint in column] for hand in hands]
    longest = max(len(chain) for chain in chains)
    view = HandView(
        ViewConfig(
            tuple(tuple([column[joint] for joint in chain] + [0] * (longest - len(chain))) for chain in chains),
            tuple(start for start, _ in posed),
            tuple(start + POSITION for start, item in posed if item.pose == 'full'),
        )
    )
    for row, (hand, chain) in enumerate(zip(hands, chains, strict=True)):
        view.home[row, :3, :3] = torch.from_numpy(data.xmat[hand].reshape(3, 3))
        view.home[row, :3, 3] = torch.from_numpy(data.xpos[hand])
        for link, joint in enumerate(chain):
            view.screw[row, link] = torch.from_numpy(_screw(model, data, joint))
            view.origin[row, link] = float(data.qpos[model.jnt_qposadr[joint]])
    return view


def _columns(state: Tensor, starts: tuple[int, ...], width: int) -> Tensor:
    """(B, S) -> (B, len(starts), width)."""
    columns = torch.tensor(starts, dtype=torch.long)[:, None] + torch.arange(width)
    return state[:, columns]


def _chain(model: mujoco.MjModel, body: int) -> list[int]:
    """The joints that move ``body``, from the world on."""
    joints: list[int] = []
    while body:
        first = model.body_jntadr[body]
        joints[:0] = range(first, first + model.body_jntnum[body])
        body = model.body_parentid[body]
    return joints


def _screw(model: mujoco.MjModel, data: mujoco.MjData, joint: int) -> NDArray[np.float64]:
    """The twist (4, 4) of one rad or m of a joint, in the robot's frame."""
    axis, anchor = data.xaxis[joint], data.xanchor[joint]
    screw = np.zeros((4, 4))
    if model.jnt_type[joint] == mujoco.mjtJoint.mjJNT_SLIDE:
        screw[:3, 3] = axis
    else:
        screw[:3, :3] = np.cross(np.eye(3), axis)  # times a vector: axis x vector
        screw[:3, 3] = np.cross(anchor, axis)
    return screw
