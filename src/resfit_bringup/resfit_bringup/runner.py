"""Starts a graph as processes and ends all of them again, on machines with and without ``ros2 launch``."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import IO

import yaml
from ament_index_python.packages import PackageNotFoundError, get_package_prefix

from resfit_bringup.graph import Graph, Options, Process
from resfit_policy.task import ConfigError

GRACE = 10.0  # s that a process has to end after SIGINT, and again after SIGTERM
RESPAWN_DELAY = 2.0  # s
MAX_RESPAWNS = 5  # of one process within a run
REFUSED = 2  # exit code of a node that was told something impossible: starting it again would not help


class GraphError(RuntimeError):
    """A process failed; the text names it and shows the end of its log."""


class Runner:
    """A running graph; use it as a context manager, so that nothing is left behind."""

    def __init__(self, graph: Graph) -> None:
        """Raises ConfigError where the run folder cannot be written or the domain is in use."""
        self.graph = graph
        self.logs = graph.options.run_dir / 'log'
        try:
            self.logs.mkdir(parents=True, exist_ok=True)
            self._lock = _lock_domain(graph.options)
        except OSError as error:
            raise ConfigError(
                f'cannot write to {error.filename}: {error.strerror}; choose another run folder'
            ) from None
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._died: dict[str, float] = {}
        self._respawns: dict[str, int] = {}
        self._ended = False

    def __enter__(self) -> Runner:
        try:
            refuse_others(self.graph)
            for process in self.graph.processes:
                self.start(process)
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def pid(self, name: str) -> int:
        """Process id of the process called ``name``."""
        return self._running[name].pid

    def start(self, process: Process) -> None:
        """Start one process; its output goes to ``log/<name>.log`` in the run folder."""
        command = [*find_executable(process), *process.arguments]
        if process.package:
            command += ros_arguments(process, self.graph.options, self.logs)
        with open(self.logs / f'{process.name}.log', 'ab') as log:
            self._running[process.name] = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={'OMP_NUM_THREADS': '1', **os.environ, 'PYTHONUNBUFFERED': '1'},
                start_new_session=True,  # Ctrl-C reaches this process alone, which ends the others in order
            )

    def wait(self, poll: Callable[[], None] = lambda: None, period: float = 0.5) -> None:
        """Return when the graph has done what it was asked for; ``poll`` is called every ``period`` s.

        Raises GraphError when a process fails that the run cannot do without.
        """
        while self.check():
            poll()
            time.sleep(period)

    def check(self) -> bool:
        """Look after the processes once: start again what may be, and say whether the graph still runs."""
        for process in self.graph.processes:
            child = self._running.get(process.name)
            code = child.poll() if child is not None else None
            if code is None:
                continue
            if process.essential and code == 0:
                return False
            hopeless = code == REFUSED or self._respawns.get(process.name, 0) >= MAX_RESPAWNS
            if process.essential or code == REFUSED or (process.respawn and hopeless):
                raise GraphError(self._failure(process, code))
            if process.respawn:
                died = self._died.setdefault(process.name, time.monotonic())
                if time.monotonic() - died >= RESPAWN_DELAY:
                    del self._died[process.name]
                    self._respawns[process.name] = self._respawns.get(process.name, 0) + 1
                    self.start(process)
        return True

    def stop(self) -> None:
        """End every process, the last started first, within a bounded time; at a second Ctrl-C, all at once."""
        if self._ended:
            return
        self._ended = True
        try:
            for process in reversed(self.graph.processes):
                child = self._running.get(process.name)
                if child is not None:
                    _end(child)
        finally:
            for child in self._running.values():
                if child.poll() is None:
                    child.kill()
            self._lock.close()

    def _failure(self, process: Process, code: int) -> str:
        log = self.logs / f'{process.name}.log'
        lines = log.read_text(errors='replace').splitlines()
        said = [line for line in lines if line.startswith('error: ')][-1:] or lines[-5:]
        reason = '\n  '.join(line.removeprefix('error: ') for line in said)
        ended = f'signal {-code}' if code < 0 else f'exit code {code}'
        return f'{process.name} ended with {ended}: {reason}\n(log: {log})'


def find_executable(process: Process) -> list[str]:
    """Path of a process's program. Raises ConfigError where it is not installed."""
    if not process.package:
        program = shutil.which(process.executable)
        if program is None:
            raise ConfigError(
                f'"{process.executable}" is not on this machine; leave out what needs it ({process.name})'
            )
        return [program]
    try:
        prefix = Path(get_package_prefix(process.package))
    except PackageNotFoundError:
        raise ConfigError(
            f'{process.name} needs the ROS package {process.package}, which is not installed here: '
            'install ROS 2 Jazzy with it, or choose hardware direct without rviz'
        ) from None
    path = prefix / 'lib' / process.package / process.executable
    if not path.exists():
        raise ConfigError(f'{path} is missing: build the workspace again with ./resfit setup')
    return [str(path)]


def parameters_file(process: Process, options: Options, folder: Path) -> str:
    """Write a process's parameters to a file in ``folder``, in which no value is taken for another type.

    They are for every node of the process: a controller manager hands them on to its controllers.
    """
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f'{process.name}.yaml'
    values = {**process.parameters, 'use_sim_time': options.sim_time}
    file.write_text(yaml.safe_dump({'/**': {'ros__parameters': values}}))
    return str(file)


def ros_arguments(process: Process, options: Options, folder: Path) -> list[str]:
    """Name, namespace and parameters."""
    arguments = ['--ros-args', '-r', f'__node:={process.name}']
    arguments += ['--params-file', parameters_file(process, options, folder)]
    if options.params_file:
        arguments += ['--params-file', options.params_file]
    if options.namespace:
        # rclpy listens to the clock under its absolute name
        arguments += ['-r', f'__ns:=/{options.namespace.strip("/")}', '-r', '/clock:=clock']
    return arguments


def _end(child: subprocess.Popen[bytes]) -> None:
    for signal_number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        if child.poll() is not None:
            return
        child.send_signal(signal_number)
        try:
            child.wait(GRACE)
        except subprocess.TimeoutExpired:
            continue


def _lock_domain(options: Options) -> IO[str]:
    domain = os.environ.get('ROS_DOMAIN_ID', '0') or '0'
    name = f'resfit-{os.getuid()}-{domain}-{options.namespace.strip("/").replace("/", ".")}.lock'
    lock = open(Path(tempfile.gettempdir()) / name, 'w')  # noqa: SIM115 (held while the graph runs)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.close()
        raise ConfigError(
            f'ROS domain {domain} is in use by another run: stop it, or set ROS_DOMAIN_ID or --namespace'
        ) from None
    return lock


def refuse_others(graph: Graph) -> None:
    """Raises ConfigError when nodes of this graph's names are already there, started by somebody else."""
    import rclpy

    from resfit_policy.ros import DISCOVERY

    context = rclpy.context.Context()
    rclpy.init(context=context)
    namespace = '/' + graph.options.namespace.strip('/')
    try:
        node = rclpy.create_node('resfit_check', context=context, namespace=namespace)
        ours = {process.name for process in graph.processes}
        until = time.monotonic() + DISCOVERY
        while time.monotonic() < until:
            there = {name for name, where in node.get_node_names_and_namespaces() if where == namespace}
            if ours & there:
                raise ConfigError(
                    f'{", ".join(sorted(ours & there))} already run in this ROS domain: stop them, '
                    'or set ROS_DOMAIN_ID or --namespace'
                )
            time.sleep(0.1)
        node.destroy_node()
    finally:
        rclpy.shutdown(context=context)
