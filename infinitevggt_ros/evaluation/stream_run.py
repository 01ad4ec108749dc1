# SPDX-License-Identifier: Apache-2.0
"""One source under one setting: every frame in order, none dropped.

The work folder holds a snapshot of everything, written whole from time to time. An interrupted run
continues from it and gives the figures that it would have given.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from infinitevggt_core import StreamSession
from infinitevggt_core.evaluation.tally import FrameMetrics, StreamTally
from infinitevggt_core.io.atomic_file import whole_file
from infinitevggt_core.model import geometry
from infinitevggt_core.model.vggt import VGGT
from infinitevggt_core.training.clip import fit_depth
from infinitevggt_ros.errors import CommandError
from infinitevggt_ros.evaluation.frame_record import BAG_TOPICS, FrameRecord
from infinitevggt_ros.evaluation.frames import Frame, Source, Truth
from infinitevggt_ros.evaluation.journal import Journal
from infinitevggt_ros.evaluation.pose_references import PoseReferences
from infinitevggt_ros.evaluation.run_log import RunLog
from infinitevggt_ros.evaluation.strips import Strips
from infinitevggt_ros.input.camera import Camera
from infinitevggt_ros.input.depth_images import same_view
from infinitevggt_ros.input.image_gate import BadInputError
from infinitevggt_ros.input.mailbox import Received
from infinitevggt_ros.node.status_message import (
    PROCESSED,
    REJECTED,
    WorkerSnapshot,
    status_message,
)
from infinitevggt_ros.output.frame_result import FrameResult
from infinitevggt_ros.params.settings import Settings
from infinitevggt_ros.stream.stream import Stream

SNAPSHOT_S = 60.0
SNAPSHOT_SHARE = 0.05
"""Largest share of the time for snapshots: large memories are written less often."""
COUNTS = ("received", "processed", "rejected", "last_rejection")
"""Counts of the camera in the snapshot."""
TOPIC_NUMBERS = {topic: number for number, topic in enumerate(BAG_TOPICS)}
"""Numbers of topics in the journal."""


@dataclass(frozen=True, slots=True)
class RunResult:
    """Results of a finished run in this process."""

    tally: StreamTally
    log: RunLog
    strips: Strips
    stream: Stream
    journal: Journal | None
    corrected: NDArray[np.float64] | None
    """camera_from_world (N, 3, 4) of each pose of the tally as known at the end of the run; None if
    poses are never corrected."""


class StreamRun:
    """A run of one source through a stream."""

    def __init__(
        self,
        source: Source,
        settings: Settings,
        model: VGGT,
        work: Path,
        *,
        result_bag: bool,
        warn: Callable[[str], None] = lambda _: None,
    ) -> None:
        """work: folder of the snapshot. warn: called once with each kind of warning."""
        self.source = source
        self.frames_read = 0
        self._snapshot = work / "snapshot.pt"
        self._journal_path = work / "journal" if result_bag else None
        self._journal: Journal | None = None
        self._warned: set[str] = set()
        self._warn_user = warn
        self._record = FrameRecord(settings)
        self._camera = Camera("", source.topic, settings.input, self._warn)
        self._camera.converter.calibration = source.calibration
        self.stream = Stream(StreamSession(model, settings.memory), settings, self._warn)
        self.tally = StreamTally(source.frame_count, source.farthest_m)
        self.references = PoseReferences()
        self.log = RunLog()
        self.strips = Strips(source.frame_count)

    def run(
        self,
        progress: Callable[[int], object] = lambda _: None,
        should_stop: Callable[[], bool] = lambda: False,
        snapshot_s: float = SNAPSHOT_S,
    ) -> RunResult | None:
        """Return the results; None if it was told to stop, after writing the snapshot.

        progress: called after each frame with the number of frames that are done.
        """
        journal_bytes = self._resume()
        if self._journal_path:
            self._journal = Journal(self._journal_path, journal_bytes)
        progress(self.frames_read)
        due_s = time.monotonic() + snapshot_s
        for frame in self.source.frames(self.frames_read):
            self._step(frame)
            self.frames_read += 1
            progress(self.frames_read)
            if (stopping := should_stop()) or time.monotonic() >= due_s:
                took_s = self._save()
                if stopping:
                    return None
                due_s = time.monotonic() + max(snapshot_s, took_s / SNAPSHOT_SHARE)
        if not self.log.used_stamps_ns():
            reasons = "; ".join(self.log.rejections) or "there is none"
            raise CommandError(f"{self.source.name}: no image could be used: {reasons}")
        keyframes = self.stream.pose_source.keyframes()
        live = self.tally.poses[0]
        corrected = self.references.corrected(live, keyframes) if keyframes else None
        return RunResult(self.tally, self.log, self.strips, self.stream, self._journal, corrected)

    def remove_snapshot(self) -> None:
        """Remove the snapshot and the journal, when the results are written."""
        self._snapshot.unlink(missing_ok=True)
        if self._journal:
            self._journal.remove()

    def _step(self, frame: Frame) -> None:
        received = Received(frame.message, time.monotonic(), self._camera)
        map_id = self.stream.map_id
        self._camera.received += 1
        started_s = time.perf_counter()
        result = self._process(received)
        latency_ms = 1e3 * (time.perf_counter() - started_s) if result else 0.0
        if self.stream.map_id != map_id:  # poses of another map have no place in this one
            self.tally = StreamTally(self.source.frame_count, self.source.farthest_m)
            self.references = PoseReferences()
        status = self._status(received, result)
        self.log.restarts = status.map_id
        self.log.add(
            received.stamp_ns,
            "" if result else status.last_rejection,
            self.stream.session.model.device,
            latency_ms=latency_ms,
            memory_bytes=status.memory_bytes,
            tokens=sum(status.stored_tokens),
            map_points=status.map_points,
        )
        if self._journal:
            for topic, message in self._record.messages(status, result):
                self._journal.append(TOPIC_NUMBERS[topic], received.stamp_ns, message)
        if result:
            self._compare(result, frame.truth)

    def _process(self, received: Received) -> FrameResult | None:
        """Return the result of an image; None if it is rejected."""
        camera = self._camera
        try:
            result = self.stream.process(received)
        except BadInputError as problem:
            camera.rejected += 1
            camera.last_rejection = f"{camera.topic}: image refused, {problem}"
            camera.warn(problem.kind, camera.last_rejection)
            return None
        camera.processed += 1
        return result

    def _status(self, received: Received, result: FrameResult | None) -> Any:
        outcome = REJECTED if result is None else PROCESSED
        snapshot = self.stream.snapshot(self._camera.name)
        return status_message(
            received.header,
            self._camera,
            outcome,
            self.stream.settings.model,
            WorkerSnapshot(),
            snapshot,
            self._record.maker,
        )

    def _compare(self, result: FrameResult, truth: Truth) -> None:
        estimate = self.stream.latest_estimate
        self.references.add(result.camera_from_world, estimate.reference if estimate else None)
        found = FrameMetrics(result.camera_from_world, result.depth, result.world_points())
        depth, pixel_map = None, result.pixel_map
        if truth.depth is not None and same_view(truth.depth, pixel_map.camera_size):
            rectified = self._camera.converter.rectified_depth(truth.depth, pixel_map.camera_size)
            depth = fit_depth(rectified, pixel_map)
        true_points = self._true_points(result, truth, depth)
        self.tally.add(found, FrameMetrics(truth.camera_from_world, depth, true_points))
        image = (result.colors * 255).round().astype(np.uint8)
        self.strips.add(self.frames_read, image, result.depth, depth)

    def _true_points(
        self, result: FrameResult, truth: Truth, depth: NDArray[np.float32] | None
    ) -> NDArray[np.float64] | None:
        """Return (H, W, 3), m, in the world of the truth; NaN where unknown."""
        pixel_map = result.pixel_map
        matrix = self._camera.converter.camera_matrix(pixel_map.camera_size)
        if depth is None or matrix is None:
            return None
        known = np.isfinite(depth) & (depth > 0) & (depth < self.source.farthest_m)
        points = geometry.world_points(
            torch.from_numpy(np.where(known, depth, np.nan)).double(),
            torch.from_numpy(truth.camera_from_world),
            torch.from_numpy(pixel_map.model_intrinsics(matrix)),
        )
        return points.numpy()

    def _warn(self, kind: str, text: str) -> None:
        if kind not in self._warned:
            self._warned.add(kind)
            self._warn_user(text)

    def _save(self) -> float:
        """Write the snapshot; return the time it took, s."""
        started_s = time.monotonic()
        state = {
            "frames_read": self.frames_read,
            "journal_bytes": self._journal.sync() if self._journal else 0,
            "stream": self.stream.state_dict(),
            "counts": [getattr(self._camera, name) for name in COUNTS],
            "tally": self.tally.state_dict(),
            "references": self.references.state_dict(),
            "record": self._record.state_dict(),
            "log": self.log.state_dict(),
            "strips": self.strips.state_dict(),
        }
        with whole_file(self._snapshot) as partial:
            torch.save(state, partial)
        return time.monotonic() - started_s

    def _start_in_saved_map(self) -> None:
        state = self.stream.settings.state
        if not state.path:
            return
        try:
            self.stream.load_world(state.file)
        except (OSError, ValueError) as error:
            raise CommandError(f"{state.path} cannot be used: {error}") from error

    def _resume(self) -> int:
        """Continue from the snapshot, if there is one; return the length of its journal, bytes."""
        if not self._snapshot.exists():
            self._start_in_saved_map()
            return 0
        try:
            state = torch.load(self._snapshot, map_location="cpu", weights_only=True)
        except Exception as error:  # a damaged file makes the reader raise whatever it pleases
            raise CommandError(
                f"{self._snapshot} cannot be read, so nothing can be resumed from it; "
                "--overwrite starts again"
            ) from error
        self.stream.load_state_dict(state["stream"])
        for name, count in zip(COUNTS, state["counts"], strict=True):
            setattr(self._camera, name, count)
        self.tally.load_state_dict(state["tally"])
        self.references.load_state_dict(state["references"])
        self._record.load_state_dict(state["record"])
        self.log.load_state_dict(state["log"])
        self.strips.load_state_dict(state["strips"])
        self.frames_read = state["frames_read"]
        return int(state["journal_bytes"])
