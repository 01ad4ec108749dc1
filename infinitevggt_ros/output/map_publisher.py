# SPDX-License-Identifier: Apache-2.0
"""The fused map and its changes."""

from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import PointCloud2
from std_msgs.msg import Header

from infinitevggt_core import PointMap
from infinitevggt_ros.output.camera_publishers import LATCHED_QOS
from infinitevggt_ros.output.frame_messages import empty_map_message, map_message
from infinitevggt_ros.output.frame_result import FrameResult
from infinitevggt_ros.params.qos import create_publisher
from infinitevggt_ros.params.settings import OutputSettings
from infinitevggt_ros.topics import topic_of

UPDATES_QOS = QoSProfile(
    depth=5,
    reliability=ReliabilityPolicy.RELIABLE,
    durability=DurabilityPolicy.TRANSIENT_LOCAL,  # else a new subscriber may miss the first one
)


class MapPublisher:
    """Publishes the map of one world if somebody subscribes to it."""

    def __init__(self, node: Node, map_frame: str, name: str = "") -> None:
        """name: of the world, before its topics; empty if there is one world."""
        self._map_frame = map_frame
        self._update_listeners = 0
        topics = [f"~/{topic_of(name, topic)}" for topic in ("map", "map_updates")]
        self._map = create_publisher(node, PointCloud2, topics[0], LATCHED_QOS)
        self._map_updates = create_publisher(node, PointCloud2, topics[1], UPDATES_QOS)

    @property
    def has_subscribers(self) -> bool:
        """True if somebody subscribes to the whole map."""
        return self._map.get_subscription_count() > 0

    def clear(self) -> None:
        """Publish an empty map, and tell those who follow its changes to discard theirs."""
        self._map.publish(empty_map_message(self._map_frame))
        self._map_updates.publish(empty_map_message(self._map_frame, with_voxels=True))

    def publish(self, point_map: PointMap, latest: FrameResult, settings: OutputSettings) -> None:
        """Publish the whole map, as of the latest frame in it."""
        cloud = point_map.cloud(settings.map_points)
        self._map.publish(map_message(cloud, latest.placement, self._header(latest)))

    def publish_changes(
        self, point_map: PointMap, latest: FrameResult, settings: OutputSettings
    ) -> None:
        """Publish what changed since the last time; everything, for a new subscriber."""
        listeners = self._map_updates.get_subscription_count()
        if listeners > self._update_listeners:
            point_map.mark_all_changed()
        self._update_listeners = listeners
        if not listeners:
            return
        changes = point_map.changes(settings.updates_points)
        if len(changes.voxels):
            header = self._header(latest)
            self._map_updates.publish(
                map_message(changes, latest.placement, header, with_voxels=True)
            )

    def _header(self, latest: FrameResult) -> Header:
        return Header(stamp=latest.header.stamp, frame_id=self._map_frame)
