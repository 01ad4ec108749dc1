# SPDX-License-Identifier: Apache-2.0
"""What stream_node itself left in a bag: an answer, never the truth to hold answers against."""

from nav_msgs.msg import Odometry
from rclpy.serialization import deserialize_message

from infinitevggt_ros.bags.reader import BagReader

STATUS_TYPE = "infinitevggt_ros/msg/StreamStatus"


class OwnOutputs:
    """Of every stream_node that ran when the bag was recorded; its status gives it away."""

    def __init__(self, reader: BagReader) -> None:
        nodes = [
            topic.rpartition("/")[0]
            for topic, kind in reader.topics.items()
            if kind == STATUS_TYPE and topic.endswith("/status")
        ]
        self.topics = {t for t in reader.topics if any(t.startswith(f"{n}/") for n in nodes)}
        """Below the names of those nodes."""
        self.map_frames = {_frame_of(reader, f"{n}/odometry") for n in nodes} - {""}
        """Roots of the transforms that they sent."""


def _frame_of(reader: BagReader, topic: str) -> str:
    """The frame that the first odometry is in; empty if there is none."""
    for _, _, serialized in reader.messages([topic]) if topic in reader.topics else ():
        message: Odometry = deserialize_message(serialized, Odometry)
        return str(message.header.frame_id)
    return ""
