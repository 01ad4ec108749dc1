# SPDX-License-Identifier: Apache-2.0
"""StreamStatus: published for every image."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from std_msgs.msg import Header

from infinitevggt_ros.input.camera import Camera
from infinitevggt_ros.input.mailbox import Received
from infinitevggt_ros.msg import StreamStatus
from infinitevggt_ros.output.camera_publishers import Timing, timing
from infinitevggt_ros.params.qos import create_publisher
from infinitevggt_ros.params.settings import ModelSettings
from infinitevggt_ros.stream.snapshot import StreamSnapshot

STATUS_QOS = QoSProfile(depth=100, reliability=ReliabilityPolicy.RELIABLE)
TIMED_OUTPUTS = "pose", "depth", "points", "map"
NO_TIMING: Timing = (math.nan, math.nan)


@dataclass(frozen=True, slots=True)
class WorkerSnapshot:
    """State of the inference thread."""

    is_paused: bool = False
    lifecycle_state: str = ""
    """State of the node; empty if there is no node."""
    restarts: int = 0
    """Number of times the thread had died and was started again."""


def status_message(
    header: Header,
    camera: Camera,
    outcome: int,
    model: ModelSettings,
    worker: WorkerSnapshot,
    stream: StreamSnapshot | None,
) -> StreamStatus:
    """Return the status after an image, without its timing. stream: None if there is none."""
    status = no_status()
    status.header, status.outcome = header, outcome
    _count(status, camera)
    status.worker_restarts = worker.restarts
    status.paused = worker.is_paused
    status.lifecycle_state = worker.lifecycle_state
    status.checkpoint = model.source
    status.random_weights = model.is_random
    if stream is not None:
        _describe(status, stream)
    return status


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
            self.latest[camera.name] = no_status()
            self.latest_used.pop(camera.name, None)
            _count(self.latest[camera.name], camera)

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


def no_status() -> StreamStatus:
    """Return a status in which nothing is known."""
    unknown = ["metres_per_unit", "metres_per_unit_sigma", "inference", "latency", "age"]
    for name in TIMED_OUTPUTS:
        unknown += [f"{name}_latency", f"{name}_age"]
    return StreamStatus(scale=1.0, **dict.fromkeys(unknown, math.nan))


def _count(status: StreamStatus, camera: Camera) -> None:
    status.camera = camera.name
    status.frames_received = camera.received
    status.frames_dropped = camera.dropped
    status.frames_processed = camera.processed
    status.frames_rejected = camera.rejected
    status.last_rejection = camera.last_rejection
    status.frames_16bit = camera.converter.unusual["16-bit"]
    status.frames_bayer = camera.converter.unusual["bayer"]
    status.frames_yuv = camera.converter.unusual["yuv"]


def _describe(status: StreamStatus, stream: StreamSnapshot) -> None:
    status.frame_index = stream.frame_index
    status.map_id = stream.map_id
    status.last_reset = stream.last_reset
    status.last_error = stream.error
    status.scale_source = stream.scale_source
    status.scale = stream.scale
    status.metres_per_unit = stream.metres_per_unit
    status.metres_per_unit_sigma = stream.metres_per_unit_sigma
    status.metric = stream.is_metric
    status.waiting_for = stream.waiting_for
    status.pose_state = stream.pose_state
    status.gravity_source = stream.gravity_source
    status.first_camera_tilt = stream.first_camera_tilt
    status.policy = stream.policy
    status.total_budget = stream.total_budget
    status.budget = stream.budget
    status.stored_tokens = list(stream.stored_tokens)
    status.memory_bytes = stream.memory_bytes
    status.eager_because = stream.eager_because
    status.map_points = stream.map_points
    status.device = stream.device
    status.calibrated = stream.is_calibrated
    status.rectified = stream.is_rectified
    if status.outcome == StreamStatus.PROCESSED:
        status.inference = stream.inference_s


def _time(status: StreamStatus, timings: Mapping[str, Timing]) -> None:
    is_used = status.outcome == StreamStatus.PROCESSED
    for name in TIMED_OUTPUTS:
        is_sent = name in timings and (is_used or name == "map")
        latency, age = timings[name] if is_sent else NO_TIMING
        setattr(status, f"{name}_latency", latency)
        setattr(status, f"{name}_age", age)
