# SPDX-License-Identifier: Apache-2.0
"""Keyframes of an unlabelled recording, tracked and adjusted, as labels for an adaptation."""

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from infinitevggt_core.model.preprocess import PixelMap
from infinitevggt_core.tracking import Keyframe, Tracker
from infinitevggt_core.training.adaptation import AdaptationError, Recording

MOST_RELATIVE_STD = 0.25
"""Points with a larger relative standard deviation of their distance are not used."""
FULL_TRUST_STD = 0.05
"""Relative standard deviation at which the weight of a point is one half."""
Matrix = NDArray[np.float64]


class TrackedRecording:
    """Tracks images one after the other and collects the final keyframes."""

    def __init__(self) -> None:
        self.images = 0
        """Number of images so far."""
        self._tracker = Tracker(background=False, listener=self)
        self._current: tuple[Tensor, PixelMap] | None = None
        self._seen: dict[int, tuple[Tensor, PixelMap]] = {}
        self._rows: list[tuple[Tensor, ...]] = []

    def add(
        self, rgb: NDArray[np.uint8], intrinsics: Matrix, image: Tensor, pixel_map: PixelMap
    ) -> None:
        """Track the next image.

        rgb: (H, W, 3) without lens distortion, intrinsics (3, 3) in its pixels. image: the same at
        the network's size [3, h, w], pixel_map: the map between the two.
        """
        self._current = image, pixel_map
        grey = np.asarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), dtype=np.uint8)
        self._tracker.track(grey, intrinsics, stamp_s=float(self.images))
        self.images += 1

    def on_new_keyframe(self, keyframe: Keyframe) -> None:
        """Keep the network's image of a keyframe."""
        if self._current is not None:
            self._seen[keyframe.index] = self._current

    def on_keyframe_left_window(self, keyframe: Keyframe) -> None:
        """Collect a keyframe whose pose and points are final, if it has points to learn from."""
        if keyframe.index not in self._seen:
            return
        labels = _labels(keyframe, *self._seen.pop(keyframe.index))
        weight = labels[2]
        if weight.any():
            self._rows.append(labels)

    def on_window(self, poses: dict[int, Matrix]) -> None:
        """Ignore preliminary poses."""

    def finish(self) -> Recording:
        """Stop the tracker and return the keyframes. Raises AdaptationError if there are none."""
        self._tracker.finish()
        self._tracker.close()
        if not self._rows:
            raise AdaptationError(
                f"no keyframes in {self.images} images: the camera must move, by more than it turns"
            )
        images, depth, weight, poses, intrinsics, submap = (
            torch.stack(column) for column in zip(*self._rows, strict=True)
        )
        return Recording(images, depth, weight, poses, intrinsics, submap)


def _labels(keyframe: Keyframe, image: Tensor, pixel_map: PixelMap) -> tuple[Tensor, ...]:
    """Return the tensors of one keyframe in the order of `Recording`."""
    height, width = pixel_map.model_size
    shrink = keyframe.gray.shape[1] / pixel_map.camera_size[1]
    at_camera = np.diag([1 / shrink, 1 / shrink, 1.0])
    at_camera[:2, 2] = (0.5 / shrink - 0.5,) * 2
    intrinsics = pixel_map.model_intrinsics(at_camera @ keyframe.intrinsics)
    z = keyframe.camera_points[:, 2]
    camera = (keyframe.pixels + 0.5) / shrink - 0.5
    scale, shift = np.array(pixel_map.scale), np.array(pixel_map.shift)
    column, row = np.rint((camera + 0.5) * scale - 0.5 + shift).astype(np.int64).T
    usable = (z > 0) & (keyframe.relative_std < MOST_RELATIVE_STD)
    usable &= (column >= 0) & (column < width) & (row >= 0) & (row < height)
    depth, weight = torch.zeros(height, width), torch.zeros(height, width)
    place = torch.from_numpy(row[usable] * width + column[usable])
    trust = 1 / (1 + (keyframe.relative_std[usable] / FULL_TRUST_STD) ** 2)
    depth.view(-1)[place] = torch.from_numpy(z[usable]).float()
    weight.view(-1)[place] = torch.from_numpy(trust).float()
    return (
        image,
        depth,
        weight,
        torch.from_numpy(keyframe.camera_from_world).float(),
        torch.from_numpy(intrinsics).float(),
        torch.tensor(keyframe.submap),
    )
