"""What became of the images, counted since the node started and said after each."""

import time
from typing import TYPE_CHECKING

import torch

from infinitevggt_ros.images import stamp_ns
from infinitevggt_ros.intake import ImageMessage, Intake
from infinitevggt_ros.mailbox import Received
from infinitevggt_ros.msg import StreamStatus
from infinitevggt_ros.outputs import TIMED_OUTPUTS, Outputs
from infinitevggt_ros.settings import ModelSettings

if TYPE_CHECKING:
    from infinitevggt_ros.stream import Stream
    from infinitevggt_ros.worker import StreamWorker


class StreamReport:
    """Publishes a StreamStatus for every image."""

    def __init__(self, outputs: Outputs, intake: Intake, model: ModelSettings) -> None:
        self.processed = self.rejected = self.paused = self.worker_restarts = 0
        self.last_rejection = ""
        self.latest = StreamStatus()
        """As it was published last."""
        self._outputs = outputs
        self._intake = intake
        self._model = model

    @property
    def can_publish(self) -> bool:
        return self._outputs.can_publish

    def publish(
        self, received: Received[ImageMessage], outcome: int, worker: "StreamWorker"
    ) -> None:
        """Say what became of an image."""
        status = StreamStatus(header=received.message.header, outcome=outcome)
        status.frames_received = worker.mailbox.received
        status.frames_dropped = worker.mailbox.replaced + self.paused
        status.frames_processed = self.processed
        status.frames_rejected = self.rejected
        status.last_rejection = self.last_rejection
        status.frames_16bit = self._intake.unusual["16-bit"]
        status.frames_bayer = self._intake.unusual["bayer"]
        status.frames_yuv = self._intake.unusual["yuv"]
        status.worker_restarts = self.worker_restarts
        status.paused = worker.is_paused
        status.checkpoint = self._model.source
        status.random_weights = self._model.is_random
        if worker.stream is not None:
            _describe(status, worker.stream)
        self._time(status, received)
        self.latest = status
        self._outputs.publish_status(status)

    def _time(self, status: StreamStatus, received: Received[ImageMessage]) -> None:
        is_used = status.outcome == StreamStatus.PROCESSED
        for name in TIMED_OUTPUTS:
            is_sent = name in self._outputs.timings and (is_used or name == "map")
            latency_ms, age_ms = self._outputs.timings[name] if is_sent else (torch.nan, torch.nan)
            setattr(status, f"{name}_latency_ms", latency_ms)
            setattr(status, f"{name}_age_ms", age_ms)
        if not is_used:
            status.inference_ms = 0.0
        status.latency_ms = 1e3 * (time.monotonic() - received.time_s)
        status.age_ms = (self._outputs.now_ns - stamp_ns(received.message)) / 1e6


def _describe(status: StreamStatus, stream: "Stream") -> None:
    session = stream.session
    status.frame_index = session.frame_index
    status.map_id = stream.map_id
    status.last_reset = stream.last_reset
    status.last_error = stream.error
    status.scale_source = stream.measured.settings.source
    status.scale = stream.scale
    status.metres_per_unit, status.metres_per_unit_sigma = stream.measured.estimate
    status.policy = session.memory.policy
    status.total_budget = session.memory.total_budget
    status.stored_tokens = session.stored_tokens
    status.memory_bytes = session.memory_bytes
    status.map_points = len(stream.map)
    status.inference_ms = stream.inference_ms
    status.device = str(session.model.device)
    if stream.latest is not None:
        status.calibrated = stream.latest.image.intrinsics is not None
        status.rectified = stream.latest.image.is_rectified
