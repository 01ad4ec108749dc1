# SPDX-License-Identifier: Apache-2.0
"""Stand-in for cv_bridge, only what infinitevggt_ros calls: the encodings of sensor_msgs."""

import re
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from cv_bridge.errors import CvBridgeError

MATRIX = re.compile(r"(8U|8S|16U|16S|32S|32F|64F)(?:C([1-9][0-9]*))?")
DEPTHS = {
    "8U": "uint8",
    "8S": "int8",
    "16U": "uint16",
    "16S": "int16",
    "32S": "int32",
    "32F": "float32",
    "64F": "float64",
}
DEPTH_NAMES = {dtype: depth for depth, dtype in DEPTHS.items()}
CHANNELS = {"mono": 1, "rgb": 3, "bgr": 3, "rgba": 4, "bgra": 4}
# OpenCV names a Bayer pattern by the second and third pixel of the second row, ROS by the first
# four pixels: RGGB there is BG here.
BAYER = {"rggb": "BayerBG", "bggr": "BayerRG", "gbrg": "BayerGR", "grbg": "BayerGB"}
# their newer names, uyvy and yuyv, cv_bridge 3.4 does not know
YUV = {"yuv422": "UYVY", "yuv422_yuy2": "YUY2"}


@dataclass(frozen=True, slots=True)
class Encoding:
    name: str
    dtype: np.dtype[Any]
    """Type of one sample, in the byte order of this machine."""
    channels: int
    colour: str | None
    """OpenCV's name of the colour space; None for a matrix such as 32FC1, which has no colour."""

    @property
    def matrix(self) -> str:
        """The name of the same memory layout without a meaning, such as 8UC3."""
        return matrix_name(self.dtype, self.channels)

    @property
    def bits(self) -> int:
        return 8 * self.dtype.itemsize


def matrix_name(dtype: np.dtype[Any], channels: int) -> str:
    """'8UC3' for uint8 and 3; KeyError for a dtype that images do not have (float16, bool)."""
    return f"{DEPTH_NAMES[dtype.name]}C{channels}"


@cache
def colour_encodings() -> dict[str, Encoding]:
    found = [Encoding(name, np.dtype("uint8"), 2, colour) for name, colour in YUV.items()]
    for bits in (8, 16):
        dtype = np.dtype(f"uint{bits}")
        for name, channels in CHANNELS.items():
            colour = "GRAY" if name == "mono" else name.upper()
            found.append(Encoding(f"{name}{bits}", dtype, channels, colour))
        for pattern, colour in BAYER.items():
            found.append(Encoding(f"bayer_{pattern}{bits}", dtype, 1, colour))
    return {encoding.name: encoding for encoding in found}


def parse(name: str) -> Encoding:
    if encoding := colour_encodings().get(name):
        return encoding
    if match := MATRIX.fullmatch(name):
        depth, channels = match.groups()
        return Encoding(name, np.dtype(DEPTHS[depth]), int(channels or 1), None)
    raise CvBridgeError(f"Unrecognized image encoding [{name}]")
