# SPDX-License-Identifier: Apache-2.0
"""Show topics and parameters of a node on the page."""

import time
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from nav_msgs.msg import Odometry, Path
from numpy.typing import NDArray
from rcl_interfaces.msg import ParameterDescriptor
from rclpy.node import Node
from rclpy.qos import QoSProfile
from sensor_msgs.msg import CameraInfo, Image, PointCloud2
from visualization_msgs.msg import MarkerArray

from infinitevggt_ros.msg import StreamStatus
from infinitevggt_ros.output.markers import KEYFRAMES, LOOPS, lines_of
from infinitevggt_ros.topics import topic_of
from infinitevggt_ros.viewer import arrays
from infinitevggt_ros.viewer.controls import Control
from infinitevggt_ros.viewer.curves import Curves
from infinitevggt_ros.viewer.latest import Latest
from infinitevggt_ros.viewer.options import MEMORY_PARAMETERS, ViewerOptions
from infinitevggt_ros.viewer.remote_parameters import RemoteParameters

DEPTH_WIDTH = 320
SILENT_S = 5.0
"""After this time without a status the page says so."""


class Shown(Protocol):
    """Page that a viewer fills, as viewer.page.Page."""

    on_request: Callable[[str, Any], None]

    def show_camera(self, position: NDArray[np.float64], wxyz: NDArray[np.float64]) -> None: ...
    def show_view_angle(self, fov: float, aspect: float) -> None: ...
    def show_path(self, segments: NDArray[np.float32]) -> None: ...
    def show_graph(self, keyframes: NDArray[np.float32], loops: NDArray[np.float32]) -> None: ...
    def show_map(self, points: NDArray[np.float32], colors: NDArray[np.uint8]) -> None: ...
    def show_depth(self, picture: NDArray[np.uint8]) -> None: ...
    def show_curves(self, columns: dict[str, NDArray[np.float64]]) -> None: ...
    def show_state(self, lines: list[str]) -> None: ...
    def show_parameter(self, name: str, value: Any, control: Control) -> None: ...
    def show_refusal(self, text: str) -> None: ...


class Viewer:
    """Shows new messages on the page, at most once in `period_s`."""

    def __init__(self, node: Node, page: Shown, options: ViewerOptions) -> None:
        self._page, self._options = page, options
        self._start_s = self._heard_s = time.monotonic()
        self._status = StreamStatus()
        self._is_heard = False
        self._curves = Curves(options.history)
        self._drawn_frames = 0
        self.parameters = RemoteParameters(
            node, options.node, MEMORY_PARAMETERS, self._on_value, self._on_refusal
        )
        page.on_request = self.parameters.request

        def latest(kind: type[Any], topic: str, **settings: Any) -> Latest:
            settings = {"period_s": options.period_s, **settings}
            return Latest(node, kind, f"{options.node}/{topic}", **settings)

        def of_camera(topic: str) -> str:
            return topic_of(options.camera, topic)

        self._odometry = latest(Odometry, of_camera("odometry"))
        self._path = latest(Path, of_camera("path"), latched=True)
        # the cameras of a rig share one map or have one each
        self._maps = [
            latest(PointCloud2, topic, period_s=options.map_period_s, latched=True)
            for topic in dict.fromkeys(("map", of_camera("map")))
        ]
        self._markers = [
            latest(MarkerArray, topic, latched=True)
            for topic in dict.fromkeys(("markers", of_camera("markers")))
        ]
        self._depth = latest(Image, of_camera("depth/image"))
        self._info = latest(CameraInfo, of_camera("depth/camera_info"))
        status = f"{options.node}/status"
        node.create_subscription(StreamStatus, status, self._on_status, QoSProfile(depth=100))
        node.create_timer(options.period_s, self.refresh)

    def refresh(self) -> None:
        """Show the messages received since the last call."""
        now_s = time.monotonic()
        self.parameters.serve()
        if info := self._info.take(now_s):
            self._page.show_view_angle(*arrays.view_angle(info))
        if odometry := self._odometry.take(now_s):
            self._page.show_camera(*arrays.pose_arrays(odometry.pose.pose))
        if path := self._path.take(now_s):
            self._page.show_path(arrays.path_segments(path))
        for clouds in self._maps:
            if cloud := clouds.take(now_s):
                self._page.show_map(*arrays.cloud_arrays(cloud, self._options.map_points))
        for markers in self._markers:
            if shown := markers.take(now_s):
                kinds = (KEYFRAMES, LOOPS)
                self._page.show_graph(*(lines_of(shown.markers, kind) for kind in kinds))
        if depth := self._depth.take(now_s):
            self._page.show_depth(arrays.depth_picture(depth, DEPTH_WIDTH))
        if self._curves.frames > self._drawn_frames:
            self._drawn_frames = self._curves.frames
            self._page.show_curves(self._curves.columns())
        self._page.show_state(self._state(now_s))

    def _on_status(self, status: StreamStatus) -> None:
        if self._options.camera not in ("", status.camera):
            return
        self._status, self._is_heard = status, True
        self._heard_s = time.monotonic()
        if status.outcome == StreamStatus.PROCESSED:
            self._curves.add(
                self._heard_s - self._start_s,
                memory_bytes=status.memory_bytes,
                tokens=sum(status.stored_tokens),
                budget=status.total_budget,
                latency_ms=1e3 * status.latency,
                inference_ms=1e3 * status.inference,
            )

    def _on_value(self, name: str, value: Any, descriptor: ParameterDescriptor) -> None:
        self._page.show_parameter(name, value, arrays.control_of(descriptor))

    def _on_refusal(self, name: str, reason: str) -> None:
        self._page.show_refusal(f"{name}: {reason}")

    def _state(self, now_s: float) -> list[str]:
        """Return the lines of text on the page."""
        status, name = self._status, self._options.node
        if not self._is_heard:
            return [f"waiting for {name}" + (" to get images" if self.parameters.is_known else "")]
        lines = [
            f"{status.frames_processed} images used, {status.frames_dropped} dropped, "
            f"{status.frames_rejected} refused",
            f"{status.policy}, {sum(status.stored_tokens)} tokens, "
            f"{status.memory_bytes / 1e6:.1f} MB, {status.map_points} points",
            f"map {status.map_id}, {status.device}",
        ]
        if now_s - self._heard_s > SILENT_S:
            lines.append(f"**nothing from {name} for {now_s - self._heard_s:.0f} s**")
        if status.random_weights:
            lines.append("**no trained checkpoint is loaded: the geometry is meaningless**")
        lines += [text for text in (status.last_rejection, status.last_error) if text]
        return lines
