# SPDX-License-Identifier: Apache-2.0
"""Messages about a silent topic: its publishers, and what to do."""

import time

import pytest
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CompressedImage, Image

from infinitevggt_ros.input import image_subscription
from infinitevggt_ros.input.image_subscription import ImageSubscription
from support.listening import Listener

pytestmark = pytest.mark.ros

RELIABLE, BEST_EFFORT = ReliabilityPolicy.RELIABLE, ReliabilityPolicy.BEST_EFFORT


@pytest.mark.parametrize(
    ("kind", "topic", "offered", "transport", "asked", "said"),
    [
        (Image, "/image", RELIABLE, "raw", "auto", "/listener offers reliable; is it running?"),
        (
            CompressedImage,
            "/image/compressed",
            RELIABLE,
            "raw",
            "auto",
            "; 0 publisher(s); /image/compressed has one: set image_transport to compressed, or "
            "remap `image` to your camera's topic (now /image)",
        ),
        (Image, "/image", RELIABLE, "compressed", "auto", "; /image has one: set image_transport"),
        (
            Image,
            "/image",
            BEST_EFFORT,
            "raw",
            "reliable",
            "; 1 publisher(s): /listener offers best_effort; the node asks for reliable and hears "
            "no best effort: see image_reliability",
        ),
        (Image, "/image", BEST_EFFORT, "raw", "auto", "over half a megabyte"),
    ],
)
def test_the_reason_of_silence_is_named(
    listener: Listener,
    monkeypatch: pytest.MonkeyPatch,
    kind: type,
    topic: str,
    offered: ReliabilityPolicy,
    transport: str,
    asked: str,
    said: str,
) -> None:
    monkeypatch.setattr(image_subscription, "SILENCE_S", 0.0)
    node, warnings = listener.node, list[str]()
    node.create_publisher(kind, topic, QoSProfile(depth=1, reliability=offered))
    listener.spin_until(lambda: node.count_publishers(topic) == 1)
    ImageSubscription(
        node, "image", transport, asked, lambda _: None, lambda _, text: warnings.append(text)
    )
    time.sleep(0.01)
    listener.spin_until(lambda: bool(warnings))
    assert said in warnings[-1]
