# SPDX-License-Identifier: Apache-2.0
"""A run in the Rerun viewer, or in a recording that the viewer opens."""

import time
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from infinitevggt_core.evaluation.trajectory import camera_centers
from infinitevggt_ros.errors import CommandError
from infinitevggt_ros.evaluation.run_files import keyframe_graph
from infinitevggt_ros.export.keyframe import jpeg_of
from infinitevggt_ros.live.stream import LiveFrame, LiveStream
from infinitevggt_ros.map_axes import MAP_FROM_WORLD, points_in_map

APPLICATION = "infinitevggt"
SUFFIX = ".rrd"
MAP_PERIOD_S = 2.0
"""Shortest time between two views of trajectory, keyframes, loops and cloud."""
MOST_POINTS = 200_000
"""Most points of the cloud, evenly chosen."""
AXES = MAP_FROM_WORLD[:3, :3]


class RerunView:
    """Logs image, depth, pose and memory of each image, and from time to time the whole map."""

    def __init__(self, file: Path | None) -> None:
        """file: a recording to write; None starts the viewer. Raises CommandError."""
        if file and file.suffix != SUFFIX:
            raise CommandError(f"--rerun {file}: the name of the recording must end in {SUFFIX}")
        try:
            self._rr: Any = import_module("rerun")
        except ImportError as error:
            raise CommandError("--rerun needs rerun-sdk: pip install rerun-sdk") from error
        self._recording = self._rr.RecordingStream(APPLICATION)
        try:
            if file:
                file.parent.mkdir(parents=True, exist_ok=True)
                self._recording.save(file)
            else:
                self._recording.spawn()
        except RuntimeError as error:  # such as of a viewer that cannot be found
            raise CommandError(f"--rerun: {error}") from error
        self._log("map", self._rr.ViewCoordinates.RIGHT_HAND_Z_UP, static=True)
        self._map_due_s = 0.0

    def show(self, live: LiveFrame, stream: LiveStream, used: int) -> None:
        """Log an image. used: number of images so far."""
        rr = self._rr
        self._recording.set_time("image", sequence=used)
        self._recording.set_time("stamp", timestamp=np.datetime64(live.stamp_ns, "ns"))
        rotation = AXES @ live.camera_from_map[:, :3].T
        position = -rotation @ live.camera_from_map[:, 3]
        self._log("map/camera", rr.Transform3D(translation=position, mat3x3=rotation))
        for name, matrix, size in (
            ("image", live.camera_matrix, live.rgb.shape),
            ("depth", live.depth_matrix, live.depth.shape),
        ):
            lens = rr.Pinhole(image_from_camera=matrix, resolution=(size[1], size[0]))
            self._log(f"map/camera/{name}", lens)
        picture = rr.EncodedImage(contents=jpeg_of(live.rgb), media_type="image/jpeg")
        self._log("map/camera/image", picture)
        self._log("map/camera/depth", rr.DepthImage(live.depth, meter=1.0))
        session = stream.session
        for name, value in (
            ("memory/bytes", session.memory_bytes),
            ("memory/tokens", sum(session.stored_tokens)),
            ("latency_ms", live.latency_ms),
        ):
            self._log(name, rr.Scalars(float(value)))
        if time.monotonic() >= self._map_due_s:
            self._map_due_s = time.monotonic() + MAP_PERIOD_S
            self._show_map(stream)

    def finish(self, stream: LiveStream, used: int) -> None:
        """Log the final trajectory, keyframes, loops and cloud."""
        stream.finish()
        self._show_map(stream)

    def close(self) -> None:
        """Complete the recording."""
        self._recording.flush()
        self._recording.disconnect()

    def _show_map(self, stream: LiveStream) -> None:
        rr = self._rr
        way = camera_centers(stream.trajectory()[1]) @ AXES.T
        loops = [edge.key for edge in stream.mapper.loop_edges() if edge.accepted]
        keyframes, ends = keyframe_graph(stream.mapper.keyframe_poses(), loops)
        cloud = stream.map.cloud(MOST_POINTS)
        points = points_in_map(cloud.positions.numpy())
        self._log("map/trajectory", rr.LineStrips3D([way]))
        self._log("map/keyframes", rr.Points3D(keyframes))
        self._log("map/loops", rr.LineStrips3D(ends))
        self._log("map/cloud", rr.Points3D(points, colors=cloud.colors.numpy()))

    def _log(self, name: str, entity: Any, *, static: bool = False) -> None:
        self._recording.log(name, entity, static=static)
