# SPDX-License-Identifier: Apache-2.0
"""Write images of one camera into a bag, with camera_info if the field of view is known."""

from fractions import Fraction
from math import radians, tan
from typing import Any

import cv2
import numpy as np
from rosbags.typesys import Stores, get_typestore

from infinitevggt_ros.bags.camera_messages import header_at, pinhole_info, raw_image
from infinitevggt_ros.bags.image_source import SourceImage
from infinitevggt_ros.bags.writer import BagWriter
from infinitevggt_ros.errors import CommandError

JPEG_QUALITY = 95

_STORE = get_typestore(Stores.ROS2_KILTED)
_TYPES = _STORE.types
_IMAGE = "sensor_msgs/msg/Image"
_COMPRESSED = "sensor_msgs/msg/CompressedImage"
_CAMERA_INFO = "sensor_msgs/msg/CameraInfo"


def frame_stamp_ns(start_ns: int, index: int, rate_hz: Fraction) -> int:
    """Return the stamp (ns) of image `index`, without accumulated rounding errors."""
    return start_ns + round(index * 10**9 / rate_hz)


def pinhole_matrix(width: int, height: int, fov_deg: float) -> np.ndarray:
    """Return K (3, 3), px, of square pixels with a centred principal point.

    fov_deg: horizontal field of view.
    """
    focal_px = width / 2 / tan(radians(fov_deg) / 2)
    return np.array([[focal_px, 0, width / 2], [0, focal_px, height / 2], [0, 0, 1]])


class ImageBag:
    """Writes images on `topic`, or compressed images on `topic`/compressed."""

    def __init__(
        self,
        bag: BagWriter,
        topic: str = "/camera/image_raw",
        *,
        frame_id: str = "camera_optical_frame",
        fov_deg: float | None = None,
        compressed: bool = False,
    ) -> None:
        """fov_deg: horizontal field of view (degrees); None writes no camera_info."""
        if fov_deg is not None and not 0 < fov_deg < 180:
            raise CommandError(f"--fov {fov_deg:g}: must be between 0 and 180 degrees")
        self.topic = f"{topic}/compressed" if compressed else topic
        self.info_topic = f"{topic.rpartition('/')[0]}/camera_info"
        self._bag = bag
        self._frame_id = frame_id
        self._fov_deg = fov_deg
        self._compressed = compressed
        bag.add_topic(self.topic, _COMPRESSED if compressed else _IMAGE)
        if fov_deg is not None:
            bag.add_topic(self.info_topic, _CAMERA_INFO)

    def write(self, image: SourceImage, stamp_ns: int) -> None:
        """Append one image. `stamp_ns` is the stamp of its header and its time in the bag."""
        header = header_at(self._frame_id, stamp_ns)
        if self._compressed:
            self._append(self.topic, stamp_ns, _compressed_message(image, header), _COMPRESSED)
        else:
            self._append(self.topic, stamp_ns, _raw_message(image.pixels, header), _IMAGE)
        if self._fov_deg is not None:
            info = _camera_info(image.pixels, self._fov_deg, header)
            self._append(self.info_topic, stamp_ns, info, _CAMERA_INFO)

    def _append(self, topic: str, stamp_ns: int, message: object, type_name: str) -> None:
        self._bag.write(topic, stamp_ns, _STORE.serialize_cdr(message, type_name))


def _raw_message(pixels: np.ndarray, header: Any) -> object:
    if pixels.ndim == 3:
        encoding, pixels = "rgb8", cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)
    else:
        encoding = "mono16" if pixels.dtype == np.uint16 else "mono8"
    return raw_image(header, pixels, encoding)


def _compressed_message(image: SourceImage, header: Any) -> object:
    if image.encoded is not None:
        return _TYPES[_COMPRESSED](
            header, image.encoded_format, np.frombuffer(image.encoded, np.uint8)
        )
    if image.pixels.dtype == np.uint16:  # jpeg has 8 bits
        return _TYPES[_COMPRESSED](header, "png", cv2.imencode(".png", image.pixels)[1].ravel())
    quality = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
    encoded = cv2.imencode(".jpg", image.pixels, quality)[1].ravel()
    return _TYPES[_COMPRESSED](header, "jpeg", encoded)


def _camera_info(pixels: np.ndarray, fov_deg: float, header: Any) -> object:
    height, width = pixels.shape[:2]
    matrix = pinhole_matrix(width, height, fov_deg)
    return pinhole_info(header, matrix, height, width)
