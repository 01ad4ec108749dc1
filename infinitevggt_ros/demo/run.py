# SPDX-License-Identifier: Apache-2.0
"""The demo's run: stream_node and replay as processes of their own, and a recorder."""

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import rclpy
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import PointCloud2

from infinitevggt_ros.bags.reader import BagReader
from infinitevggt_ros.bags.recorder import BagRecorder
from infinitevggt_ros.errors import CommandError
from infinitevggt_ros.input.image_conversion import stamp_ns
from infinitevggt_ros.msg import StreamStatus

NODE_NAME = "/infinitevggt"
ODOMETRY = f"{NODE_NAME}/odometry"
DEPTH = f"{NODE_NAME}/depth/image"
STATUS = f"{NODE_NAME}/status"
MAP = f"{NODE_NAME}/map"
TOPICS = {
    "/tf": "tf2_msgs/msg/TFMessage",
    "/tf_static": "tf2_msgs/msg/TFMessage",
    ODOMETRY: "nav_msgs/msg/Odometry",
    DEPTH: "sensor_msgs/msg/Image",
    f"{NODE_NAME}/depth/camera_info": "sensor_msgs/msg/CameraInfo",
    f"{NODE_NAME}/depth/confidence": "sensor_msgs/msg/Image",
    STATUS: "infinitevggt_ros/msg/StreamStatus",
    MAP: "sensor_msgs/msg/PointCloud2",
}
START_TIMEOUT_S = 120.0
LAST_RESULTS_TIMEOUT_S = 20.0
STOP_TIMEOUT_S = 20.0
Process = subprocess.Popen


class DemoRun:
    """Plays one bag through one node and records what comes out."""

    def __init__(self, bag: Path, recording: Path, parameters: list[str]) -> None:
        """parameters: NAME:=VALUE, for the node."""
        self._bag, self._recording, self._parameters = bag, recording, parameters
        with BagReader(bag) as reader:
            self.image_topic = reader.require_image_topics()[0]
            infos = [name for name, kind in reader.topics.items() if kind.endswith("/CameraInfo")]
            self._images = reader.message_counts[self.image_topic]
        self._info_topic = infos[0] if infos else "camera_info"
        self._status = StreamStatus()
        self._last_used_ns = 0
        self._map_stamp_ns = -1

    def run(self) -> None:
        """Blocks until the recording is whole."""
        rclpy.init(args=[])
        node = rclpy.create_node("demo")
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        node.create_subscription(StreamStatus, STATUS, self._on_status, 100)
        node.create_subscription(PointCloud2, MAP, self._on_map, latched)
        recorder = BagRecorder(
            node, TOPICS, self._recording, latched=[MAP, "/tf_static"], overwrite=True
        )
        stream = self._start_node()
        try:
            self._replay(node, stream)
            self._spin(node, stream, lambda: self._has_all(recorder), LAST_RESULTS_TIMEOUT_S)
        finally:
            stop(stream)
            node_error = stream.returncode
            recorder.close()
            node.destroy_node()
            rclpy.try_shutdown()
        if node_error:
            raise CommandError(f"stream_node ended with status {node_error}")

    def _start_node(self) -> Process:
        compressed = self.image_topic.endswith("/compressed")
        remaps = {
            "image": self.image_topic.removesuffix("/compressed"),
            "camera_info": self._info_topic,
        }
        parameters = [f"image_transport:={'compressed' if compressed else 'raw'}"]
        parameters += ["output.map_period:=0.5", *self._parameters]
        arguments = [item for name, topic in remaps.items() for item in ("-r", f"{name}:={topic}")]
        arguments += [item for parameter in parameters for item in ("-p", parameter)]
        return python("infinitevggt_ros.node.stream_node", "--ros-args", *arguments)

    def _replay(self, node: Node, stream: Process) -> None:
        def node_is_up() -> bool:
            return node.count_publishers(STATUS) > 0

        if not self._spin(node, stream, node_is_up, START_TIMEOUT_S):
            raise CommandError(f"stream_node was not up within {START_TIMEOUT_S:.0f} s")
        options = ["--lockstep", "--image-topic", self.image_topic, "--status-topic", STATUS]
        replay = python("infinitevggt_ros.commands.cli", "replay", str(self._bag), *options)
        try:
            self._spin(node, stream, lambda: replay.poll() is not None)
        finally:
            stop(replay)
        if replay.returncode:
            raise CommandError(f"the replay of {self._bag} ended with status {replay.returncode}")

    def _spin(
        self,
        node: Node,
        stream: Process,
        done: Callable[[], bool],
        timeout_s: float = float("inf"),
    ) -> bool:
        """Serve the recorder until `done`; whether it came to that."""
        end_s = time.monotonic() + timeout_s
        while not done() and time.monotonic() < end_s:
            if stream.poll() is not None:
                raise CommandError(f"stream_node ended with status {stream.returncode}")
            rclpy.spin_once(node, timeout_sec=0.1)
        return done()

    def _has_all(self, recorder: BagRecorder) -> bool:
        """Whether what the last image led to is recorded; topics overtake each other."""
        return (
            self._status.frames_received >= self._images
            and self._map_stamp_ns >= self._last_used_ns
            and all(recorder.counts[t] >= self._status.frames_processed for t in (ODOMETRY, DEPTH))
        )

    def _on_status(self, status: StreamStatus) -> None:
        self._status = status
        if status.outcome == StreamStatus.PROCESSED:
            self._last_used_ns = stamp_ns(status)

    def _on_map(self, cloud: PointCloud2) -> None:
        self._map_stamp_ns = stamp_ns(cloud)


def python(module: str, *arguments: str) -> Process:
    """Start a module of ours as a process."""
    return subprocess.Popen([sys.executable, "-m", module, *arguments])


def stop(process: Process) -> None:
    """End a process that may have ended already."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
