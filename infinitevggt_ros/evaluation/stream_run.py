# SPDX-License-Identifier: Apache-2.0
"""One source through the node's own worker, in this process: every frame in its turn, none dropped.

The work folder holds a snapshot of everything, written whole every now and then; a run that was
ended goes on from it and gives the figures it would have given.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rclpy.serialization import serialize_message

from infinitevggt_core import StreamSession
from infinitevggt_core.evaluation.tally import StreamTally, TalliedFrame
from infinitevggt_core.io.atomic_file import whole_file
from infinitevggt_core.model import geometry
from infinitevggt_core.model.vggt import VGGT
from infinitevggt_core.training.fitting import fit_depth
from infinitevggt_ros.errors import CommandError
from infinitevggt_ros.evaluation.frames import Frame, Source, Truth
from infinitevggt_ros.evaluation.journal import Journal
from infinitevggt_ros.evaluation.offline_node import OfflineNode
from infinitevggt_ros.evaluation.run_log import RunLog
from infinitevggt_ros.evaluation.strips import Strips
from infinitevggt_ros.input.camera import Camera
from infinitevggt_ros.input.depth_images import same_view
from infinitevggt_ros.input.image_conversion import stamp_ns
from infinitevggt_ros.msg import StreamStatus
from infinitevggt_ros.node.status import StreamReport
from infinitevggt_ros.node.worker import StreamWorker
from infinitevggt_ros.output.frame_result import FrameResult
from infinitevggt_ros.output.map_publisher import Outputs
from infinitevggt_ros.params.settings import Settings
from infinitevggt_ros.stream.stream import Stream
from infinitevggt_ros.topics import NODE_MAP as MAP
from infinitevggt_ros.topics import NODE_STATUS as STATUS
from infinitevggt_ros.topics import RESULT_TOPICS as TOPICS

SNAPSHOT_S = 60.0
SNAPSHOT_SHARE = 0.05
"""Of the time, at most, goes into snapshots: large memories are written less often."""
COUNTS = ("received", "processed", "rejected", "last_rejection")
"""Of the camera, in the snapshot."""
BAG_TOPICS = [*TOPICS, "/infinitevggt/points"]
"""Of the result bag; their numbers in the journal."""


@dataclass(frozen=True, slots=True)
class RunResult:
    """What a finished run leaves in this process."""

    tally: StreamTally
    log: RunLog
    strips: Strips
    stream: Stream
    journal: Journal | None


class RecordingOutputs(Outputs):
    """The node's outputs; keeps what the worker gave them last."""

    result: FrameResult | None = None
    was_reset = False
    ready_s = 0.0
    """When the last result was on the host, by time.perf_counter."""

    def publish_frame(self, result: FrameResult) -> None:
        self.result = result
        _ = result.pose, result.depth  # the device has finished when these are here
        self.ready_s = time.perf_counter()
        super().publish_frame(result)

    def reset(self) -> None:
        self.was_reset = True
        super().reset()


class StreamRun:
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
        """work: a folder for the snapshot. warn: told of each kind of trouble once."""
        self.source = source
        self.frames_read = 0
        self._snapshot = work / "snapshot.pt"
        self._journal_path = work / "journal" if result_bag else None
        self._journal: Journal | None = None
        self._warned: set[str] = set()
        self._warn_user = warn
        wanted = {*BAG_TOPICS} - {MAP, "/tf_static"} if result_bag else {STATUS}
        node = OfflineNode(self._take, wanted)
        self._outputs = RecordingOutputs(node, settings.tf, settings.output, self._warn)
        self._camera = Camera("", source.topic, settings.input, self._warn)
        self._camera.intake.calibration = source.calibration
        session = StreamSession(model, settings.memory)
        self.stream = Stream(session, settings, self._outputs, self._warn)
        report = StreamReport(node, settings.model)
        self._worker = StreamWorker(lambda: [self.stream], report, self._warn)
        self._status = StreamStatus()
        self._stamp_ns = 0
        self.tally = StreamTally(source.frame_count, source.farthest_m)
        self.log = RunLog()
        self.strips = Strips(source.frame_count)

    def run(
        self,
        progress: Callable[[int], object] = lambda _: None,
        should_stop: Callable[[], bool] = lambda: False,
        snapshot_s: float = SNAPSHOT_S,
    ) -> RunResult | None:
        """None where it was told to stop; the snapshot is written then.

        progress: called with the number of frames that are done, after each of them.
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
        return RunResult(self.tally, self.log, self.strips, self.stream, self._journal)

    def forget_snapshot(self) -> None:
        """The results are written: nothing to resume."""
        self._snapshot.unlink(missing_ok=True)
        if self._journal:
            self._journal.remove()

    def _step(self, frame: Frame) -> None:
        self._outputs.result, self._outputs.was_reset = None, False
        self._stamp_ns = stamp_ns(frame.message)
        started_s = time.perf_counter()
        self._worker.process(self.stream, frame.message, self._camera)
        if self._outputs.was_reset:  # another world: what was found before has no place in it
            self.tally = StreamTally(self.source.frame_count, self.source.farthest_m)
        result = self._outputs.result
        latency_ms = 1e3 * (self._outputs.ready_s - started_s) if result else 0.0
        device = self.stream.session.model.device
        self.log.add(self._stamp_ns, self._status, latency_ms, device)
        if result:
            self._compare(result, frame.truth)

    def _compare(self, result: FrameResult, truth: Truth) -> None:
        points = result.prediction.world_points(result.intrinsics[None].to(result_device(result)))
        pose = result.prediction.camera_from_world[0].double().cpu().numpy()
        found = TalliedFrame(pose, result.depth, points[0].double().cpu().numpy())
        depth, pixel_map = None, result.image.pixel_map
        if truth.depth is not None and same_view(truth.depth, pixel_map.camera_size):
            rectified = self._camera.intake.rectified_depth(truth.depth, pixel_map.camera_size)
            depth = fit_depth(rectified, pixel_map)
        true_points = self._true_points(result, truth, depth)
        self.tally.add(found, TalliedFrame(truth.camera_from_world, depth, true_points))
        self.strips.add(self.frames_read, result, depth)

    def _true_points(
        self, result: FrameResult, truth: Truth, depth: NDArray[np.float32] | None
    ) -> NDArray[np.float64] | None:
        """(H, W, 3) m in the world of the truth, NaN where not known."""
        pixel_map = result.image.pixel_map
        matrix = self._camera.intake.camera_matrix(pixel_map.camera_size)
        if depth is None or matrix is None:
            return None
        known = np.isfinite(depth) & (depth > 0) & (depth < self.source.farthest_m)
        points = geometry.world_points(
            torch.from_numpy(np.where(known, depth, np.nan)).double(),
            torch.from_numpy(truth.camera_from_world),
            torch.from_numpy(pixel_map.model_intrinsics(matrix)),
        )
        return points.numpy()

    def _take(self, topic: str, message: Any) -> None:
        if topic == STATUS:
            self._status = message
        if self._journal:
            number = BAG_TOPICS.index(topic)
            self._journal.append(number, self._stamp_ns, serialize_message(message))

    def _warn(self, kind: str, text: str) -> None:
        if kind not in self._warned:
            self._warned.add(kind)
            self._warn_user(text)

    def _save(self) -> float:
        """Write the snapshot; seconds it took."""
        started_s = time.monotonic()
        state = {
            "frames_read": self.frames_read,
            "journal_bytes": self._journal.sync() if self._journal else 0,
            "stream": self.stream.state_dict(),
            "counts": [getattr(self._camera, name) for name in COUNTS],
            "tally": self.tally.state_dict(),
            "log": self.log.state_dict(),
            "strips": self.strips.state_dict(),
        }
        with whole_file(self._snapshot) as partial:
            torch.save(state, partial)
        return time.monotonic() - started_s

    def _resume(self) -> int:
        """Go on from the snapshot, if there is one; bytes of the journal that belong to it."""
        if not self._snapshot.exists():
            return 0
        try:
            state = torch.load(self._snapshot, map_location="cpu", weights_only=True)
        except Exception as error:  # a damaged file makes the reader raise whatever it pleases
            raise CommandError(
                f"{self._snapshot} cannot be read, so nothing can be resumed from it; "
                "--overwrite starts anew"
            ) from error
        self.stream.load_state_dict(state["stream"])
        for name, count in zip(COUNTS, state["counts"], strict=True):
            setattr(self._camera, name, count)
        self.tally.load_state_dict(state["tally"])
        self.log.load_state_dict(state["log"])
        self.strips.load_state_dict(state["strips"])
        self.frames_read = state["frames_read"]
        return int(state["journal_bytes"])


def result_device(result: FrameResult) -> torch.device:
    return result.prediction.depth.device
