"""Target, streamed command and measured position through a real controller manager: a plot, tracking and jitter.

With a graph that is up (``ros2 launch resfit_bringup vega_collect.launch.py hardware:=sim``):
    source setup.bash && python benchmarks/ros2_control.py --out docs/results/ros2_control.png

``--start sim`` starts the scripted expert's graph itself, ``--start mock`` the mock hardware with slow waves for
targets.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use('Agg')
import matplotlib.pyplot as plt
import numpy as np
from ament_index_python.packages import PackageNotFoundError, get_package_prefix
from numpy.typing import NDArray
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64MultiArray
from trajectory_msgs.msg import JointTrajectory

from resfit_bringup.graph import CONTROLLERS, Graph, Options, collect_graph
from resfit_bringup.runner import Runner
from resfit_policy.convert import set_stamp, stamp_ns
from resfit_policy.ros import COMMAND, SENSOR
from resfit_policy.task import Task, load_task
from resfit_policy.testing import Probe, isolated_domain
from resfit_sim.simulation import HOME

Array = NDArray[np.float64]
SHOWN = {'sim': ('R_arm_j1', 'R_arm_j4', 'R_ff_j1'), 'mock': ('R_arm_j1', 'L_arm_j4', 'head_j1')}


class Recorder:
    """Keeps (time s, positions) of three topics; joint states under their stamp, the others as they come."""

    def __init__(self, task: Task, controller: str, probe: Probe) -> None:
        self.names, self.probe = list(task.robot.names), probe
        self.target: list[tuple[float, Any]] = []
        self.command: list[tuple[float, Any]] = []
        self.measured: list[tuple[float, Any]] = []
        kind = JointTrajectory if controller == 'trajectory' else Float64MultiArray
        node = probe.node
        node.create_subscription(JointState, 'target', lambda m: self.keep(self.target, m), COMMAND)
        node.create_subscription(JointState, 'joint_states', lambda m: self.keep(self.measured, m), SENSOR)
        node.create_subscription(kind, CONTROLLERS[controller], self.on_command, 100)

    def keep(self, where: list[tuple[float, Any]], message: JointState) -> None:
        now = dict(zip(message.name, message.position, strict=False))
        stamp = 1e-9 * stamp_ns(message.header.stamp) if where is self.measured else time.time()
        where.append((stamp, [now[name] for name in self.names]))

    def on_command(self, message: Any) -> None:
        self.command.append((time.time(), message.points[-1].positions if hasattr(message, 'points') else message.data))

    def clear(self) -> None:
        for rows in (self.target, self.command, self.measured):
            rows.clear()


def columns(rows: list[tuple[float, Any]]) -> tuple[Array, Array]:
    """Times (N,) and positions (N, A)."""
    return np.array([row[0] for row in rows]), np.array([list(row[1]) for row in rows])


def summary(values: Array) -> dict[str, float]:
    return {key: round(float(np.percentile(values, q)), 5) for key, q in (('p50', 50), ('p99', 99), ('max', 100))}


def figures(recorder: Recorder) -> dict[str, Any]:
    """Rates, jitter and tracking error. Lag: by how much the measured positions follow the commands best.

    Fingers are counted apart: they close on an object that keeps them from where they are commanded. What lies within
    half a second of a reset of the scene, where the robot jumps, is not counted.
    """
    (sent, commands), (seen, measured) = columns(recorder.command), columns(recorder.measured)
    moving = np.ptp(commands, axis=0) > 0.05
    arms = moving & np.array(['_arm_' in name or 'head' in name for name in recorder.names])
    jumps = seen[1:][np.abs(np.diff(measured, axis=0)).max(axis=1) > 0.1]
    inside = seen[(seen > sent[0] + 0.3) & (seen < sent[-1])]
    inside = inside[np.all(np.abs(inside[:, None] - jumps[None]) > 0.5, axis=1)]

    def error(lag: float, joints: Array) -> Array:
        pairs = (
            (np.interp(inside, seen, measured[:, joint]), np.interp(inside - lag, sent, commands[:, joint]))
            for joint in np.flatnonzero(joints)
        )
        return np.abs(np.array([there - due for there, due in pairs]))

    lags = np.arange(0.0, 0.3, 0.002)
    best = min(lags, key=lambda lag: float(error(lag, arms).mean()))
    return {
        'seconds': round(float(seen[-1] - seen[0]), 2),
        'joint_states': len(seen),
        'commands': len(sent),
        'targets': len(recorder.target),
        'state_period_ms': summary(1e3 * np.diff(seen)),
        'command_period_ms': summary(1e3 * np.diff(sent)),
        'joints_moving': int(moving.sum()),
        'lag_ms': round(1e3 * float(best), 1),
        'arms_error_rad': summary(error(0.0, arms)),
        'arms_error_after_lag_rad': summary(error(best, arms)),
        'fingers_error_after_lag_rad': summary(error(best, moving & ~arms)),
    }


def plot(path: Path, recorder: Recorder, shown: tuple[str, ...], found: dict[str, Any], title: str) -> None:
    figure, rows = plt.subplots(len(shown), 1, sharex=True, figsize=(9, 2.3 * len(shown)), layout='constrained')
    (sent, commands), (seen, measured) = columns(recorder.command), columns(recorder.measured)
    asked, targets = columns(recorder.target)
    begin = seen[0]
    for axis, name in zip(rows, shown, strict=True):
        joint = recorder.names.index(name)
        axis.plot(asked - begin, targets[:, joint], 'o', ms=2.5, color='tab:gray', label='target, 20 Hz')
        axis.plot(sent - begin, commands[:, joint], lw=1.0, color='tab:orange', label='command, 100 Hz')
        axis.plot(seen - begin, measured[:, joint], lw=1.0, color='tab:blue', label='measured, 100 Hz')
        axis.set_ylabel(f'{name} [rad]')
        axis.grid(alpha=0.3)
    period, error = found['state_period_ms'], found['arms_error_after_lag_rad']
    figure.suptitle(
        f'{title}: state period p50 {period["p50"]:.2f}, p99 {period["p99"]:.2f} ms; lag {found["lag_ms"]:.0f} ms, '
        f"arms' error after it p50 {error['p50']:.4f}, p99 {error['p99']:.4f} rad",
        fontsize=9,
    )
    figure.legend(*rows[0].get_legend_handles_labels(), loc='outside lower center', fontsize=8, ncols=3)
    rows[-1].set_xlabel('s')
    figure.savefig(path, dpi=110)


def wave(task: Task, probe: Probe, seconds: float) -> None:
    """Targets at 20 Hz: every joint in a slow wave about home, as far as its limits let it, 2.5 s long."""
    targets = probe.node.create_publisher(JointState, 'target', COMMAND)
    swing = np.minimum(0.3, np.minimum(HOME - task.robot.lower, task.robot.upper - HOME))
    begin = time.monotonic()
    for step in range(round(seconds * task.control_hz)):
        goal = HOME + swing * np.sin(2 * np.pi * 0.4 * step / task.control_hz)
        message = JointState(name=list(task.robot.names), position=goal.tolist())
        set_stamp(message.header.stamp, probe.node.get_clock().now().nanoseconds)
        targets.publish(message)
        probe.spin(max(begin + (step + 1) / task.control_hz - time.monotonic(), 0.0))


def graph(arguments: argparse.Namespace, folder: str) -> Graph:
    options = Options(
        run_dir=Path(folder),
        base='resfit_sim.experts:unseen',
        hardware=arguments.start,
        controller=arguments.controller,
        seed=40,
        params_file=arguments.params_file,
    )
    made = collect_graph(options)
    if arguments.start == 'sim':
        return made
    idle = ('policy_node', 'reward_node', 'replay_node')
    return Graph(options, tuple(process for process in made.processes if process.name not in idle))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--start', choices=('sim', 'mock'), help='start the graph too (default: one is up)')
    parser.add_argument('--controller', choices=tuple(CONTROLLERS), default='position')
    parser.add_argument('--params-file', default='', help="with --start: ROS parameters over the graph's")
    parser.add_argument('--seconds', type=float, default=12.0)
    parser.add_argument('--out', type=Path, default=Path('ros2_control.png'))
    parser.add_argument('--joints', nargs='+', help='joints to show')
    arguments = parser.parse_args()
    task = load_task('woolly_ball')
    try:
        get_package_prefix('controller_manager_msgs')
    except PackageNotFoundError:
        sys.exit(
            'ros2_control is not installed here (no controller_manager_msgs): it comes with ROS 2 Jazzy, see README'
        )
    with ExitStack() as stack:
        if arguments.start:
            folder = stack.enter_context(tempfile.TemporaryDirectory())
            stack.enter_context(isolated_domain())
            stack.enter_context(Runner(graph(arguments, folder)))
        probe = Probe('ros2_control_recorder')
        recorder = Recorder(task, arguments.controller, probe)
        try:
            probe.until(lambda: recorder.measured and recorder.command, 60.0)
            if arguments.start == 'mock':
                wave(task, probe, 5.0)
            else:
                probe.until(lambda: recorder.target, 60.0)
        except AssertionError:
            sys.exit('no joint_states, commands or targets within 60 s: is the graph up, in this ROS domain?')
        recorder.clear()
        wave(task, probe, arguments.seconds) if arguments.start == 'mock' else probe.spin(arguments.seconds)
        probe.close()
    found = figures(recorder) | {'load': round(os.getloadavg()[0], 1), 'controller': arguments.controller}
    title = {'mock': 'mock hardware', 'sim': 'simulation behind the manager'}.get(arguments.start, 'hardware')
    shown = tuple(arguments.joints or SHOWN[arguments.start or 'sim'])
    plot(arguments.out, recorder, shown, found, title)
    print(json.dumps(found, indent=2))  # noqa: T201


if __name__ == '__main__':
    main()
