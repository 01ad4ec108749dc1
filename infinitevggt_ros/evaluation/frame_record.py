# SPDX-License-Identifier: Apache-2.0
"""Messages of one frame for the result bag, as the node would publish them."""

from collections.abc import Iterator
from typing import Any

from rclpy.serialization import serialize_message
from std_msgs.msg import Header
from tf2_msgs.msg import TFMessage

from infinitevggt_ros.input.robot import UnknownRobot
from infinitevggt_ros.msg import StreamStatus
from infinitevggt_ros.output.frame_messages import (
    depth_messages,
    points_message,
    transform_message,
)
from infinitevggt_ros.output.frame_result import FrameResult
from infinitevggt_ros.output.odometry import OdometryMessages
from infinitevggt_ros.params.settings import Settings
from infinitevggt_ros.topics import (
    NODE_CONFIDENCE,
    NODE_DEPTH,
    NODE_DEPTH_INFO,
    NODE_MAP,
    NODE_ODOMETRY,
    NODE_POINTS,
    NODE_STATUS,
    RESULT_TOPICS,
    TF,
    TF_STATIC,
)

BAG_TOPICS = {**RESULT_TOPICS, NODE_POINTS: RESULT_TOPICS[NODE_MAP]}
"""Topics of the result bag and their types."""
LATCHED = NODE_MAP, TF_STATIC


class FrameRecord:
    """Makes the messages of a run, frame by frame."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._map_frame = settings.tf.map_frame_of("")
        self._odometry = OdometryMessages(self._map_frame, "", UnknownRobot(), settings.odometry)
        self._map_id = 0

    def state_dict(self) -> dict[str, Any]:
        """Return a snapshot of plain numbers and tensors."""
        return {"map_id": self._map_id, "odometry": self._odometry.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a snapshot."""
        self._map_id = state["map_id"]
        self._odometry.load_state_dict(state["odometry"])

    def messages(
        self, status: StreamStatus, result: FrameResult | None
    ) -> Iterator[tuple[str, bytes]]:
        """Yield topics and serialized messages. result: None if the image was rejected."""
        if result is not None:
            yield from self._of_result(result)
        yield NODE_STATUS, serialize_message(status)

    def _of_result(self, result: FrameResult) -> Iterator[tuple[str, bytes]]:
        if result.map_id != self._map_id:
            self._map_id = result.map_id
            self._odometry.reset()
        if result.is_placed:
            stamp, frame = result.header.stamp, result.header.frame_id
            transform = transform_message(self._map_frame, frame, result.pose, stamp)
            yield TF, serialize_message(TFMessage(transforms=[transform]))
            yield NODE_ODOMETRY, serialize_message(self._odometry.message(result))
        depth = depth_messages(result, self._settings.output)
        yield NODE_DEPTH, serialize_message(depth.image)
        yield NODE_DEPTH_INFO, serialize_message(depth.info)
        yield NODE_CONFIDENCE, serialize_message(depth.confidence)
        yield NODE_POINTS, serialize_message(points_message(result, self._settings.output))


def map_header(settings: Settings, stamp_ns: int) -> Header:
    """Return the header of a map in the result bag."""
    header = Header(frame_id=settings.tf.map_frame_of(""))
    header.stamp.sec, header.stamp.nanosec = divmod(stamp_ns, 10**9)
    return header
