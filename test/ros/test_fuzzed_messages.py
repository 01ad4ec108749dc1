# SPDX-License-Identifier: Apache-2.0
"""Whatever a driver sends: a picture, or a reason why not, and never anything else."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from infinitevggt_ros.input.image_conversion import CHANNEL_BYTES, NV
from infinitevggt_ros.input.image_gate import BadInputError
from infinitevggt_ros.input.network_image import ImageConverter, ImageMessage
from infinitevggt_ros.params.settings import InputSettings

WIDTH, PATCH = 56, 14
ENCODINGS = [*CHANNEL_BYTES, *NV, "bayer_rggb8", "bayer_gbrg16", "32FC1", "16UC1", "64FC4", "", "x"]
sides = st.integers(0, 40)
numbers = st.floats(width=64)
lengths = st.sampled_from([0, 1, 2**31, 2**32 - 1]) | sides


@st.composite
def images(draw: st.DrawFn) -> Image:
    """Mostly consistent, so that the deeper layers see something too."""
    message = Image(encoding=draw(st.sampled_from(ENCODINGS) | st.text(max_size=8)))
    message.height, message.width = draw(sides | lengths), draw(sides | lengths)
    row = min(message.width, 100) * CHANNEL_BYTES.get(message.encoding, 3)
    message.step = draw(st.sampled_from([row, row, row + 1, row + 7]) | lengths)
    message.is_bigendian = draw(st.sampled_from([0, 0, 1, 255]))
    size = min(message.height, 100) * min(message.step, 1000)
    size = max(0, draw(st.sampled_from([size, size, size * 3 // 2, size - 1, size // 2, 0])))
    message.data = bytes([draw(st.integers(0, 255))]) * size
    return message


@st.composite
def compressed_images(draw: st.DrawFn) -> CompressedImage:
    """Pictures with damage, or rubbish."""
    if draw(st.booleans()):
        return CompressedImage(data=draw(st.binary(max_size=200)), format=draw(st.text()))
    shape = draw(st.integers(1, 40)), draw(st.integers(1, 40)), draw(st.sampled_from([1, 3, 4]))
    kind = draw(st.sampled_from([np.uint8, np.uint16]))
    suffix = (
        ".png" if kind is np.uint16 or shape[2] == 4 else draw(st.sampled_from([".jpg", ".png"]))
    )
    data = bytearray(cv2.imencode(suffix, np.full(shape, 77, kind))[1].tobytes())
    for place in draw(st.lists(st.integers(0, len(data) - 1), max_size=4)):
        data[place] ^= draw(st.integers(0, 255))
    return CompressedImage(data=bytes(data[: draw(st.integers(0, len(data)))]), format=suffix)


@st.composite
def calibrations(draw: st.DrawFn) -> CameraInfo:
    def matrix(size: int) -> st.SearchStrategy[list[float]]:
        sensible = [[50.0, 0.0, 20.0, 0.0, 50.0, 20.0, 0.0, 0.0, 1.0], [0.0] * 9, [1e-300] * 9]
        padded = [(values + [0.0] * 3)[:size] for values in sensible]
        return st.sampled_from(padded) | st.lists(numbers, min_size=size, max_size=size)

    info = CameraInfo(k=draw(matrix(9)), r=draw(matrix(9)), p=draw(matrix(12)))
    info.d = draw(st.lists(numbers, max_size=15))
    models = ["plumb_bob", "rational_polynomial", "equidistant", ""]
    info.distortion_model = draw(st.sampled_from(models) | st.text(max_size=5))
    info.height, info.width = draw(sides | lengths), draw(sides | lengths)
    info.binning_x, info.binning_y = draw(st.integers(0, 3)), draw(lengths)
    info.roi.height, info.roi.width = draw(lengths), draw(st.sampled_from([0, 1, 20]))
    info.roi.x_offset, info.roi.y_offset = draw(lengths), draw(lengths)
    return info


def taken(message: ImageMessage, info: CameraInfo | None, topic: str = "/image") -> None:
    """Through everything that comes before the network."""
    intake = ImageConverter(InputSettings(), topic, lambda kind, text: None)
    intake.calibration = info
    try:
        rgb = intake.rgb(message)
        image = intake.prepare(rgb, WIDTH, PATCH)
    except BadInputError:
        return
    assert rgb.dtype == np.uint8
    assert image.pixels.isfinite().all()
    assert image.pixels.min() >= 0
    assert image.pixels.max() <= 1
    assert image.pixels.shape[0] == 3
    assert image.intrinsics is None or image.intrinsics.isfinite().all()


@given(images())
@settings(max_examples=400, deadline=None)
def test_any_image(message: Image) -> None:
    taken(message, None)


@given(compressed_images())
@settings(max_examples=200, deadline=None)
def test_any_compressed_image(message: CompressedImage) -> None:
    taken(message, None)


@pytest.mark.parametrize("topic", ["/image_raw", "/image_rect"])
@given(info=calibrations(), fits=st.booleans())
@settings(max_examples=300, deadline=None)
def test_any_calibration(topic: str, info: CameraInfo, fits: bool) -> None:
    message = Image(height=20, width=30, step=90, encoding="rgb8", data=bytes(range(90)) * 20)
    if fits:
        info.height, info.width = 20, 30
        info.roi.height = info.roi.width = info.binning_x = info.binning_y = 0
    taken(message, info, topic)
