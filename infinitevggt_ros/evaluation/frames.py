# SPDX-License-Identifier: Apache-2.0
"""What evaluation streams: images as messages, and what is true about them."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Truth:
    """What is known about one image."""

    camera_from_world: Array = field(default_factory=lambda: np.full((3, 4), np.nan))
    """(3, 4) of the optical frame, metres; NaN where it is not known."""
    depth: NDArray[np.float32] | None = None
    """(H, W) metres along the optical axis, of the image's field of view and with its lens; 0 or
    NaN: not known."""


@dataclass(frozen=True, slots=True)
class Frame:
    message: Image | CompressedImage
    truth: Truth


class Source(Protocol):
    """Images of one camera, in order."""

    name: str
    """A short one, for tables and folders."""
    topic: str
    """Of the images."""
    frame_count: int
    chosen: dict[str, Any]
    """What was chosen and found, to be printed and kept."""
    calibration: CameraInfo | None
    farthest_m: float
    """True depth beyond it does not count; infinite where there is no such convention."""

    def frames(self, skip: int = 0) -> Iterator[Frame]:
        """All of them but the first `skip`."""
        ...

    def surface(self) -> Array | None:
        """(M, 3) points of the true surface, metres; None: what the true depth shows."""
        ...
