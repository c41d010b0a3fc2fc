"""What a task is: robot, control rate, state layout, cameras, horizon (design sections 2 and 5).

One YAML file per task and one per robot, in this package's ``config`` folder or anywhere else.
The simulation, the nodes and the learner all read these and nothing else about joints.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import numpy as np
import yaml
from numpy.typing import NDArray
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError, model_validator
from pydantic.dataclasses import dataclass

CONFIG_DIR = Path(__file__).parent / 'config'
STRICT = ConfigDict(extra='forbid')
T = TypeVar('T')
Finite = Annotated[float, Field(allow_inf_nan=False)]
Size = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class ConfigError(ValueError):
    """A configuration that cannot be used; the text says where and what to do."""


def parse_config(kind: type[T], values: Any, where: str) -> T:
    """Build the frozen dataclass ``kind`` from a mapping; unknown keys and bad values are errors.

    Raises ConfigError naming ``where``, the key, and the keys there are.
    """
    if not isinstance(values, dict):
        raise ConfigError(f'{where}: expected a mapping of {kind.__name__} fields')
    try:
        return TypeAdapter(kind).validate_python(values)
    except ValidationError as error:
        lines = []
        for item in error.errors():
            key = '.'.join(str(part) for part in item['loc']) or kind.__name__
            if item['type'] in ('unexpected_keyword_argument', 'extra_forbidden'):
                known = ', '.join(getattr(kind, '__dataclass_fields__', {}))
                lines.append(f'unknown key "{key}" (known: {known})')
            else:
                lines.append(f'{key}: {item["msg"]}')
        raise ConfigError(f'{where}: ' + '; '.join(lines)) from None


def read_yaml(path: Path) -> Any:
    """Read one YAML file. Raises ConfigError where it is missing or malformed."""
    try:
        return yaml.safe_load(path.read_text())
    except OSError as error:
        raise ConfigError(f'cannot read {path}: {error.strerror}') from None
    except yaml.YAMLError as error:
        raise ConfigError(f'{path} is not valid YAML: {error}') from None


def read_json(path: Path) -> dict[str, Any]:
    """Read one JSON object. Raises ConfigError where it is missing or malformed."""
    try:
        values = json.loads(path.read_text())
    except OSError as error:
        raise ConfigError(f'cannot read {path}: {error.strerror}') from None
    except ValueError as error:
        raise ConfigError(f'{path} is not valid JSON: {error}') from None
    if not isinstance(values, dict):
        raise ConfigError(f'{path}: expected a JSON object')
    return values


@dataclass(frozen=True, config=STRICT)
class Joint:
    """One actuated joint. Limits are the URDF's, the speed capped by the vendor's SDK."""

    name: str
    lower: Finite  # rad
    upper: Finite  # rad
    velocity: Annotated[float, Field(gt=0)]  # rad/s
    # rad/s², by which the commanded speed may change from one control step to the next. At 20 Hz, from rest to the
    # full speed of an arm (2.7 rad/s) in one step is 54.
    acceleration: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 60.0
    residual: Annotated[float, Field(gt=0)] | None = None  # rad, a bound of its own in place of the robot's
    effort: Annotated[float, Field(gt=0)] | None = None  # Nm, measured; above it the robot holds (default: no limit)


@dataclass(frozen=True, config=STRICT)
class Robot:
    """The joints of the action vector, in its order. Mimic joints are in no action."""

    name: str
    joints: tuple[Joint, ...]
    end_effectors: tuple[str, ...] = ()  # its hands: TF frames, and bodies of the collision model
    residual_limit: Annotated[float, Field(gt=0)] = 0.35  # rad, the most any joint may be corrected
    collision: str = ''  # URDF or MJCF file, or module:factory of a mujoco.MjSpec, to check actions with; '': no check
    soft: tuple[str, ...] = ()  # bodies in it that may touch anything, as fingers do

    @model_validator(mode='after')
    def _check(self) -> Robot:
        if len(set(self.names)) != len(self.joints):
            raise ValueError('a joint is listed twice')
        for joint in self.joints:
            if not joint.lower < joint.upper:
                raise ValueError(f'{joint.name}: lower must be below upper')
        return self

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(joint.name for joint in self.joints)

    @property
    def lower(self) -> NDArray[np.float64]:
        """(A,) rad."""
        return np.array([joint.lower for joint in self.joints])

    @property
    def upper(self) -> NDArray[np.float64]:
        """(A,) rad."""
        return np.array([joint.upper for joint in self.joints])

    @property
    def velocity(self) -> NDArray[np.float64]:
        """(A,) rad/s."""
        return np.array([joint.velocity for joint in self.joints])

    @property
    def acceleration(self) -> NDArray[np.float64]:
        """(A,) rad/s²."""
        return np.array([joint.acceleration for joint in self.joints])

    @property
    def most_effort(self) -> NDArray[np.float64]:
        """(A,) Nm, infinite where a joint has no limit."""
        return np.array([joint.effort or np.inf for joint in self.joints])

    def residual_bounds(self, limit: float | None = None) -> NDArray[np.float64]:
        """(A,) rad, each joint's own bound or else the robot's, in whose place ``limit`` caps them all."""
        default, most = (self.residual_limit, np.inf) if limit is None else (limit, limit)
        return np.array([min(joint.residual or default, most) for joint in self.joints])


@dataclass(frozen=True, config=STRICT)
class SceneObject:
    """An object whose pose is part of the state: 3 numbers (position) or 9 (and two rotation columns).

    ``vector`` stands for ``dim`` numbers of any kind, as Gymnasium environments give them.
    """

    name: str
    pose: Literal['position', 'full', 'vector'] = 'position'
    dim: Annotated[int, Field(ge=0)] = 0

    @property
    def size(self) -> int:
        """Numbers in the state."""
        return {'position': 3, 'full': 9, 'vector': self.dim}[self.pose]


@dataclass(frozen=True, config=STRICT)
class Obstacle:
    """A box that stands where it is, its sides along the axes of the robot's frame."""

    name: str
    position: tuple[Finite, Finite, Finite]  # m, of its centre
    half_size: tuple[Size, Size, Size]  # m


@dataclass(frozen=True, config=STRICT)
class Task:
    """One task on one robot."""

    name: str
    robot: Robot
    horizon: Annotated[int, Field(gt=0)]  # control steps until time-out
    control_hz: Annotated[float, Field(gt=0)] = 20.0  # policy rate (paper: 20 Hz in simulation)
    command_hz: Annotated[float, Field(gt=0)] = 100.0  # streamer rate; a multiple of control_hz
    objects: tuple[SceneObject, ...] = ()
    cameras: tuple[str, ...] = ()  # order of PolicyStep.images
    image_size: Annotated[int, Field(gt=0)] = 84  # pixels, square
    instruction: str = ''  # what to do, in words, for a base that reads; default: the name
    obstacles: tuple[Obstacle, ...] = ()  # what the robot must not touch beside itself

    @model_validator(mode='after')
    def _check(self) -> Task:
        ratio = self.command_hz / self.control_hz
        if ratio < 1 or abs(ratio - round(ratio)) > 1e-9:
            raise ValueError('command_hz must be a multiple of control_hz')
        return self

    @property
    def action_size(self) -> int:
        return len(self.robot.joints)

    @property
    def state_size(self) -> int:
        """Joint positions, then the objects in order."""
        return self.action_size + sum(item.size for item in self.objects)

    @property
    def from_pixels(self) -> bool:
        """Cameras take the place of object poses."""
        return bool(self.cameras) and not self.objects

    def without_poses(self) -> Task:
        """The task as a real robot sees it: joints and cameras. Raises ConfigError where it has no cameras."""
        if not self.cameras:
            raise ConfigError(f'task {self.name} names no cameras: observe its state, or add them to its YAML file')
        return replace(self, objects=())

    @property
    def ticks(self) -> int:
        """Streamer commands per control step."""
        return round(self.command_hz / self.control_hz)

    @property
    def tick_ns(self) -> int:
        """Nanoseconds between two streamer commands."""
        return round(1e9 / self.command_hz)

    @property
    def period_ns(self) -> int:
        """Nanoseconds between two control steps."""
        return self.tick_ns * self.ticks


def task_names() -> list[str]:
    """Names of the tasks that ship with this package."""
    return sorted(path.stem for path in (CONFIG_DIR / 'tasks').glob('*.yaml'))


def load_task(name: str) -> Task:
    """Load a task by name or by path to a YAML file. Raises ConfigError."""
    path = Path(name) if name.endswith('.yaml') else CONFIG_DIR / 'tasks' / f'{name}.yaml'
    if not path.exists():
        raise ConfigError(f'no task "{name}": choose one of {", ".join(task_names())}, or give the path of a YAML file')
    values = read_yaml(path)
    if isinstance(values, dict) and isinstance(values.get('robot'), str):
        near = path.parent / values['robot']
        robot = near if near.exists() else CONFIG_DIR / 'robots' / f'{values["robot"]}.yaml'
        values = {**values, 'robot': parse_config(Robot, read_yaml(robot), str(robot))}
    return parse_config(Task, values, str(path))
