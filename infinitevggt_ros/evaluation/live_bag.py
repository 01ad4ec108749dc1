# SPDX-License-Identifier: Apache-2.0
"""Bag of a run without ROS, with the messages that a node would have published."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from infinitevggt_core import PointCloud
from infinitevggt_ros.bags.camera_messages import header_at
from infinitevggt_ros.bags.writer import BagWriter
from infinitevggt_ros.errors import CommandError
from infinitevggt_ros.evaluation.frame_record import RESULT_BAG, FrameRecord, result_bag
from infinitevggt_ros.live.stream import LiveFrame, LiveStream
from infinitevggt_ros.node.status_message import (
    PROCESSED,
    REJECTED,
    WorkerSnapshot,
    status_message,
)
from infinitevggt_ros.output.frame_result import FrameResult
from infinitevggt_ros.params.settings import Settings
from infinitevggt_ros.topics import DEFAULT_FRAME, NODE_MAP

MOST_BYTES = 4 * 10**9
"""Size at which no more images are recorded."""


class LiveBag:
    """Writes result.mcap image by image. A bag that cannot be written is left out and said."""

    name = ""
    dropped = 0

    def __init__(
        self,
        out: Path,
        settings: Settings,
        say: Callable[[str], None],
        most_bytes: int = MOST_BYTES,
    ) -> None:
        """out: folder of the run. most_bytes: size at which no more images are recorded."""
        self.received = self.processed = self.rejected = 0
        self.last_rejection = ""
        self.unusual = Counter[str]()
        self._out, self._settings, self._say = out, settings, say
        self._most_bytes = most_bytes
        self._record = FrameRecord(settings)
        self._bag: BagWriter | None = None
        self._bytes = self._last_ns = 0
        self._is_over = False

    def add(self, live: LiveFrame, stream: LiveStream) -> None:
        """Record an image that was used."""
        self.received += 1
        self.processed += 1
        self._last_ns = live.stamp_ns
        self._put(live.stamp_ns, PROCESSED, stream, live)

    def refuse(self, stamp_ns: int, reason: str, stream: LiveStream) -> None:
        """Record an image that was refused."""
        self.received += 1
        self.rejected += 1
        self.last_rejection = reason
        self._put(stamp_ns, REJECTED, stream, None)

    def finish(self, cloud: PointCloud) -> None:
        """Write the map as it is at the end, and the bag to its place."""
        if self._bag is None:
            return
        message = self._record.map_message(cloud, self._last_ns)
        self._write([(NODE_MAP, message)], self._last_ns)
        try:
            if self._bag:
                self._bag.close()
        except CommandError as error:
            self._say(f"there is no {RESULT_BAG}: {error}")
        self._bag = None

    def close(self) -> None:
        """Remove a bag that was not finished."""
        if self._bag:
            self._bag.discard()
        self._bag = None

    def _put(self, stamp_ns: int, outcome: int, stream: LiveStream, live: LiveFrame | None) -> None:
        if self._is_over:
            return
        status = status_message(
            header_at(DEFAULT_FRAME, stamp_ns),
            self,
            outcome,
            self._settings.model,
            WorkerSnapshot(),
            stream.snapshot(live),
            self._record.maker,
        )
        self._write(self._record.messages(status, _result(live) if live else None), stamp_ns)
        if self._bytes >= self._most_bytes and not self._is_over:
            self._is_over = True
            self._say(
                f"{RESULT_BAG} has {self._bytes / 1e9:.1f} GB: it holds the first "
                f"{self.received} images, and the map of the whole run at the end"
            )

    def _write(self, messages: Any, stamp_ns: int) -> None:
        try:
            self._bag = self._bag or result_bag(self._out)
            for topic, serialized in messages:
                self._bag.write(topic, stamp_ns, serialized)
                self._bytes += len(serialized)
        except CommandError as error:  # such as a full disk
            self.close()
            self._is_over = True
            self._say(f"there is no {RESULT_BAG}: {error}")


def _result(live: LiveFrame) -> FrameResult:
    """Return the result of an image as a node has it."""
    return FrameResult(
        camera="",
        header=header_at(DEFAULT_FRAME, live.stamp_ns),
        stamp_ns=live.stamp_ns,
        received_s=0.0,
        camera_from_world=live.camera_from_map,
        pose_state=live.state,
        colors=live.colors,
        depth=live.depth,
        confidence=live.confidence,
        intrinsics=live.depth_matrix,
        pixel_map=live.pixel_map,
    )
