"""For tests of nodes: real processes in a ROS domain of their own."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import rclpy
from ament_index_python.packages import get_package_prefix
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from std_srvs.srv import Trigger

DOMAINS = range(20, 100)  # higher ones share their ports with ordinary connections

# A shell has what it starts in the background ignore Ctrl-C, and nohup a hang-up; every process of a test would
# inherit that.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


@contextmanager
def isolated_domain() -> Iterator[int]:
    """Set ROS_DOMAIN_ID to one that no other test uses. Raises RuntimeError when all are taken."""
    before = os.environ.get('ROS_DOMAIN_ID')
    for domain in DOMAINS:
        with open(Path(tempfile.gettempdir()) / f'resfit-test-domain-{domain}.lock', 'w') as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                continue
            os.environ['ROS_DOMAIN_ID'] = str(domain)
            try:
                yield domain
            finally:
                if before is None:
                    del os.environ['ROS_DOMAIN_ID']
                else:
                    os.environ['ROS_DOMAIN_ID'] = before
            return
    raise RuntimeError('no free ROS domain for a test')


class NodeProcess:
    """An executable of a package, as ``ros2 run`` starts it; its output goes to ``log``."""

    def __init__(self, folder: Path, package: str, executable: str, **parameters: Any) -> None:
        path = Path(get_package_prefix(package)) / 'lib' / package / executable
        arguments = ['--ros-args']
        for name, value in parameters.items():
            text = str(value).lower() if isinstance(value, bool) else str(value)
            arguments += ['-p', f'{name}:={text}']
        folder.mkdir(parents=True, exist_ok=True)
        self.log = folder / f'{executable}.log'
        with open(self.log, 'ab') as log:
            self.process = subprocess.Popen(
                [str(path), *arguments], stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
            )

    def ask(self, signal_number: int = signal.SIGINT) -> None:
        """Send it a signal, if it still runs."""
        if self.process.poll() is None:
            self.process.send_signal(signal_number)

    def end(self, signal_number: int = signal.SIGINT, timeout: float = 10.0) -> int:
        """Send a signal and return the exit code. Raises TimeoutExpired after killing it."""
        self.ask(signal_number)
        return self.wait(timeout)

    def wait(self, timeout: float = 60.0) -> int:
        """Exit code of a process that ends by itself. Raises TimeoutExpired after killing it."""
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise

    @property
    def output(self) -> str:
        """What it has said so far."""
        return self.log.read_text(errors='replace')


class Probe:
    """A node of the test's own, spun only while it waits for something."""

    def __init__(self, name: str = 'probe') -> None:
        self._context = Context()
        rclpy.init(context=self._context)
        self.node = Node(name, context=self._context)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self.node)
        self._clients: dict[str, Any] = {}
        self._asked = 0  # how often, in the newest call

    def listen(self, kind: Any, topic: str, qos: Any) -> list[Any]:
        """A list that fills with the messages of a topic."""
        heard: list[Any] = []
        self.node.create_subscription(kind, topic, heard.append, qos)
        return heard

    def until(self, true: Callable[[], Any], timeout: float = 60.0, what: str = '') -> None:
        """Spin until ``true()``. Raises AssertionError after ``timeout`` s."""
        end = time.monotonic() + timeout
        while not true():
            assert time.monotonic() < end, f'not within {timeout} s: {what or true}'
            self._executor.spin_once(0.05)

    def spin(self, seconds: float) -> None:
        """Spin for a while."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self._executor.spin_once(0.02)

    def insist(self, act: Callable[[], Any], true: Callable[[], Any], timeout: float = 60.0, what: str = '') -> None:
        """Do ``act``, spin until ``true()``, and do it again every half second: what it sends may be lost."""
        acted = 0.0

        def done() -> bool:
            nonlocal acted
            if acted and true():
                return True
            if time.monotonic() > acted + 0.5:
                acted = time.monotonic()
                act()
            return False

        self.until(done, timeout, what)

    def call(self, kind: Any, service: str, request: Any, timeout: float = 60.0) -> Any:
        """Call a service and return its answer, asking again every 5 s.

        An answer can be lost: a server on a busy machine that has not discovered the client's end within .1 s drops it,
        however ready the service looks from here. So a service's client is kept for the next call.
        """
        client = self._clients[service] = self._clients.get(service) or self.node.create_client(kind, service)
        self.until(client.service_is_ready, timeout, f'service {service}')
        asked: list[tuple[float, Any]] = []

        def answered() -> bool:
            if not asked or time.monotonic() > asked[-1][0] + 5.0:
                asked.append((time.monotonic(), client.call_async(request)))
            return any(future.done() for _, future in asked)

        self.until(answered, timeout, f'an answer of {service}')
        self._asked = len(asked)
        return next(future.result() for _, future in asked if future.done())

    def ready(self) -> bool:
        """Say that the scene is set, and return whether the episode runs: an answer that was lost may have said so."""
        answer = self.call(Trigger, 'ready', Trigger.Request())
        return bool(answer.success or (self._asked > 1 and answer.message == 'not asked for: RUNNING'))

    def close(self) -> None:
        """Leave the graph."""
        self._executor.shutdown()
        self.node.destroy_node()
        rclpy.shutdown(context=self._context)


@contextmanager
def nodes(*processes: NodeProcess) -> Iterator[Sequence[NodeProcess]]:
    """End every process at the end, whatever happened.

    By Ctrl-C, and by force only where that does not do: a process killed in the middle of a message leaves shared
    memory behind in which Fast DDS has crashed here, when the test's own node left the graph after it.
    """
    try:
        yield processes
    finally:
        for process in processes:
            process.ask(signal.SIGINT)
        for process in processes:
            with suppress(subprocess.TimeoutExpired):
                process.wait(10.0)
