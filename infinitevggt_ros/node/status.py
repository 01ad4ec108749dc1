# SPDX-License-Identifier: Apache-2.0
"""StreamStatus: published for every image."""

import math
from collections.abc import Iterable, Mapping

from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from std_msgs.msg import Header

from infinitevggt_ros.input.camera import Camera
from infinitevggt_ros.input.mailbox import Received
from infinitevggt_ros.msg import StreamStatus
from infinitevggt_ros.node.status_message import (
    TIMED_OUTPUTS,
    WorkerSnapshot,
    counts_of,
    no_status,
    status_message,
)
from infinitevggt_ros.output.camera_publishers import Timing, timing
from infinitevggt_ros.params.qos import create_publisher
from infinitevggt_ros.params.settings import ModelSettings
from infinitevggt_ros.stream.snapshot import StreamSnapshot

STATUS_QOS = QoSProfile(depth=100, reliability=ReliabilityPolicy.RELIABLE)
NO_TIMING: Timing = (math.nan, math.nan)


class StatusPublisher:
    """Publishes a StreamStatus for every image and keeps the latest ones."""

    def __init__(self, node: Node, model: ModelSettings) -> None:
        self.latest: dict[str, StreamStatus] = {}
        """Latest status by camera."""
        self.latest_used: dict[str, StreamStatus] = {}
        """Latest status of an image that was used, by camera."""
        self.model = model
        """Settings of the model that is loaded."""
        self._context = node.context
        self._clock = node.get_clock()
        self._publisher = create_publisher(node, StreamStatus, "~/status", STATUS_QOS)

    @property
    def can_publish(self) -> bool:
        """False once ROS is shut down."""
        return bool(self._context.ok())

    def remove_streams(self, cameras: Iterable[Camera]) -> None:
        """Forget the streams' values; the counts of images continue."""
        for camera in cameras:
            self.latest[camera.name] = no_status(**counts_of(camera))
            self.latest_used.pop(camera.name, None)

    def publish(
        self,
        received: Received,
        outcome: int,
        worker: WorkerSnapshot,
        stream: StreamSnapshot | None,
        timings: Mapping[str, Timing],
    ) -> None:
        """Publish the outcome of an image."""
        status = status_message(
            received.header, received.camera, outcome, self.model, worker, stream
        )
        _time(status, timings)
        now_ns = int(self._clock.now().nanoseconds)
        status.latency, status.age = timing(received.stamp_ns, received.time_s, now_ns)
        self.latest[status.camera] = status
        if outcome == StreamStatus.PROCESSED:
            self.latest_used[status.camera] = status
        self._publisher.publish(status)

    def publish_idle(self, camera: Camera, worker: WorkerSnapshot) -> None:
        """Publish a status without an image. Its stamp is zero, as no image's may be."""
        self._publisher.publish(
            status_message(Header(), camera, StreamStatus.NO_IMAGE, self.model, worker, None)
        )


def _time(status: StreamStatus, timings: Mapping[str, Timing]) -> None:
    is_used = status.outcome == StreamStatus.PROCESSED
    for name in TIMED_OUTPUTS:
        is_sent = name in timings and (is_used or name == "map")
        latency, age = timings[name] if is_sent else NO_TIMING
        setattr(status, f"{name}_latency", latency)
        setattr(status, f"{name}_age", age)
