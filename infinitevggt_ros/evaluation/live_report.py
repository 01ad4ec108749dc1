# SPDX-License-Identifier: Apache-2.0
"""Figures, files and page of a run without ROS."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from infinitevggt_core.evaluation.tally import (
    FrameMetrics,
    StreamTally,
    measures,
    trajectory_measures,
)
from infinitevggt_core.io.even_sample import EvenSample
from infinitevggt_core.io.stamps import nearest
from infinitevggt_core.tracking.tracked_frame import LOST
from infinitevggt_ros.evaluation.live_bag import LiveBag
from infinitevggt_ros.evaluation.page import write_page
from infinitevggt_ros.evaluation.run_files import (
    SERIES,
    Array,
    keyframe_graph,
    machine,
    write_map_files,
    write_metrics,
    write_series,
    write_trajectories,
)
from infinitevggt_ros.evaluation.run_log import RunLog
from infinitevggt_ros.evaluation.strips import Strips
from infinitevggt_ros.live.stream import MOST_POSES, LiveFrame, LiveStream

TRUTH_TOLERANCE_NS = 20_000_000
"""Greatest difference between the stamps of an image and of its true pose."""
UNKNOWN = np.full((3, 4), np.nan)


@dataclass(frozen=True, slots=True)
class LiveRun:
    """Finished run, for the page."""

    label: str
    out: Path


class LiveReport:
    """Collects the figures of a run, image by image, and writes them as `evaluate` does."""

    def __init__(self, bag: LiveBag | None = None) -> None:
        """bag: written beside the figures; None if no bag is wanted."""
        self._bag = bag
        self.log = RunLog(MOST_POSES)
        self.states: dict[str, int] = {}
        """Number of images by state of the tracking."""
        self._strips = Strips(None)
        self._live: EvenSample[Array] = EvenSample(MOST_POSES)

    @property
    def used(self) -> int:
        """Number of images that were used."""
        return sum(self.states.values())

    @property
    def refused(self) -> int:
        """Number of images that were refused."""
        return sum(self.log.rejections.values())

    def add(self, frame: LiveFrame, stream: LiveStream) -> None:
        """Add an image that was used."""
        if self._strips.is_due(self.used):
            self._strips.add(self.used, _small(frame), frame.depth)
        self.states[frame.state] = self.states.get(frame.state, 0) + 1
        self._live.add(UNKNOWN if frame.state == LOST else frame.camera_from_map)
        self._log(frame.stamp_ns, "", frame.latency_ms, stream)
        if self._bag:
            self._bag.add(frame, stream)

    def refuse(self, stamp_ns: int, reason: str, stream: LiveStream) -> None:
        """Add an image that was refused."""
        self._log(stamp_ns, reason, 0.0, stream)
        if self._bag:
            self._bag.refuse(stamp_ns, reason, stream)

    def close(self) -> None:
        """Remove what an unfinished run has written."""
        if self._bag:
            self._bag.close()

    def write(
        self,
        out: Path,
        source: dict[str, Any],
        stream: LiveStream,
        parameters: dict[str, Any],
        truth: dict[int, Array] | None = None,
    ) -> dict[str, Any]:
        """Write trajectories, map, bag, series.npz, metrics.json and index.html.

        Returns the figures.

        truth: camera_from_world (3, 4) of the optical frame by stamp (ns), metres.
        """
        stamps_ns = self.log.used_stamps_ns()
        tally = self._tally(stamps_ns, truth or {})
        final = _final_poses(stamps_ns, stream)
        write_trajectories(out, stamps_ns, tally.poses[0], tally.poses[1], final)
        points = stream.map.cloud()
        cloud = write_map_files(out, points)
        if self._bag:
            self._bag.finish(points)
        loops = [edge.key for edge in stream.mapper.loop_edges()]
        graph = keyframe_graph(stream.mapper.keyframe_poses(), loops)
        trajectories = (*tally.poses, final)
        write_series(out / SERIES, stamps_ns, trajectories, graph, cloud, self.log, self._strips)
        figures = {
            "name": source["name"],
            "source": source,
            **measures(tally),
            "trajectory_corrected": trajectory_measures(np.stack((final, tally.poses[1]))),
            "run": {**self.log.figures(), "tracking": self.states, "loops": stream.mapper.loops},
            "parameters": parameters,
            "machine": machine(stream.session.model.device),
        }
        write_metrics(out, figures)
        write_page(out, [LiveRun(stream.session.memory.policy, out)])
        return figures

    def _tally(self, stamps_ns: list[int], truth: dict[int, Array]) -> StreamTally:
        """Return the live pose of every image beside the true one; NaN where unknown."""
        true_ns = sorted(truth)
        tally = StreamTally(max(1, len(stamps_ns)))
        for stamp_ns, live in zip(stamps_ns, self._live.items, strict=True):
            at = nearest(true_ns, stamp_ns, TRUTH_TOLERANCE_NS)
            true_pose = UNKNOWN if at is None else truth[true_ns[at]]
            tally.add(FrameMetrics(live), FrameMetrics(true_pose))
        return tally

    def _log(self, stamp_ns: int, rejection: str, latency_ms: float, stream: LiveStream) -> None:
        session = stream.session
        self.log.add(
            stamp_ns,
            rejection,
            session.model.device,
            latency_ms=latency_ms,
            memory_bytes=session.memory_bytes,
            tokens=sum(session.stored_tokens),
            map_points=len(stream.map),
        )


def _final_poses(stamps_ns: list[int], stream: LiveStream) -> Array:
    """Return the poses (N, 3, 4) after the last loop closure; NaN where unknown."""
    known = dict(zip(*stream.trajectory(), strict=True))
    return np.stack([known.get(stamp_ns, UNKNOWN) for stamp_ns in stamps_ns])


def _small(frame: LiveFrame) -> np.ndarray:
    """Return the image at about the resolution of its depth."""
    height, width = frame.rgb.shape[:2]
    size = frame.depth.shape[1], max(1, round(height * frame.depth.shape[1] / width))
    return cv2.resize(frame.rgb, size, interpolation=cv2.INTER_AREA)
