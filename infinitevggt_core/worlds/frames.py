# SPDX-License-Identifier: Apache-2.0
"""Rendered views with their ground truth."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, slots=True)
class WorldFrame:
    """A rendered view with its ground truth."""

    image: Tensor
    """[3, H, W], RGB in [0, 1]."""
    depth: Tensor
    """[H, W], metres along the optical axis; 0: sky."""
    camera_from_world: Tensor
    """[3, 4], float64: world (z up, metres) to OpenCV camera axes."""
    intrinsics: Tensor
    """[3, 3], float64, pixels. Pixel (0, 0) is the centre of the first pixel; the principal
    point is (W / 2, H / 2), as in the network."""


@dataclass(frozen=True, slots=True)
class WorldClips:
    """Views with any leading dimensions, such as [B worlds, S frames]. See `WorldFrame` for the
    rest."""

    images: Tensor
    depth: Tensor
    camera_from_world: Tensor
    intrinsics: Tensor

    def frame(self, *index: int) -> WorldFrame:
        """Return the view at one index of the leading dimensions."""
        return WorldFrame(
            self.images[index],
            self.depth[index],
            self.camera_from_world[index],
            self.intrinsics[index],
        )
