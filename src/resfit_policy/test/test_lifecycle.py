"""Lifecycle nodes: cleaned up and configured again, they are as at first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator

import pytest
import rclpy
from rclpy.lifecycle import LifecycleNode, TransitionCallbackReturn

from resfit_policy.policy_node import PolicyNode
from resfit_policy.streamer_node import StreamerNode
from resfit_policy.testing import isolated_domain


@pytest.fixture(params=[PolicyNode, StreamerNode])
def node(request: pytest.FixtureRequest) -> Iterator[LifecycleNode]:
    given = ['-p', 'base:=toy_bases:Hold'] if request.param is PolicyNode else []
    with isolated_domain():
        rclpy.init(args=['--ros-args', *given])
        made = request.param()
        yield made
        made.destroy_node()
        rclpy.shutdown()


def interfaces(node: LifecycleNode) -> Counter[str]:
    """How many there are of each kind and name."""
    named = [*node.publishers, *node.subscriptions]
    names = [f'{type(item).__name__} {item.topic_name}' for item in named]
    return Counter(names + [f'service {item.srv_name}' for item in node.services] + ['timer' for _ in node.timers])


def test_configured_again_it_has_every_interface_once(node: LifecycleNode) -> None:
    def do(transition: Callable[[], TransitionCallbackReturn]) -> Counter[str]:
        assert transition() == TransitionCallbackReturn.SUCCESS
        return interfaces(node)

    bare = interfaces(node)
    first = do(node.trigger_configure)
    assert max(first[name] for name in first if 'joint_states' in name) == 1
    assert do(node.trigger_activate) >= first and do(node.trigger_deactivate) == first
    assert do(node.trigger_cleanup) == bare != first
    assert do(node.trigger_configure) == first
