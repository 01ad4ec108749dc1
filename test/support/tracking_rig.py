# SPDX-License-Identifier: Apache-2.0
"""A stream that tracks a calibrated camera, and the world that it saves."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import CameraInfo

from infinitevggt_ros.output.frame_result import FrameResult
from infinitevggt_ros.params.settings import ModelSettings, Settings, StateSettings
from support.camera import header
from support.rig import Rig
from support.tracking_samples import MATRIX, SIZE


def walk_info() -> CameraInfo:
    """Calibration of the images of a walk."""
    info = CameraInfo(header=header(0), height=SIZE[0], width=SIZE[1])
    info.k = MATRIX.ravel().tolist()
    return info


def tracking_rig(*, background: bool = False, **changes: object) -> Rig:
    settings = Settings(model=ModelSettings(image_size=112), **changes)
    rig = Rig(settings, pose_source="tracking", background=background)
    rig.cameras[""].converter.calibration = walk_info()
    return rig


def run(rig: Rig, images: list[NDArray[np.uint8]], first: int = 0) -> list[FrameResult]:
    return [
        rig.take(image, 10**9 + 33_000_000 * (first + number))
        for number, image in enumerate(images)
    ]


def save_walk(images: list[NDArray[np.uint8]], path: Path) -> Path:
    """Save the state of a stream that walked there and back."""
    rig = tracking_rig(state=StateSettings(path=str(path)))
    run(rig, [*images, *images[::-1]])
    rig.stream.save()
    return path
