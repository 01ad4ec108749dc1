# SPDX-License-Identifier: Apache-2.0
"""tf2_ros over real topics: the genuine package or the stand-in in ros_shims/."""

import time
from collections.abc import Callable, Iterator
from functools import partial
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from tf2_msgs.msg import TFMessage
from tf2_ros import (
    Buffer,
    StaticTransformBroadcaster,
    TransformBroadcaster,
    TransformListener,
)

from support.listening import PATIENCE_S
from support.tf2_samples import (
    LATEST,
    QUARTER_TURN,
    at,
    matrix,
    transform,
)


@pytest.fixture
def nodes(ros: ModuleType) -> Iterator[tuple[Any, Any]]:
    pair = ros.create_node("sender"), ros.create_node("receiver")
    yield pair
    for node in pair:
        node.destroy_node()


def spin_until(node: Any, done: Callable[[], Any], send: Callable[[], None] | None = None) -> None:
    """Spin until `done`; `send` repeats, for a volatile message may precede the discovery."""
    import rclpy

    deadline = time.monotonic() + PATIENCE_S
    while not done():
        assert time.monotonic() < deadline, "nothing arrived"
        if send:
            send()
        rclpy.spin_once(node, timeout_sec=0.05)


@pytest.mark.ros
def test_what_a_broadcaster_sends_a_listener_has(nodes: tuple[Any, Any]) -> None:
    sender, receiver = nodes
    buffer = Buffer()
    listener = TransformListener(buffer, receiver)
    broadcaster = TransformBroadcaster(sender)
    good = transform("map", "base", 5.0, (1.0, 2.0, 3.0), QUARTER_TURN)
    bad = transform("map", "base", 6.0, quaternion=(0.0, 0.0, 0.0, 0.0))

    def send() -> None:
        broadcaster.sendTransform([bad, good])
        broadcaster.sendTransform(transform("base", "laser", 5.0))

    spin_until(receiver, lambda: buffer.can_transform("map", "laser", LATEST), send)
    found = buffer.lookup_transform("map", "laser", at(5.0))
    np.testing.assert_allclose(matrix(found), matrix(good), atol=1e-12)
    listener.unregister()


@pytest.mark.ros
def test_static_transforms_reach_a_late_listener_in_their_first_version(
    nodes: tuple[Any, Any],
) -> None:
    sender, receiver = nodes
    broadcaster = StaticTransformBroadcaster(sender)
    broadcaster.sendTransform(transform("base", "camera", xyz=(1.0, 0.0, 0.0)))
    broadcaster.sendTransform(transform("base", "camera", xyz=(2.0, 0.0, 0.0)))
    broadcaster.sendTransform([transform("base", "laser", xyz=(3.0, 0.0, 0.0))])
    buffer = Buffer()
    listener = TransformListener(buffer, receiver)
    spin_until(receiver, lambda: buffer.can_transform("camera", "laser", LATEST))
    found = buffer.lookup_transform("camera", "laser", at(123.0))
    assert found.transform.translation.x == 2.0  # 3 - 1: the second version is not sent
    listener.unregister()


@pytest.mark.ros
def test_the_topics_have_the_quality_of_service_that_others_expect(
    nodes: tuple[Any, Any],
) -> None:
    node = nodes[0]
    moving, static = TransformBroadcaster(node), StaticTransformBroadcaster(node)
    listener = TransformListener(Buffer(), node)
    for topic, durability in (("/tf", "VOLATILE"), ("/tf_static", "TRANSIENT_LOCAL")):
        publishers = partial(node.get_publishers_info_by_topic, topic)
        subscriptions = partial(node.get_subscriptions_info_by_topic, topic)
        spin_until(node, lambda p=publishers, s=subscriptions: len(p()) == len(s()) == 1)
        for end in (*publishers(), *subscriptions()):
            assert end.topic_type == "tf2_msgs/msg/TFMessage"
            assert end.qos_profile.durability.name == durability
            assert end.qos_profile.reliability.name == "RELIABLE"
    assert (moving.pub_tf.topic_name, static.pub_tf.topic_name) == ("/tf", "/tf_static")
    listener.unregister()


@pytest.mark.ros
def test_a_listener_can_spin_its_node_itself_on_topics_of_its_own(nodes: tuple[Any, Any]) -> None:
    pytest.importorskip("tf2_ros.history", reason="the genuine tf2 ends its thread by an exception")
    sender, receiver = nodes
    buffer = Buffer()
    listener = TransformListener(
        buffer, receiver, spin_thread=True, tf_topic="/my_tf", tf_static_topic="/my_tf_static"
    )
    publisher = sender.create_publisher(TFMessage, "/my_tf", 10)
    message = TFMessage(transforms=[transform("map", "base", 1.0)])
    deadline = time.monotonic() + PATIENCE_S
    while not buffer.can_transform("map", "base", LATEST):
        assert time.monotonic() < deadline, "nothing arrived"
        publisher.publish(message)
        time.sleep(0.02)
    assert sender.get_publishers_info_by_topic("/tf") == []
    listener.unregister()
