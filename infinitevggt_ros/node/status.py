# SPDX-License-Identifier: Apache-2.0
"""What became of the images, said after each."""

import math
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy

from infinitevggt_ros.axes import tilt
from infinitevggt_ros.input.camera import Camera
from infinitevggt_ros.input.mailbox import Received
from infinitevggt_ros.msg import StreamStatus
from infinitevggt_ros.output.camera_publishers import Timing, timing
from infinitevggt_ros.params.qos import create_publisher
from infinitevggt_ros.params.settings import ModelSettings

if TYPE_CHECKING:
    from infinitevggt_ros.node.worker import StreamWorker
    from infinitevggt_ros.stream.stream import Stream

STATUS_QOS = QoSProfile(depth=100, reliability=ReliabilityPolicy.RELIABLE)
TIMED_OUTPUTS = "pose", "depth", "points", "map"


class StreamReport:
    """Publishes a StreamStatus for every image."""

    def __init__(self, node: Node, model: ModelSettings) -> None:
        self.worker_restarts = 0
        self.lifecycle_state: Callable[[], str] = lambda: ""
        """Of the node; empty where there is none."""
        self.latest: dict[str, StreamStatus] = {}
        """As it was published last, by camera."""
        self.latest_used: dict[str, StreamStatus] = {}
        """The same of images that were used."""
        self._context = node.context
        self._clock = node.get_clock()
        self.model = model
        """Which is loaded."""
        self._publisher = create_publisher(node, StreamStatus, "~/status", STATUS_QOS)

    @property
    def can_publish(self) -> bool:
        """False once ROS is shut down."""
        return bool(self._context.ok())

    def forget_streams(self, cameras: Iterable[Camera]) -> None:
        """They are no more; the counts of images go on."""
        for camera in cameras:
            self.latest[camera.name] = no_status()
            self.latest_used.pop(camera.name, None)
            _count(self.latest[camera.name], camera)

    def publish(self, received: Received, outcome: int, worker: "StreamWorker") -> None:
        """Say what became of an image."""
        camera = received.camera
        status = StreamStatus(header=received.message.header, outcome=outcome)
        _count(status, camera)
        status.worker_restarts = self.worker_restarts
        status.paused = worker.is_paused
        status.lifecycle_state = self.lifecycle_state()
        status.checkpoint = self.model.source
        status.random_weights = self.model.is_random
        stream = worker.stream_of(camera.name)
        if stream is not None:
            _describe(status, stream, camera)
        _time(status, {} if stream is None else stream.timings(camera.name))
        now_ns = int(self._clock.now().nanoseconds)
        status.latency_ms, status.age_ms = timing(received, now_ns)
        self.latest[camera.name] = status
        if outcome == StreamStatus.PROCESSED:
            self.latest_used[camera.name] = status
        self._publisher.publish(status)


def no_status() -> StreamStatus:
    """Before the first: nothing is known."""
    unknown = ("metres_per_unit", "metres_per_unit_sigma", "inference_ms", "latency_ms", "age_ms")
    return StreamStatus(scale=1.0, **dict.fromkeys(unknown, math.nan))


def _count(status: StreamStatus, camera: Camera) -> None:
    status.camera = camera.name
    status.frames_received = camera.received
    status.frames_dropped = camera.dropped
    status.frames_processed = camera.processed
    status.frames_rejected = camera.rejected
    status.last_rejection = camera.last_rejection
    status.frames_16bit = camera.intake.unusual["16-bit"]
    status.frames_bayer = camera.intake.unusual["bayer"]
    status.frames_yuv = camera.intake.unusual["yuv"]


def _describe(status: StreamStatus, stream: "Stream", camera: Camera) -> None:
    session = stream.session
    status.frame_index = session.frame_index
    status.map_id = stream.map_id
    status.last_reset = stream.last_reset
    status.last_error = stream.error
    status.scale_source = stream.measured.settings.source
    status.scale = stream.scale
    status.metres_per_unit, status.metres_per_unit_sigma = stream.measured.estimate
    status.gravity_source = stream.gravity.settings.source
    status.first_camera_tilt = tilt(stream.map_from_world)
    status.policy = session.memory.policy
    status.total_budget = session.memory.total_budget
    status.budget = session.budget
    status.stored_tokens = session.stored_tokens
    status.memory_bytes = session.memory_bytes
    status.map_points = len(stream.map)
    status.device = str(session.model.device)
    if latest := stream.latest_of.get(camera.name):
        status.calibrated = latest.image.intrinsics is not None
        status.rectified = latest.image.is_rectified
    if status.outcome == StreamStatus.PROCESSED:
        status.inference_ms = stream.inference_ms


def _time(status: StreamStatus, timings: Mapping[str, Timing]) -> None:
    is_used = status.outcome == StreamStatus.PROCESSED
    for name in TIMED_OUTPUTS:
        is_sent = name in timings and (is_used or name == "map")
        latency_ms, age_ms = timings[name] if is_sent else (math.nan, math.nan)
        setattr(status, f"{name}_latency_ms", latency_ms)
        setattr(status, f"{name}_age_ms", age_ms)
