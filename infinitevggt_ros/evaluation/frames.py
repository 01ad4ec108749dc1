# SPDX-License-Identifier: Apache-2.0
"""Input of an evaluation: images as messages, and the truth about them."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Truth:
    """True pose and depth of one image."""

    camera_from_world: Array = field(default_factory=lambda: np.full((3, 4), np.nan))
    """(3, 4) of the optical frame, metres; NaN if unknown."""
    depth: NDArray[np.float32] | None = None
    """(H, W) metres along the optical axis, with the field of view and the distortion of the image;
    0 or NaN: unknown."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One image and its truth."""

    message: Image | CompressedImage
    truth: Truth


class Source(Protocol):
    """Images of one camera, in order."""

    name: str
    """Short name for tables and folders."""
    topic: str
    """Topic of the images."""
    frame_count: int
    chosen: dict[str, Any]
    """Choices and findings about the source, printed and written to metrics.json."""
    calibration: CameraInfo | None
    farthest_m: float
    """Depth up to which truth counts; infinite if the data set has no such convention."""

    def frames(self, skip: int = 0) -> Iterator[Frame]:
        """Yield all frames except the first `skip`."""
        ...

    def surface(self) -> Array | None:
        """Return (M, 3) points of the true surface, metres; None to use the true depth."""
        ...
