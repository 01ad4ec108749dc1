# SPDX-License-Identifier: Apache-2.0
"""Messages of one frame for the result bag, as the node would publish them, made without ROS."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from infinitevggt_core import PointCloud
from infinitevggt_ros.bags.bag_messages import BagMessages
from infinitevggt_ros.bags.camera_messages import header_at
from infinitevggt_ros.bags.writer import BagWriter
from infinitevggt_ros.input.robot import UnknownRobot
from infinitevggt_ros.map_axes import MapFromWorld
from infinitevggt_ros.node.status_message import STREAM_STATUS
from infinitevggt_ros.output.frame_messages import (
    depth_messages,
    map_message,
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
RESULT_BAG = "result.mcap"


class FrameRecord:
    """Makes the messages of a run, frame by frame."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._map_frame = settings.tf.map_frame_of("")
        self.maker = BagMessages(STREAM_STATUS)
        """Maker of the messages."""
        robot, maker = UnknownRobot(), self.maker
        self._odometry = OdometryMessages(self._map_frame, "", robot, settings.odometry, maker)
        self._map_id = 0

    def state_dict(self) -> dict[str, Any]:
        """Return a snapshot of plain numbers and tensors."""
        return {"map_id": self._map_id, "odometry": self._odometry.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a snapshot."""
        self._map_id = state["map_id"]
        self._odometry.load_state_dict(state["odometry"])

    def messages(self, status: Any, result: FrameResult | None) -> Iterator[tuple[str, bytes]]:
        """Yield topics and serialized messages.

        status: StreamStatus by `maker`. result: None if the image was rejected.
        """
        for topic, message in self._of_result(result) if result else ():
            yield topic, self.maker.serialize(message)
        yield NODE_STATUS, self.maker.serialize(status)

    def map_message(self, cloud: PointCloud, stamp_ns: int) -> bytes:
        """Return the serialized map as it is at the end."""
        header = header_at(self._map_frame, stamp_ns)
        return self.maker.serialize(map_message(cloud, MapFromWorld(), header, maker=self.maker))

    def _of_result(self, result: FrameResult) -> Iterator[tuple[str, Any]]:
        if result.map_id != self._map_id:
            self._map_id = result.map_id
            self._odometry.reset()
        if result.is_placed:
            stamp, frame = result.header.stamp, result.header.frame_id
            moved = transform_message(self._map_frame, frame, result.pose, stamp, maker=self.maker)
            yield TF, self.maker.make(RESULT_TOPICS[TF], transforms=[moved])
            yield NODE_ODOMETRY, self._odometry.message(result)
        depth = depth_messages(result, self._settings.output, self.maker)
        yield NODE_DEPTH, depth.image
        yield NODE_DEPTH_INFO, depth.info
        yield NODE_CONFIDENCE, depth.confidence
        yield NODE_POINTS, points_message(result, self._settings.output, maker=self.maker)


def result_bag(out: Path) -> BagWriter:
    """Open result.mcap in the folder of a run, with the topics of `FrameRecord`."""
    bag = BagWriter(out / RESULT_BAG, overwrite=True)
    for topic, kind in BAG_TOPICS.items():
        bag.add_topic(topic, kind, latched=topic in LATCHED)
    return bag
