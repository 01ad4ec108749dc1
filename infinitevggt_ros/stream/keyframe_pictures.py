# SPDX-License-Identifier: Apache-2.0
"""Pictures, depth and tracked points of keyframes, kept for export, bounded."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from infinitevggt_core.tracking import Keyframe
from infinitevggt_core.tracking.similarity import Similarity3
from infinitevggt_ros.export.keyframe import ExportKeyframe, jpeg_of
from infinitevggt_ros.export.run_folder import RunWriter

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class KeyframeRun:
    """Keyframes with their pictures and poses at one time."""

    keyframes: list[tuple[ExportKeyframe, bytes]]
    """Keyframe and its picture as JPEG."""
    poses: Mapping[int, Similarity3]
    """Map_from_camera, OpenCV axes, in units of the map per unit of the keyframe."""

    def write(self, writer: RunWriter) -> None:
        """Write everything to the folder of a run."""
        for keyframe, jpeg in self.keyframes:
            writer.write(keyframe, jpeg)
        writer.finish(self.poses, {})


class KeyframePictures:
    """Listener of a tracker that keeps keyframes whose picture is added; a full store drops every
    second one."""

    def __init__(self, most: int) -> None:
        """most: largest number of keyframes; 0 keeps none."""
        self.most = most
        self._newest: Keyframe | None = None
        self._kept: dict[int, tuple[ExportKeyframe, bytes]] = {}

    def __len__(self) -> int:
        return len(self._kept)

    def configure(self, most: int) -> None:
        """Use another bound."""
        self.most = most
        self._thin()

    def clear(self) -> None:
        """Drop every keyframe."""
        self._newest = None
        self._kept.clear()

    def add(
        self,
        index: int,
        stamp_ns: int,
        rgb: NDArray[np.uint8],
        depth: NDArray[np.float32],
        depth_matrix: Floats,
    ) -> None:
        """Keep the newest keyframe of the tracker, if it has this number.

        rgb: (H, W, 3), rectified. depth: (h, w), in the unit of the tracker; kept as float16.
        depth_matrix: K (3, 3), px of the depth.
        """
        newest = self._newest
        if not self.most or newest is None or newest.index != index:
            return
        small = depth.astype(np.float16)
        kept = ExportKeyframe.of(newest, stamp_ns, rgb.shape, small, depth_matrix)
        self._kept[index] = kept, jpeg_of(rgb)
        self._thin()

    def run(self, poses: Mapping[int, Similarity3]) -> KeyframeRun:
        """Return the keyframes that have a pose."""
        return KeyframeRun([kept for index, kept in self._kept.items() if index in poses], poses)

    def on_new_keyframe(self, keyframe: Keyframe) -> None:
        """Take the newest keyframe."""
        self._newest = keyframe

    def on_keyframe_left_window(self, keyframe: Keyframe) -> None:
        """Take the final points of a keyframe."""
        if keyframe.index in self._kept:
            old, jpeg = self._kept[keyframe.index]
            final = ExportKeyframe.of(keyframe, old.stamp_ns, old.size, old.depth, old.depth_matrix)
            self._kept[keyframe.index] = final, jpeg

    def on_window(self, poses: dict[int, Floats]) -> None:
        """Ignore adjusted poses: the map has them."""

    def _thin(self) -> None:
        while len(self._kept) > self.most:
            for index in list(self._kept)[-2::-2] if self.most else list(self._kept):
                del self._kept[index]
