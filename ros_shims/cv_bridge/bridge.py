# SPDX-License-Identifier: Apache-2.0
"""Stand-in for cv_bridge, only what infinitevggt_ros calls: images as messages and as arrays."""

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from cv_bridge.conversion import convert
from cv_bridge.encoding import Encoding, matrix_name, parse
from cv_bridge.errors import CvBridgeError


class CvBridge:
    """Between sensor_msgs images and arrays (H, W) or (H, W, C) as OpenCV has them."""

    def imgmsg_to_cv2(
        self, img_msg: Image, desired_encoding: str = "passthrough"
    ) -> npt.NDArray[Any]:
        """Array (height, width) or (height, width, channels); a view of the data if it can be.

        CvBridgeError for an unknown encoding or a conversion that makes no sense, TypeError for
        data shorter than height * step.
        """
        image = pixels(img_msg, parse(img_msg.encoding))
        if desired_encoding == "passthrough":
            return image
        return convert(image, img_msg.encoding, desired_encoding)

    def compressed_imgmsg_to_cv2(
        self, cmprs_img_msg: CompressedImage, desired_encoding: str = "passthrough"
    ) -> npt.NDArray[Any] | None:
        """Decoded image, colours as BGR, taken for bgr8 in conversions; None if undecodable."""
        data = np.frombuffer(cmprs_img_msg.data, np.uint8)
        image = cv2.imdecode(data, cv2.IMREAD_UNCHANGED)
        if image is None or desired_encoding == "passthrough":
            return image
        return convert(image, "bgr8", desired_encoding)

    def cv2_to_imgmsg(
        self, cvim: npt.NDArray[Any], encoding: str = "passthrough", header: Header | None = None
    ) -> Image:
        """Message of an array (H, W) or (H, W, C); 'passthrough' names the encoding like 8UC3."""
        require_array(cvim)
        matrix = matrix_name(cvim.dtype, 1 if cvim.ndim < 3 else cvim.shape[2])
        if encoding != "passthrough" and parse(encoding).matrix != matrix:
            raise CvBridgeError(
                f"encoding specified as {encoding}, but image has incompatible type {matrix}"
            )
        message = Image()
        if header is not None:
            message.header = header
        message.height, message.width = cvim.shape[:2]
        message.encoding = matrix if encoding == "passthrough" else encoding
        message.is_bigendian = int(cvim.dtype.byteorder == ">")
        # into the array.array that the message has: assigning to `data` would copy once more
        message.data.frombytes(np.ascontiguousarray(cvim).reshape(-1).view(np.uint8))
        message.step = len(message.data) // message.height
        return message

    def cv2_to_compressed_imgmsg(
        self, cvim: npt.NDArray[Any], dst_format: str = "jpg"
    ) -> CompressedImage:
        """Encoded message of an array (H, W) or BGR (H, W, 3); cv2.error for unknown formats."""
        require_array(cvim)
        message = CompressedImage(format=dst_format)
        message.data.frombytes(cv2.imencode(f".{dst_format}", cvim)[1])
        return message


def require_array(image: object) -> None:
    if not isinstance(image, np.ndarray):
        raise TypeError(f"the image is not a numpy array but {type(image).__name__}")


def pixels(message: Image, encoding: Encoding) -> npt.NDArray[Any]:
    """The samples of a message, (H, W) or (H, W, C), in the byte order of this machine.

    cv_bridge 3.4 reads rows wrong whose step is no multiple of the pixel size, and breaks on
    big-endian data under numpy 2; both are read right here.
    """
    rows: npt.NDArray[np.uint8] = np.ndarray(
        (message.height, message.step), np.uint8, buffer=message.data
    )
    used = message.width * encoding.channels * encoding.dtype.itemsize
    if message.step < used:
        raise CvBridgeError(f"a row of {message.step} bytes is too short, expected {used}")
    sent = encoding.dtype.newbyteorder(">" if message.is_bigendian else "<")
    shape = (message.height, message.width, encoding.channels)
    samples = np.ascontiguousarray(rows[:, :used]).view(sent)
    samples = samples.reshape(shape[:2] if encoding.channels == 1 else shape)
    return samples.astype(encoding.dtype, copy=False)
