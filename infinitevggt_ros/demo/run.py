# SPDX-License-Identifier: Apache-2.0
"""Run stream_node and replay as processes of their own, and record the results."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from threading import Thread

import rclpy
from nav_msgs.msg import Path as PathMessage
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import PointCloud2
from visualization_msgs.msg import MarkerArray

from infinitevggt_ros.bags.camera_topics import choose_topics
from infinitevggt_ros.bags.reader import BagReader
from infinitevggt_ros.bags.recorder import BagRecorder
from infinitevggt_ros.demo import child
from infinitevggt_ros.errors import CommandError
from infinitevggt_ros.input.image_conversion import stamp_ns
from infinitevggt_ros.msg import StreamStatus
from infinitevggt_ros.topics import (
    NODE_DEPTH,
    NODE_MAP,
    NODE_MARKERS,
    NODE_ODOMETRY,
    NODE_PATH,
    NODE_STATUS,
    RESULT_TOPICS,
)

START_TIMEOUT_S = 300.0
"""A busy machine needs minutes to import PyTorch."""
LAST_RESULTS_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 20.0
PARAMETERS = ["output.map_period:=2.0", "time.max_behind:=1e12", "pose.background:=false"]
"""Parameters of the node. The stamps are those of the recording, which are far behind the clock;
poses do not depend on what else runs."""
LAST_ONLY = [NODE_MAP, NODE_PATH, NODE_MARKERS]
"""Topics whose last message holds all: the map, the corrected trajectory, keyframes and loops."""
Process = subprocess.Popen
Say = Callable[[str], None]


class DemoRun:
    """Plays one bag through one node and records the results."""

    def __init__(self, bag: Path, recording: Path, parameters: list[str], say: Say = print) -> None:
        """parameters: NAME:=VALUE, for the node. say: prints a line of the processes."""
        self._bag, self._recording, self._parameters = bag, recording, parameters
        self._say = say
        with BagReader(bag) as reader:
            topics = choose_topics(reader)
            self.image_topic = topics.image
            self.image_count = reader.message_counts[self.image_topic]
        for note in topics.notes:
            say(note)
        self._info_topic = topics.info or "camera_info"
        self._status = StreamStatus()
        self._published = 0
        self._last_used_ns = 0
        self._map_stamp_ns = -1

    def run(self, progress: Callable[[int], None] = lambda _: None) -> None:
        """Block until the recording is complete.

        progress: called with the number of images that the node has answered. Raises CommandError
        if a process fails.
        """
        rclpy.init(args=[])
        node = rclpy.create_node("demo")
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        node.create_subscription(StreamStatus, NODE_STATUS, self._on_status, 100)
        node.create_subscription(PointCloud2, NODE_MAP, self._on_map, latched)
        recorder = BagRecorder(
            node,
            {**RESULT_TOPICS, NODE_PATH: PathMessage, NODE_MARKERS: MarkerArray},
            self._recording,
            latched=[*LAST_ONLY, "/tf_static"],
            last_only=LAST_ONLY,
            overwrite=True,
        )
        stream = self._start_node()
        try:
            self._replay(node, stream, lambda: progress(self._status.frames_received))
            self._spin(node, stream, lambda: self._is_complete(recorder), LAST_RESULTS_TIMEOUT_S)
        finally:
            stop(stream)
            node_error = stream.returncode
            recorder.close()
            node.destroy_node()
            rclpy.try_shutdown()
        if node_error:
            raise CommandError(f"stream_node ended with status {node_error}")

    def _start_node(self) -> Process[str]:
        compressed = self.image_topic.endswith("/compressed")
        remaps = {
            "image": self.image_topic.removesuffix("/compressed"),
            "camera_info": self._info_topic,
        }
        parameters = [f"image_transport:={'compressed' if compressed else 'raw'}"]
        parameters += [*PARAMETERS, *self._parameters]
        arguments = [item for name, topic in remaps.items() for item in ("-r", f"{name}:={topic}")]
        arguments += [item for parameter in parameters for item in ("-p", parameter)]
        return start(
            self._say,
            "infinitevggt_ros.node.stream_node",
            "--ros-args",
            "--log-level",
            "warn",
            *arguments,
        )

    def _replay(self, node: Node, stream: Process[str], progress: Callable[[], None]) -> None:
        def node_is_up() -> bool:
            return node.count_publishers(NODE_STATUS) > 0

        if not self._spin(node, stream, node_is_up, START_TIMEOUT_S):
            raise CommandError(f"stream_node was not up within {START_TIMEOUT_S:.0f} s")
        options = ["--lockstep", "--image-topic", self.image_topic, "--status-topic", NODE_STATUS]
        command = ["replay", str(self._bag), *options, "--timeout", "600", "--quiet"]
        replay = start(self._say, "infinitevggt_ros.commands.cli", *command)

        def replay_has_ended() -> bool:
            progress()
            return replay.poll() is not None

        try:
            self._spin(node, stream, replay_has_ended)
        finally:
            stop(replay)
        if replay.returncode:
            raise CommandError(f"the replay of {self._bag} ended with status {replay.returncode}")

    def _spin(
        self,
        node: Node,
        stream: Process[str],
        done: Callable[[], bool],
        timeout_s: float = float("inf"),
    ) -> bool:
        """Serve the recorder until `done` or the timeout; return the last value of `done`."""
        end_s = time.monotonic() + timeout_s
        while not done() and time.monotonic() < end_s:
            if stream.poll() is not None:
                raise CommandError(f"stream_node ended with status {stream.returncode}")
            rclpy.spin_once(node, timeout_sec=0.1)
        return done()

    def _is_complete(self, recorder: BagRecorder) -> bool:
        """Return True if all results of the last image are recorded; topics overtake each other."""
        topics = NODE_ODOMETRY, NODE_DEPTH, NODE_PATH
        return (
            self._status.frames_received >= self.image_count
            and (self._map_stamp_ns >= self._last_used_ns or not self._published)
            and all(recorder.counts[t] >= self._published for t in topics)
        )

    def _on_status(self, status: StreamStatus) -> None:
        if status.outcome == StreamStatus.NO_IMAGE:
            return
        self._status = status
        if status.outcome == StreamStatus.PROCESSED:
            self._last_used_ns = stamp_ns(status)
            self._published += not status.waiting_for  # outputs in metres wait for the scale

    def _on_map(self, cloud: PointCloud2) -> None:
        self._map_stamp_ns = stamp_ns(cloud)


def start(say: Say, module: str, *arguments: str) -> Process[str]:
    """Start a module as a process that ends with this one. Its output goes to `say` by lines."""
    process = subprocess.Popen(
        [sys.executable, "-m", child.__name__, str(os.getpid()), module, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    Thread(target=_forward, args=(process, say), daemon=True).start()
    return process


def stop(process: Process[str]) -> None:
    """Terminate a process unless it has ended."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _forward(process: Process[str], say: Say) -> None:
    assert process.stdout
    with suppress(ValueError):  # closed at exit
        for line in process.stdout:
            say(line.rstrip())
