# SPDX-License-Identifier: Apache-2.0
"""Image messages to RGB arrays, with a reason for each that cannot be converted."""

import re
from io import BytesIO
from typing import Any

import cv2
import numpy as np
import PIL.Image
from cv_bridge import CvBridge
from numpy.typing import NDArray
from sensor_msgs.msg import CompressedImage, Image

from infinitevggt_ros.input.image_gate import BadInputError

CHANNEL_BYTES = {
    "mono8": 1,
    "mono16": 2,
    "rgb8": 3,
    "bgr8": 3,
    "rgba8": 4,
    "bgra8": 4,
    "rgb16": 6,
    "bgr16": 6,
    "rgba16": 8,
    "bgra16": 8,
    "8UC1": 1,
    "8UC3": 3,
    "8UC4": 4,
    "yuv422": 2,
    "yuv422_yuy2": 2,
    "uyvy": 2,
    "yuyv": 2,
}
"""Bytes per pixel of the encodings that are pictures."""
SAME_AS = {
    "8UC1": "mono8",
    "8UC3": "bgr8",
    "8UC4": "bgra8",
    "uyvy": "yuv422",
    "yuyv": "yuv422_yuy2",
}
"""Encodings for OpenCV types without a colour order, and for older names that cv_bridge knows."""

UNUSUAL = {
    "bayer": "is demosaiced here in the simplest way; image_proc does better",
    "16-bit": "is scaled to 8 bit; the network was trained on 8-bit pictures",
    "yuv": "has colour for every second pixel only; rgb8 has all",
}
"""Kinds of encodings that are used although another would be better, and what is to say of them."""
NV = {
    "nv12": cv2.COLOR_YUV2RGB_NV12,
    "nv21": cv2.COLOR_YUV2RGB_NV21,
    "nv24": cv2.COLOR_YUV2RGB_NV12,
}
"""A plane of brightness, below it colour, at half the resolution but in nv24, where only every
second one is used; cv_bridge does not know them."""
FILES = "JPEG", "PNG", "WEBP", "TIFF", "BMP", "PPM", "GIF", "JPEG2000"
"""Formats by Pillow's names that OpenCV decodes."""
DECODED = {1: "mono", 3: "bgr", 4: "bgra"}
"""Colour order of a decoded file, by its channels."""


def stamp_ns(message: Any) -> int:
    """The stamp of a message with a header, in whole nanoseconds."""
    stamp = message.header.stamp
    return int(stamp.sec) * 1_000_000_000 + int(stamp.nanosec)


def rgb_from_image(message: Image, bridge: CvBridge) -> NDArray[np.uint8]:
    """(H, W, 3) RGB. Raises BadInputError naming what is wrong with the message."""
    if message.encoding in NV:
        return _rgb_from_nv(message)
    pixel_bytes = _pixel_bytes(message)
    encoding = SAME_AS.get(message.encoding, message.encoding)
    sample_bytes = 2 if encoding.endswith("16") else 1
    return _converted(plain_image(message, encoding, pixel_bytes, sample_bytes), bridge)


def plain_image(message: Image, encoding: str, pixel_bytes: int, sample_bytes: int) -> Image:
    """Without padding, and with the low byte first: cv_bridge 3.4 reads rows wrong whose step is no
    multiple of the pixel, without a word, and breaks on the high byte first under numpy 2. Raises
    BadInputError for what is no whole image."""
    _check_rows(message, pixel_bytes, message.height)
    used = message.width * pixel_bytes
    is_foreign = bool(message.is_bigendian) and sample_bytes > 1
    if encoding == message.encoding and message.step == used and not is_foreign:
        return message
    data = np.frombuffer(message.data, np.uint8, message.height * message.step)
    rows = data.reshape(message.height, message.step)[:, :used]
    if is_foreign:
        rows = rows.reshape(message.height, -1, sample_bytes)[..., ::-1]
    plain = Image(header=message.header, encoding=encoding, step=used)
    plain.height, plain.width = message.height, message.width
    plain.data.frombytes(np.ascontiguousarray(rows).reshape(-1))
    return plain


def rgb_from_compressed(message: CompressedImage, bridge: CvBridge) -> NDArray[np.uint8]:
    """(H, W, 3) RGB. Raises BadInputError naming what is wrong with the message."""
    if len(message.data) == 0:
        raise BadInputError("empty", "it has no data")
    _check_declared_size(message)
    try:
        decoded = bridge.compressed_imgmsg_to_cv2(message)
    except Exception as error:
        raise BadInputError(
            "decode", f"cannot decode format {message.format!r}: {error}"
        ) from error
    if decoded is None:
        raise BadInputError("decode", f"cannot decode format {message.format!r}: damaged data")
    encoding = _decoded_encoding(message, decoded)
    if encoding == "bgr8":  # nearly all are
        return np.asarray(cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB), dtype=np.uint8)
    return _converted(bridge.cv2_to_imgmsg(decoded, encoding), bridge)


def sent_encoding(message: Image | CompressedImage) -> str:
    """Return the encoding of the camera's image.

    image_transport writes it before the compression, as in "bayer_rggb8; png compressed "; empty if
    the message does not state it.
    """
    if isinstance(message, Image):
        return str(message.encoding)
    encoding, separator, _ = message.format.partition(";")
    return str(encoding.strip()) if separator else ""


def _check_declared_size(message: CompressedImage) -> None:
    """Raise BadInputError if the header declares too many pixels, before anything is decoded."""
    try:
        PIL.Image.open(BytesIO(message.data), formats=FILES).close()
    except PIL.Image.DecompressionBombError as error:
        raise BadInputError("too large", f"not decoded: {error}") from error
    except Exception:
        return  # the decoder reports the reason


def _decoded_encoding(message: CompressedImage, decoded: NDArray[Any]) -> str:
    """Return the encoding of a decoded image (H, W) or (H, W, C): grey, or blue first, as OpenCV
    decodes."""
    channels = 1 if decoded.ndim == 2 else decoded.shape[2]
    if decoded.dtype not in (np.uint8, np.uint16) or channels not in DECODED:
        raise BadInputError("no picture", f"it is a {decoded.dtype} file of {channels} channels")
    bayer = re.match(r"bayer_(rggb|bggr|gbrg|grbg)", sent_encoding(message))
    name = bayer[0] if bayer and channels == 1 else DECODED[channels]
    return f"{name}{8 * decoded.dtype.itemsize}"


def unusual_kind(encoding: str) -> str:
    """Return the key of `UNUSUAL` for an encoding; empty if there is none."""
    if encoding.startswith("bayer"):
        return "bayer"
    if encoding.endswith("16"):
        return "16-bit"
    return "yuv" if encoding.startswith(("yuv", "uyvy", "yuyv", "nv")) else ""


def _rgb_from_nv(message: Image) -> NDArray[np.uint8]:
    height, width, step = message.height, message.width, message.step
    rows = 3 * height if message.encoding == "nv24" else height * 3 // 2
    _check_rows(message, pixel_bytes=1, rows=rows)
    if height % 2 or width % 2:
        raise BadInputError("encoding", f"{message.encoding} has even sides, not {width}x{height}")
    planes = np.frombuffer(message.data, np.uint8, rows * step)
    luma, chroma = np.split(planes, [height * step])
    pairs: NDArray[np.uint8]
    if message.encoding == "nv24":
        pairs = chroma.reshape(height, step, 2)[::2, :width:2].reshape(-1, width)
    else:
        pairs = chroma.reshape(-1, step)[:, :width]
    pixels = np.concatenate((luma.reshape(height, step)[:, :width], pairs))
    return np.asarray(cv2.cvtColor(pixels, NV[message.encoding]), dtype=np.uint8)


def _converted(message: Image, bridge: CvBridge) -> NDArray[np.uint8]:
    try:
        return _as_rgb8(bridge.imgmsg_to_cv2(message, "rgb8"))
    except BadInputError:
        raise
    except Exception as error:  # cv_bridge raises whatever OpenCV, numpy or a dict lookup raises
        reason = f"cannot convert its encoding {message.encoding!r} to rgb8: {error}"
        raise BadInputError("encoding", reason) from error


def _as_rgb8(array: NDArray[np.uint8]) -> NDArray[np.uint8]:
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3:
        raise BadInputError(
            "encoding", f"it converts to {array.dtype} {array.shape}, not to a picture"
        )
    return np.ascontiguousarray(array)


def _pixel_bytes(message: Image) -> int:
    """Raises BadInputError for what is no picture."""
    pixel_bytes = CHANNEL_BYTES.get(message.encoding)
    if message.encoding.startswith("bayer_"):
        pixel_bytes = 2 if message.encoding.endswith("16") else 1
    if pixel_bytes is None and len(message.data) > 0:
        if re.fullmatch(r"\d+[USF]C\d+", message.encoding):
            raise BadInputError(
                "no picture", f"its encoding {message.encoding!r} is not a picture's"
            )
        raise BadInputError("encoding", f"its encoding {message.encoding!r} is not known")
    return pixel_bytes or 1


def _check_rows(message: Image, pixel_bytes: int, rows: int) -> None:
    if message.height == 0 or message.width == 0 or len(message.data) == 0:
        raise BadInputError(
            "empty", f"it is empty: {message.width}x{message.height} px, {len(message.data)} bytes"
        )
    if message.step < message.width * pixel_bytes:
        raise BadInputError(
            "step",
            f"rows of {message.step} bytes cannot hold {message.width} px of {message.encoding}",
        )
    if len(message.data) < rows * message.step:
        raise BadInputError(
            "truncated", f"it is truncated: {len(message.data)} of {rows * message.step} bytes"
        )
