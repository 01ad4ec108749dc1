# SPDX-License-Identifier: Apache-2.0
"""Stand-in for cv_bridge, only what infinitevggt_ros calls: from one encoding to another."""

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from cv_bridge.encoding import BAYER, YUV, Encoding, parse
from cv_bridge.errors import CvBridgeError

GRAY_OR_RGB = ("GRAY", "RGB", "BGR")
PLAIN = (*GRAY_OR_RGB, "RGBA", "BGRA")


def convert(image: npt.NDArray[Any], source: str, target: str) -> npt.NDArray[Any]:
    """Image (H, W) or (H, W, C) of encoding `source`, as `target`; itself if they are the same."""
    if source == target:
        return image
    before, after = parse(source), parse(target)
    code = conversion_code(before, after)
    if code is not None:
        try:
            image = cv2.cvtColor(image, code)
        except cv2.error as error:
            raise CvBridgeError(str(error)) from error
    return image if before.dtype == after.dtype else with_depth(image, before, after)


def conversion_code(source: Encoding, target: Encoding) -> int | None:
    """OpenCV's code for the change of colour; None where only the sample type may change."""
    if target.colour is None:
        if source.channels != target.channels:
            raise CvBridgeError(
                f"[{source.name}] and [{target.name}] do not have the same number of channels"
            )
        return None
    if source.colour == target.colour:
        return None
    name = color_name(source.colour, target.colour)
    if name is None:
        raise CvBridgeError(f"Unsupported conversion from [{source.name}] to [{target.name}]")
    return int(getattr(cv2, name))


def color_name(source: str | None, target: str) -> str | None:
    """Name of OpenCV's constant; None for a pair that cv_bridge does not offer."""
    if source in PLAIN and target in PLAIN:
        return f"COLOR_{source}2{target}"
    if source in BAYER.values() and target in GRAY_OR_RGB:
        return f"COLOR_{source}2{target}"
    if source in YUV.values() and target in PLAIN:
        return f"COLOR_YUV2{target}_{source}"
    return None


def with_depth(image: npt.NDArray[Any], source: Encoding, target: Encoding) -> npt.NDArray[Any]:
    """Other sample type; between 8 and 16 bit the full range stays the full range."""
    scale = 1.0
    if {source.bits, target.bits} == {8, 16}:
        scale = 257.0 if target.bits == 16 else 1 / 257.0
    if np.issubdtype(target.dtype, np.floating):
        return image.astype(target.dtype)
    limits = np.iinfo(target.dtype)
    values = np.nan_to_num(np.rint(image * scale), nan=limits.min)
    return np.clip(values, limits.min, limits.max).astype(target.dtype)
