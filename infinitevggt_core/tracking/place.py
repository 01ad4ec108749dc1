# SPDX-License-Identifier: Apache-2.0
"""Part of a keyframe that finds it again: corners, their descriptors and their depth."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from infinitevggt_core.tracking.keyframe import Keyframe
from infinitevggt_core.tracking.similarity import Floats
from infinitevggt_core.tracking.tracked_frame import LEAST_PARALLAX
from infinitevggt_core.tracking.vocabulary import Bytes, Floats32

MOST_CORNERS = 400
PATCH = 31
"""Side of the patch that a descriptor looks at, px."""
MOST_RELATIVE_STD = 0.3


@dataclass(frozen=True, slots=True, eq=False)
class Place:
    """A view of a keyframe: at most 400 corners, some 18 kB."""

    index: int
    """Number of the keyframe."""
    submap: int
    intrinsics: Floats
    """(3, 3), pixels."""
    height: int
    """Height of the image, px."""
    descriptors: Bytes
    """(N, 32): ORB, upright."""
    pixels: Floats32
    """(N, 2): u and v. Where there is a depth, those of the point, else of the corner."""
    depth: Floats32
    """(N,) along the optical axis, unit of the tracker; NaN where not known well enough."""

    @classmethod
    def of(cls, keyframe: Keyframe) -> "Place":
        """A keyframe's view, as its points are known now."""
        camera = keyframe.camera_points
        with np.errstate(invalid="ignore", divide="ignore"):
            placed = camera @ keyframe.intrinsics.T
            projected = placed[:, :2] / placed[:, 2:]
            known = (camera[:, 2] > 0) & (keyframe.parallax >= LEAST_PARALLAX)
            known &= keyframe.relative_std <= MOST_RELATIVE_STD
            # a point that does not project where it was seen is no point
            known &= np.abs(projected - keyframe.pixels).max(axis=1, initial=0) < 4
        known &= np.isfinite(camera).all(axis=1)
        pixels = np.where(known[:, None], projected, keyframe.pixels)
        depth = np.where(known, camera[:, 2], np.nan)
        kept, descriptors = describe(keyframe.gray, keyframe.pixels)
        return cls(
            index=keyframe.index,
            submap=keyframe.submap,
            intrinsics=keyframe.intrinsics,
            height=keyframe.gray.shape[0],
            descriptors=descriptors,
            pixels=pixels[kept].astype(np.float32),
            depth=depth[kept].astype(np.float32),
        )

    def __len__(self) -> int:
        """Corners."""
        return len(self.pixels)

    @property
    def has_depth(self) -> NDArray[np.bool_]:
        """(N,)."""
        return np.isfinite(self.depth)

    @property
    def points(self) -> Floats:
        """(N, 3) in the camera's axes, unit of the tracker; NaN where there is no depth."""
        image: Floats = np.column_stack((self.pixels, np.ones(len(self)))).astype(np.float64)
        rays: Floats = image @ np.linalg.inv(self.intrinsics).T
        return rays * self.depth.astype(np.float64)[:, None]

    @property
    def nbytes(self) -> int:
        arrays = (self.descriptors, self.pixels, self.depth, self.intrinsics)
        return sum(array.nbytes for array in arrays)

    def state_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> "Place":
        """Raises KeyError for a missing part, ValueError for one of another shape."""
        place = cls(**{name: state[name] for name in cls.__slots__})
        if not len(place.descriptors) == len(place.pixels) == len(place.depth):
            raise ValueError(f"corners of place {place.index} are not as many everywhere")
        return place


def describe(gray: Bytes, pixels: Floats) -> tuple[NDArray[np.int64], Bytes]:
    """Rows of `pixels` (N, 2) that could be described, at most 400, and their descriptors."""
    finite = np.asarray(np.isfinite(pixels).all(axis=1))
    height, width = gray.shape
    finite[finite] &= (pixels[finite] > -0.5).all(axis=1)
    finite[finite] &= (pixels[finite] < (width - 0.5, height - 0.5)).all(axis=1)
    rows = np.flatnonzero(finite)[:MOST_CORNERS]
    corners = [
        cv2.KeyPoint(x=float(u), y=float(v), size=PATCH, angle=0, octave=0, class_id=int(row))
        for row, (u, v) in zip(rows, pixels[rows], strict=True)
    ]
    if not corners or min(gray.shape) < PATCH:
        return np.zeros(0, dtype=np.int64), np.zeros((0, 32), dtype=np.uint8)
    # the image is continued beyond its border by reflection, so none has to be left out
    orb = cv2.ORB.create(edgeThreshold=0, patchSize=PATCH, nlevels=1)
    described, descriptors = orb.compute(gray, corners)
    if descriptors is None:
        return np.zeros(0, dtype=np.int64), np.zeros((0, 32), dtype=np.uint8)
    kept = np.array([corner.class_id for corner in described], dtype=np.int64)
    return kept, np.asarray(descriptors, dtype=np.uint8)
