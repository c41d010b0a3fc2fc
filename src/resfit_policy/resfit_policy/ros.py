"""What every node shares: quality of service, parameters from one table, and an orderly life."""

from __future__ import annotations

import ctypes
import math
import os
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import MISSING, field, fields
from threading import Thread
from time import monotonic, sleep
from typing import Any, TypeVar

import rclpy
from rcl_interfaces.msg import ParameterDescriptor
from rclpy.executors import Executor, ExternalShutdownException, SingleThreadedExecutor
from rclpy.lifecycle import LifecycleNode, TransitionCallbackReturn
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.signals import SignalHandlerOptions
from rclpy.task import Future

from resfit_policy.task import ConfigError

SENSOR = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)
COMMAND = QoSProfile(depth=1)
EVENT = QoSProfile(depth=100)
# Latched, so that a node that has not met the policy yet misses no step; deep, so that none is lost while an
# episode is written to disk.
LOG = QoSProfile(depth=1000, durability=DurabilityPolicy.TRANSIENT_LOCAL)
# What a player sends: not latched, since its topics are not; deep, for it may be faster than who listens.
PLAYED = QoSProfile(depth=5000)
LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)

DISCOVERY = 2.0  # s: on a busy machine, too, a new node has heard of those that were there before it

ENDING = (signal.SIGINT, signal.SIGTERM)
ALWAYS_THERE = ('use_sim_time', 'qos_overrides', 'start_type_description_service')
T = TypeVar('T')


def param(
    default: Any, description: str, least: float = -math.inf, most: float = math.inf, one_of: Iterable[str] = ()
) -> Any:
    """A field of a node's parameter table; a number lies in [``least``, ``most``], a text is ``one_of``."""
    about = {'description': description, 'least': least, 'most': most, 'one_of': tuple(one_of)}
    return field(default=default, metadata=about)


def declare(node: Node, table: type[T]) -> T:
    """Declare every field of the dataclass ``table`` on ``node``, read-only, and return the values.

    Raises ConfigError for a parameter that is in no table, of the wrong type, or out of its range.
    """
    known = [item.name for item in fields(table)]  # type: ignore[arg-type]
    given: dict[str, Parameter] = getattr(node, '_parameter_overrides', {})
    for name in given:
        if name not in known and name.split('.')[0] not in ALWAYS_THERE:
            raise ConfigError(f'unknown parameter "{name}" (known: {", ".join(known)})')
    values = {}
    for item in fields(table):  # type: ignore[arg-type]
        assert item.default is not MISSING
        about = ParameterDescriptor(description=item.metadata['description'], read_only=True, dynamic_typing=True)
        value = node.declare_parameter(item.name, item.default, about).value
        if isinstance(item.default, float) and type(value) is int:
            value = float(value)
        if type(value) is not type(item.default):
            kind = type(item.default).__name__
            raise ConfigError(f'parameter {item.name}: expected {kind}, got {value!r}')
        least, most = item.metadata['least'], item.metadata['most']
        if type(value) in (int, float) and not least <= value <= most:
            raise ConfigError(f'parameter {item.name} is {value}: it must lie in [{least:g}, {most:g}]')
        one_of = item.metadata['one_of']
        if one_of and value not in one_of:
            raise ConfigError(f'parameter {item.name} must be one of {", ".join(one_of)}')
        values[item.name] = value
    return table(**values)


def cleaner(node: Node) -> Callable[[], None]:
    """What destroys every publisher, subscription, service, client and timer that ``node`` makes from now on."""
    kinds: dict[str, Callable[[Any], bool]] = {
        'publishers': node.destroy_publisher,
        'subscriptions': node.destroy_subscription,
        'services': node.destroy_service,
        'clients': node.destroy_client,
        'timers': node.destroy_timer,
    }
    kept = {kind: list(getattr(node, kind)) for kind in kinds}

    def clean() -> None:
        for kind, destroy in kinds.items():
            for made in list(getattr(node, kind)):
                if not any(made is item for item in kept[kind]):
                    destroy(made)

    return clean


def refuse_second(node: Node, topic: str) -> None:
    """Raises ConfigError where another node publishes ``topic``."""
    until = monotonic() + DISCOVERY
    while monotonic() < until:
        others = node.get_publishers_info_by_topic(topic)
        if others:
            name = f'{others[0].node_namespace.rstrip("/")}/{others[0].node_name}'
            raise ConfigError(f'{name} already publishes {topic}: stop it, or use another namespace or domain')
        sleep(0.1)


def autostart(node: LifecycleNode) -> LifecycleNode:
    """Configure and activate a lifecycle node when its parameter ``autostart`` says so.

    Raises ConfigError when a transition fails, with the node's ``problem``.
    """
    if node.get_parameter('autostart').value:
        for name, trigger in (('configure', node.trigger_configure), ('activate', node.trigger_activate)):
            if trigger() != TransitionCallbackReturn.SUCCESS:
                raise ConfigError(getattr(node, 'problem', '') or f'{node.get_name()} could not {name}')
    return node


def end_with_parent() -> None:
    """Ask the kernel for SIGTERM when the process that started this one dies.

    ``ros2 launch`` leaves its children running when it is killed, and an orphan that keeps a robot moving or a
    topic busy is worse than a run that ends.
    """
    if sys.platform == 'linux' and os.getppid() != 1:
        ctypes.CDLL(None).prctl(1, int(signal.SIGTERM), 0, 0, 0)  # 1 is PR_SET_PDEATHSIG


def make_executor() -> Executor:
    """The events executor where rclpy has it: a third of the cost per message."""
    try:
        from rclpy.experimental.events_executor import EventsExecutor
    except ImportError:
        return SingleThreadedExecutor()
    return EventsExecutor()


def spin(node: Node) -> None:
    """Run ``node`` until SIGINT or SIGTERM, or until somebody shuts the context down.

    A signal lets the callback that runs come to its end, with a context in which it may still publish: rclpy's own
    handlers would pull that away from under it. In slices: the events executor of some builds waits busily when it
    waits without a limit.
    """
    stop: Future = Future()
    executor = make_executor()
    executor.add_node(node)
    _resolve_at_signal(stop)
    while rclpy.ok() and not stop.done():
        executor.spin_until_future_complete(stop, 0.5)
    executor.remove_node(node)


def _resolve_at_signal(stop: Future) -> None:
    """Python runs signal handlers in its main thread, which waits in the executor; a thread hears of one by a pipe."""
    heard, told = os.pipe()
    os.set_blocking(told, False)
    signal.set_wakeup_fd(told, warn_on_full_buffer=False)
    for number in ENDING:
        signal.signal(number, lambda number, frame: None)

    def wait() -> None:
        os.read(heard, 1)
        stop.set_result(None)

    Thread(target=wait, daemon=True).start()


@contextmanager
def signals_wait() -> Iterator[Callable[[], None]]:
    """Within it a signal waits for the next call of the function that it gives, which raises KeyboardInterrupt.

    For a node that takes long to make. Ended like this it leaves no shared memory, which the handlers of ``start`` do.
    """
    heard: list[int] = []
    before = {number: signal.signal(number, lambda number, frame: heard.append(number)) for number in ENDING}

    def leave_if_told() -> None:
        if heard:
            raise KeyboardInterrupt

    try:
        yield leave_if_told
        leave_if_told()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def run_node(make: Callable[[], Node], close: Callable[[Any], None] = lambda node: None) -> None:
    """Be a node until SIGINT or SIGTERM, then call ``close`` and exit with 0.

    While the node is made, the signal handlers stay those of ``start``; one that takes long to make uses
    ``signals_wait``. ``close`` can still publish and call services, and a second signal does not disturb it.

    A ConfigError ends the process with one line and exit code 2.
    """
    node: Node | None = None
    code = 0
    end_with_parent()
    try:
        rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
        node = make()
        spin(node)
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    except ConfigError as error:
        print(f'error: {error}', file=sys.stderr, flush=True)
        code = 2
    finally:
        if node is not None:
            close(node)
            node.destroy_node()
        rclpy.try_shutdown()
    sys.exit(code)
