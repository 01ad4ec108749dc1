# SPDX-License-Identifier: Apache-2.0
"""/diagnostics: levels and figures, once a second."""

import math
import time
from collections.abc import Callable, Collection

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.clock import Clock, ClockType

from infinitevggt_core.tracking.tracked_frame import LOST
from infinitevggt_ros.input.camera import Camera
from infinitevggt_ros.input.network_image import ImageConverter
from infinitevggt_ros.msg import StreamStatus
from infinitevggt_ros.node.managed_node import ManagedNode
from infinitevggt_ros.node.status import StatusPublisher
from infinitevggt_ros.node.status_message import no_status
from infinitevggt_ros.node.worker import StreamWorker

PERIOD_S = 1.0
SILENCE_S = 5.0
"""Time without a used image that is an error."""
UNSURE = 0.2
"""Relative standard deviation above which a scale is unreliable."""
OK, WARN, ERROR = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR
Finding = tuple[bytes, str]
"""Level and message."""


class Diagnostics:
    """Publishes the health of each camera, by its last StreamStatus and the one a second before."""

    def __init__(
        self,
        node: ManagedNode,
        worker: StreamWorker,
        status: StatusPublisher,
        cameras: Collection[Camera],
        last_warning: Callable[[], tuple[float, str]],
    ) -> None:
        """last_warning: returns the node's last warning and its time, seconds of time.monotonic."""
        self._node, self._worker, self._status = node, worker, status
        self._cameras, self._last_warning = cameras, last_warning
        self._before = {camera.name: no_status() for camera in cameras}
        now_s = self._before_s = time.monotonic()
        self._used_s = dict.fromkeys(self._before, now_s)
        self._publisher = node.create_publisher(DiagnosticArray, "/diagnostics", 10)
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        node.create_timer(PERIOD_S, self._publish, clock=steady)

    def _publish(self) -> None:
        now_s = time.monotonic()
        message = DiagnosticArray()
        message.header.stamp = self._node.get_clock().now().to_msg()
        for camera in self._cameras:
            message.status += self.statuses_of(camera, now_s)
        self._before_s = now_s
        self._publisher.publish(message)

    def statuses_of(self, camera: Camera, now_s: float) -> list[DiagnosticStatus]:
        """Return the diagnostics of a camera at a time of time.monotonic."""
        status = self._status.latest.get(camera.name, no_status())
        used = self._status.latest_used.get(camera.name, no_status())
        before, state = self._before[camera.name], self._node.lifecycle_state
        rates = _rates(before, status, now_s - self._before_s)
        is_meant_to_be_silent = state != "active" or self._worker.is_paused
        if status.frames_processed > before.frames_processed or is_meant_to_be_silent:
            self._used_s[camera.name] = now_s
        images = self._images(before, status, state, now_s - self._used_s[camera.name])
        self._before[camera.name] = status
        last_error = status.last_error or self._last_warning()[1]
        values = {
            "lifecycle": state,
            **_stream_values(status),
            "limit [MB]": self._limit_mb or "none",
            "inference [ms]": round(1e3 * used.inference, 1),
            "device": self._device,
            "last error": last_error,
        }
        name = self._node.get_fully_qualified_name().lstrip("/")
        name = f"{name}: {camera.name} " if camera.name else f"{name}: "
        return [
            _status(f"{name}images", images, {**rates, **_images(status, used)}),
            _status(f"{name}stream", self._stream(camera, status, state), values),
            _status(f"{name}calibration", _calibration(status, camera.converter), {}),
            _status(f"{name}scale", scale_finding(status), _scale_values(status)),
        ]

    def _images(
        self, before: StreamStatus, status: StreamStatus, state: str, silent_s: float
    ) -> Finding:
        if state == "configuring":
            return WARN, "loading the weights"
        if state != "active":
            return OK, f"{state}: images are not used"
        if self._worker.is_paused:
            return OK, "paused"
        if silent_s > SILENCE_S:
            return ERROR, f"no image was used for {silent_s:.0f} s"
        if status.frames_rejected > before.frames_rejected:
            return WARN, status.last_rejection
        if not status.frames_processed:
            return OK, "no image yet"
        return OK, "images are used"

    def _stream(self, camera: Camera, status: StreamStatus, state: str) -> Finding:
        stream = self._worker.stream_of(camera.name)
        if stream is None:
            return OK, f"{state}: there is no stream"
        if stream.error:  # now: while no images come, the status is old
            return ERROR, stream.error
        warned_s, warning = self._last_warning()
        rejections = {other.last_rejection for other in self._cameras}  # said of the images
        if warned_s > self._before_s and warning not in rejections:
            return WARN, warning
        return stream_finding(status)

    @property
    def _limit_mb(self) -> int:
        """Limit of the memory besides its budget, MB; 0: none."""
        stream = self._worker.stream
        return 0 if stream is None else stream.session.memory.limit_mb

    @property
    def _device(self) -> str:
        """Device that holds the weights now."""
        stream = self._worker.stream
        return "" if stream is None else str(stream.session.model.device)


def _rates(before: StreamStatus, after: StreamStatus, elapsed_s: float) -> dict[str, object]:
    """Return rates of images, 1/s."""
    names = "received", "processed", "dropped", "rejected"
    counts = {name: (f"frames_{name}", f"{name} [1/s]") for name in names}
    return {
        label: round((getattr(after, field) - getattr(before, field)) / max(elapsed_s, 1e-3), 2)
        for field, label in counts.values()
    }


def _images(status: StreamStatus, used: StreamStatus) -> dict[str, object]:
    return {
        "received": status.frames_received,
        "processed": status.frames_processed,
        "dropped": status.frames_dropped,
        "rejected": status.frames_rejected,
        "last rejection": status.last_rejection,
        "scaled to 8 bit": status.frames_16bit,
        "demosaiced": status.frames_bayer,
        "yuv": status.frames_yuv,
        "latency [ms]": round(1e3 * used.latency, 1),
        "age [ms]": round(1e3 * used.age, 1),
    }


def _stream_values(status: StreamStatus) -> dict[str, object]:
    return {
        "frame": status.frame_index,
        "map": status.map_id,
        "last reset": status.last_reset,
        "thread restarts": status.worker_restarts,
        "policy": status.policy,
        "memory [tokens]": sum(status.stored_tokens),
        "budget [tokens]": status.total_budget,
        "budget now [tokens]": status.budget,
        "memory [MB]": round(status.memory_bytes / 1e6, 1),
        "no graph because": status.eager_because,
        "map [points]": status.map_points,
        "checkpoint": status.checkpoint,
    }


def _calibration(status: StreamStatus, converter: ImageConverter) -> Finding:
    if not status.frame_index:
        return OK, "no image yet"
    if status.calibrated:
        return OK, "calibrated, rectified here" if status.rectified else "calibrated"
    predicted = "depth is unprojected by the predicted field of view"
    if converter.ignores_calibration:
        return OK, f"{predicted}, as set by intrinsics"
    return WARN, f"uncalibrated: {predicted}; {converter.why_uncalibrated}"


def stream_finding(status: StreamStatus) -> Finding:
    """Return level and message on the stream of a status."""
    if status.random_weights:
        return WARN, "the weights are random: poses and depth mean nothing"
    if status.pose_state == LOST:
        return WARN, (
            f"lost: map {status.map_id} stands still until the camera sees a place of it; call "
            "~/reset to begin a new map"
        )
    return OK, f"frame {status.frame_index} of map {status.map_id}"


def scale_finding(status: StreamStatus) -> Finding:
    """Return level and message on the scale of a status."""
    if status.scale_source in ("", "none"):
        return WARN, "lengths are in an arbitrary unit: set scale.source to join the robot's tree"
    if math.isnan(status.metres_per_unit):
        return (
            WARN,
            f"waiting for {status.waiting_for or status.scale_source}: nothing is published",
        )
    relative_std = status.metres_per_unit_sigma / status.metres_per_unit
    if relative_std > UNSURE:
        return WARN, (
            f"metric but unsure, from {status.scale_source}: relative standard deviation "
            f"{relative_std:.0%}"
        )
    return OK, f"metric, from {status.scale_source}"


def _scale_values(status: StreamStatus) -> dict[str, object]:
    return {
        "scale in use": round(status.scale, 4),
        "measured [m per unit]": round(status.metres_per_unit, 4),
        "standard deviation [m per unit]": round(status.metres_per_unit_sigma, 4),
    }


def _status(name: str, finding: Finding, values: dict[str, object]) -> DiagnosticStatus:
    level, text = finding
    pairs = [KeyValue(key=key, value=str(value)) for key, value in values.items()]
    return DiagnosticStatus(level=level, name=name, message=text, hardware_id="", values=pairs)
