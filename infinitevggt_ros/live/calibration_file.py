# SPDX-License-Identifier: Apache-2.0
"""Calibrations from a file of camera_calibration, or from a field of view."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from infinitevggt_ros.bags.image_bag import pinhole_matrix
from infinitevggt_ros.errors import CommandError
from infinitevggt_ros.input.calibration import CameraInfo

NO_REGION = SimpleNamespace(x_offset=0, y_offset=0, height=0, width=0)


def read_camera_file(path: Path) -> CameraInfo:
    """Read a calibration in the YAML format of camera_calibration_parsers.

    Raises CommandError naming what is wrong with the file.
    """
    try:
        found = yaml.safe_load(path.read_text())
        matrix = _numbers(found, "camera_matrix", 9)
        info = SimpleNamespace(
            height=int(found["image_height"]),
            width=int(found["image_width"]),
            distortion_model=str(found.get("distortion_model", "plumb_bob")),
            d=_numbers(found, "distortion_coefficients", None, []),
            k=matrix,
            r=_numbers(found, "rectification_matrix", 9, np.eye(3).ravel().tolist()),
            p=_numbers(found, "projection_matrix", 12, [0.0] * 12),
            binning_x=0,
            binning_y=0,
            roi=NO_REGION,
        )
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise CommandError(f"{path} cannot be read: {error}".splitlines()[0]) from error
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CommandError(f"{path} is no calibration of a camera: {error}") from error
    return info


def info_of_fov(fov_deg: float, size: tuple[int, int]) -> CameraInfo:
    """Return the calibration of images of `size` (height, width) with a horizontal field of view.

    Raises CommandError for an impossible angle.
    """
    if not 0 < fov_deg < 180:
        raise CommandError(f"--fov {fov_deg:g}: must be between 0 and 180 degrees")
    return info_of_matrix(pinhole_matrix(size[1], size[0], fov_deg), size)


def info_of_matrix(matrix: NDArray[np.float64], size: tuple[int, int]) -> CameraInfo:
    """Return the calibration of images of `size` (height, width) without distortion.

    matrix: K (3, 3), px.
    """
    height, width = size
    return SimpleNamespace(
        height=height,
        width=width,
        distortion_model="plumb_bob",
        d=[],
        k=matrix.ravel().tolist(),
        r=np.eye(3).ravel().tolist(),
        p=[0.0] * 12,
        binning_x=0,
        binning_y=0,
        roi=NO_REGION,
    )


def _numbers(
    found: dict[str, Any], name: str, count: int | None, default: list[float] | None = None
) -> list[float]:
    if default is not None and name not in found:
        return default
    values = [float(value) for value in found[name]["data"]]
    if count is not None and len(values) != count:
        raise ValueError(f"{name} must have {count} numbers, got {len(values)}")
    return values
