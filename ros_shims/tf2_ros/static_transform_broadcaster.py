# SPDX-License-Identifier: Apache-2.0
"""Stand-in for tf2_ros, only what infinitevggt_ros calls: the sender of fixed transforms."""

from collections.abc import Iterable

from geometry_msgs.msg import TransformStamped
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from tf2_msgs.msg import TFMessage

from tf2_ros.transform_broadcaster import as_list


class StaticTransformBroadcaster:
    """Publishes to /tf_static, reliable and kept for those who subscribe later."""

    def __init__(self, node: Node, qos: QoSProfile | int | None = None) -> None:
        if qos is None:
            qos = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self.pub_tf = node.create_publisher(TFMessage, "/tf_static", qos)
        self._sent: dict[str, TransformStamped] = {}

    def sendTransform(  # noqa: N802 (the genuine name)
        self, transform: TransformStamped | Iterable[TransformStamped]
    ) -> None:
        """Publishes all that was ever sent here. As in tf2, a child's first transform stays."""
        for one in as_list(transform):
            self._sent.setdefault(one.child_frame_id, one)
        self.pub_tf.publish(TFMessage(transforms=list(self._sent.values())))
