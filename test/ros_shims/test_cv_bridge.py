# SPDX-License-Identifier: Apache-2.0
"""cv_bridge, whichever is installed: the genuine one or the stand-in in ros_shims/."""

from importlib.util import find_spec

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from cv_bridge import CvBridge, CvBridgeError
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

stand_in_only = pytest.mark.skipif(
    find_spec("cv_bridge.boost") is not None, reason="the genuine cv_bridge fails here"
)
BRIDGE = CvBridge()
BAYER_8 = [f"bayer_{pattern}8" for pattern in ("rggb", "bggr", "gbrg", "grbg")]
MONO_8, RGB_8, RGBA_8 = ["mono8", *BAYER_8], ["rgb8", "bgr8"], ["rgba8", "bgra8"]
LAYOUTS: dict[str, tuple[str, int]] = {"yuv422": ("uint8", 2), "yuv422_yuy2": ("uint8", 2)}
for names, count in ((MONO_8, 1), (RGB_8, 3), (RGBA_8, 4)):
    LAYOUTS |= {name: ("uint8", count) for name in names}
    LAYOUTS |= {name.replace("8", "16"): ("uint16", count) for name in names}
for depth, dtype in (
    ("8U", "uint8"),
    ("8S", "int8"),
    ("16U", "uint16"),
    ("16S", "int16"),
    ("32S", "int32"),
    ("32F", "float32"),
    ("64F", "float64"),
):
    LAYOUTS |= {f"{depth}C{count}": (dtype, count) for count in (1, 2, 3, 4)}

# one colour in every 8-bit encoding: 0.299 * 10 + 0.587 * 20 + 0.114 * 30 = 18.15
COLOUR = {
    "rgb8": [10, 20, 30],
    "bgr8": [30, 20, 10],
    "rgba8": [10, 20, 30, 255],
    "bgra8": [30, 20, 10, 255],
    "mono8": [18],
}
GRAY = {"rgb8": [18] * 3, "bgr8": [18] * 3, "rgba8": [18] * 3 + [255], "bgra8": [18] * 3 + [255]}


def filled(pixel: list[int], dtype: str = "uint8") -> npt.NDArray[np.generic]:
    """An image (2, 3) or (2, 3, C) of one colour."""
    image = np.empty((2, 3, len(pixel)), dtype)
    image[:] = pixel
    return image[..., 0] if len(pixel) == 1 else image


def raw(encoding: str, shape: tuple[int, int], step: int, data: bytes) -> Image:
    """A message put together by hand."""
    message = Image(encoding=encoding, height=shape[0], width=shape[1], step=step)
    message.data.frombytes(data)
    return message


def test_every_encoding_of_sensor_msgs_is_covered_here() -> None:
    assert len(LAYOUTS) == 2 + 2 * 9 + 7 * 4


@settings(max_examples=150, deadline=None)
@given(data=st.data(), encoding=st.sampled_from(sorted(LAYOUTS)))
def test_an_image_of_any_encoding_survives_the_way_into_a_message_and_back(
    data: st.DataObject, encoding: str
) -> None:
    dtype, channels = LAYOUTS[encoding]
    height, width = data.draw(st.integers(1, 5)), data.draw(st.integers(1, 5))
    shape = (height, width) if channels == 1 else (height, width, channels)
    image = data.draw(arrays(dtype, shape))
    message = BRIDGE.cv2_to_imgmsg(image, encoding)
    row = width * channels * image.itemsize
    assert (message.height, message.width, message.step) == (height, width, row)
    assert message.encoding == encoding
    assert bytes(message.data) == image.tobytes()
    back = BRIDGE.imgmsg_to_cv2(message)
    assert (back.dtype, back.shape, back.tobytes()) == (image.dtype, shape, image.tobytes())


@pytest.mark.parametrize(
    ("shape", "dtype", "name"),
    [((2, 3), "float32", "32FC1"), ((2, 3, 3), "uint8", "8UC3"), ((2, 3, 1), "uint16", "16UC1")],
)
def test_passthrough_names_the_memory_layout_and_not_a_colour(
    shape: tuple[int, ...], dtype: str, name: str
) -> None:
    assert BRIDGE.cv2_to_imgmsg(np.zeros(shape, dtype)).encoding == name


def test_the_header_given_is_the_header_of_the_message() -> None:
    header = Header(frame_id="camera_optical")
    message = BRIDGE.cv2_to_imgmsg(np.zeros((2, 3), np.uint8), "mono8", header=header)
    assert message.header.frame_id == "camera_optical"


def test_a_transposed_view_is_written_in_its_own_order() -> None:
    image = np.arange(6, dtype=np.uint8).reshape(2, 3).T
    assert list(BRIDGE.cv2_to_imgmsg(image, "mono8").data) == [0, 3, 1, 4, 2, 5]


@pytest.mark.parametrize("source", COLOUR)
@pytest.mark.parametrize("target", COLOUR)
def test_one_colour_becomes_itself_in_every_other_colour_space(source: str, target: str) -> None:
    message = BRIDGE.cv2_to_imgmsg(filled(COLOUR[source]), source)
    expected = (GRAY | {"mono8": [18]})[target] if source == "mono8" else COLOUR[target]
    np.testing.assert_array_equal(BRIDGE.imgmsg_to_cv2(message, target), filled(expected))


def test_sixteen_bits_become_eight_with_white_still_white() -> None:
    image = np.array([[0, 128, 129, 257 * 200, 65535]], np.uint16)
    back = BRIDGE.imgmsg_to_cv2(BRIDGE.cv2_to_imgmsg(image, "mono16"), "mono8")
    assert (back.dtype, back.tolist()) == (np.uint8, [[0, 0, 1, 200, 255]])


def test_eight_bits_become_sixteen_with_white_still_white() -> None:
    message = BRIDGE.cv2_to_imgmsg(filled([0, 7, 255]), "rgb8")
    expected = filled([65535, 257 * 7, 0], "uint16")
    np.testing.assert_array_equal(BRIDGE.imgmsg_to_cv2(message, "bgr16"), expected)


def test_depth_in_millimetres_keeps_its_values_as_floats() -> None:
    image = np.array([[0, 1500, 65535]], np.uint16)
    back = BRIDGE.imgmsg_to_cv2(BRIDGE.cv2_to_imgmsg(image, "16UC1"), "32FC1")
    assert (back.dtype, back.tolist()) == (np.float32, [[0.0, 1500.0, 65535.0]])


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("pattern", ["rggb", "bggr", "gbrg", "grbg"])
def test_a_bayer_mosaic_of_one_colour_shows_that_colour(pattern: str, bits: int) -> None:
    colour = {"r": 200, "g": 100, "b": 40}
    cell = np.array([colour[letter] for letter in pattern], f"uint{bits}").reshape(2, 2)
    message = BRIDGE.cv2_to_imgmsg(np.tile(cell, (4, 4)), f"bayer_{pattern}{bits}")
    scale = 1 if bits == 8 else 257
    inside = BRIDGE.imgmsg_to_cv2(message, f"rgb{bits}")[2:-2, 2:-2].reshape(-1, 3)
    assert np.unique(inside, axis=0).tolist() == [[200, 100, 40]]
    inside = BRIDGE.imgmsg_to_cv2(message, "bgr8")[2:-2, 2:-2].reshape(-1, 3)
    expected = [[round(value / scale) for value in (40, 100, 200)]]
    assert np.unique(inside, axis=0).tolist() == expected
    gray = 0.299 * 200 + 0.587 * 100 + 0.114 * 40
    inside = BRIDGE.imgmsg_to_cv2(message, f"mono{bits}")[2:-2, 2:-2]
    np.testing.assert_allclose(inside, gray, atol=1)


@pytest.mark.parametrize(
    ("encoding", "red", "gray"),
    [
        ("yuv422", [90, 81, 240, 81], [128, 20, 128, 30]),
        ("yuv422_yuy2", [81, 90, 81, 240], [20, 128, 30, 128]),
    ],
)
def test_two_pixels_share_their_colour_in_yuv422(
    encoding: str, red: list[int], gray: list[int]
) -> None:
    image = np.array(red, np.uint8).reshape(1, 2, 2)
    rgb = BRIDGE.imgmsg_to_cv2(BRIDGE.cv2_to_imgmsg(image, encoding), "rgb8")
    np.testing.assert_allclose(rgb, [[[255, 0, 0], [255, 0, 0]]], atol=2)
    image = np.array(gray, np.uint8).reshape(1, 2, 2)
    mono = BRIDGE.imgmsg_to_cv2(BRIDGE.cv2_to_imgmsg(image, encoding), "mono8")
    assert mono.tolist() == [[20, 30]]


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("bgr8", "32FC1"),
        ("32FC1", "mono8"),
        ("16UC1", "mono8"),
        ("8UC3", "rgb8"),
        ("mono8", "bayer_rggb8"),
        ("bayer_rggb8", "bayer_bggr8"),
        ("bayer_rggb8", "rgba8"),
        ("rgb8", "nv12"),
        ("rgb8", "no_such_encoding"),
    ],
)
def test_a_conversion_that_makes_no_sense_is_refused(source: str, target: str) -> None:
    dtype, channels = LAYOUTS[source]
    message = BRIDGE.cv2_to_imgmsg(filled([0] * channels, dtype), source)
    with pytest.raises(CvBridgeError):
        BRIDGE.imgmsg_to_cv2(message, target)


@pytest.mark.parametrize("encoding", ["", "nv12", "nv21", "no_such_encoding"])
def test_a_message_of_an_unknown_encoding_is_refused(encoding: str) -> None:
    with pytest.raises(CvBridgeError):
        BRIDGE.imgmsg_to_cv2(raw(encoding, (2, 3), 3, bytes(6)))


@pytest.mark.parametrize(
    ("shape", "dtype", "encoding"),
    [
        ((2, 3), "uint8", "rgb8"),
        ((2, 3, 3), "uint16", "rgb8"),
        ((2, 3, 3), "uint8", "mono8"),
        ((2, 3), "float64", "32FC1"),
        ((2, 3), "uint8", "no_such_encoding"),
    ],
)
def test_an_array_that_does_not_fit_the_encoding_is_refused(
    shape: tuple[int, ...], dtype: str, encoding: str
) -> None:
    with pytest.raises(CvBridgeError):
        BRIDGE.cv2_to_imgmsg(np.zeros(shape, dtype), encoding)


def test_the_error_is_a_type_error_so_that_one_except_catches_short_data_too() -> None:
    assert issubclass(CvBridgeError, TypeError)
    with pytest.raises(TypeError, match="buffer is too small"):
        BRIDGE.imgmsg_to_cv2(raw("rgb8", (2, 3), 9, bytes(17)))


@pytest.mark.parametrize("dtype", ["float16", "bool"])
def test_sample_types_that_images_do_not_have_are_key_errors(dtype: str) -> None:
    with pytest.raises(KeyError):
        BRIDGE.cv2_to_imgmsg(np.zeros((2, 3), dtype))


def test_something_that_is_no_array_is_a_type_error() -> None:
    with pytest.raises(TypeError):
        BRIDGE.cv2_to_imgmsg([[0, 1], [2, 3]])
    with pytest.raises(TypeError):
        BRIDGE.cv2_to_compressed_imgmsg([[0, 1], [2, 3]])


def test_padding_at_the_end_of_gray_rows_is_skipped() -> None:
    message = raw("mono8", (2, 3), 5, bytes([1, 2, 3, 99, 99, 4, 5, 6, 99, 99]))
    assert BRIDGE.imgmsg_to_cv2(message).tolist() == [[1, 2, 3], [4, 5, 6]]


@stand_in_only
def test_padding_that_is_no_whole_pixel_is_skipped_too() -> None:
    rows = [bytes(range(9)) + b"\xff", bytes(range(9, 18)) + b"\xff"]
    message = raw("rgb8", (2, 3), 10, b"".join(rows))
    expected = np.arange(18).reshape(2, 3, 3)
    np.testing.assert_array_equal(BRIDGE.imgmsg_to_cv2(message), expected)
    np.testing.assert_array_equal(BRIDGE.imgmsg_to_cv2(message, "bgr8"), expected[..., ::-1])


@stand_in_only
def test_a_step_shorter_than_a_row_is_refused() -> None:
    with pytest.raises(CvBridgeError):
        BRIDGE.imgmsg_to_cv2(raw("rgb8", (2, 3), 8, bytes(18)))


@stand_in_only
def test_big_endian_images_keep_their_values() -> None:
    image = np.array([[1, 2, 300]], ">u2")
    message = BRIDGE.cv2_to_imgmsg(image, "mono16")
    assert message.is_bigendian
    assert bytes(message.data) == bytes([0, 1, 0, 2, 1, 44])
    back = BRIDGE.imgmsg_to_cv2(message)
    assert (back.dtype, back.tolist()) == (np.dtype("=u2"), [[1, 2, 300]])


def test_a_png_brings_back_every_pixel_of_colour_and_of_depth() -> None:
    rng = np.random.default_rng(0)
    for image in (
        rng.integers(0, 256, (5, 7, 3), np.uint8),
        rng.integers(0, 65536, (5, 7), np.uint16),
    ):
        message = BRIDGE.cv2_to_compressed_imgmsg(image, "png")
        assert message.format == "png"
        back = BRIDGE.compressed_imgmsg_to_cv2(message)
        assert back.dtype == image.dtype
        np.testing.assert_array_equal(back, image)


def test_a_jpeg_is_bgr_until_rgb_is_asked_for() -> None:
    message = BRIDGE.cv2_to_compressed_imgmsg(np.full((16, 16, 3), [30, 120, 200], np.uint8))
    assert message.format == "jpg"
    bgr, rgb = (BRIDGE.compressed_imgmsg_to_cv2(message, name) for name in ("bgr8", "rgb8"))
    np.testing.assert_allclose(bgr[8, 8], [30, 120, 200], atol=3)
    np.testing.assert_array_equal(rgb, bgr[..., ::-1])


def test_a_gray_jpeg_asked_for_as_bgr8_stays_two_dimensional() -> None:
    message = BRIDGE.cv2_to_compressed_imgmsg(np.full((16, 16), 90, np.uint8))
    assert BRIDGE.compressed_imgmsg_to_cv2(message, "bgr8").shape == (16, 16)


@pytest.mark.parametrize(
    "encoding", ["passthrough", "bgr8", pytest.param("rgb8", marks=stand_in_only)]
)
def test_data_that_cannot_be_decoded_are_no_image_and_no_error(encoding: str) -> None:
    message = CompressedImage(format="jpg")
    message.data.frombytes(b"this is not a picture")
    assert BRIDGE.compressed_imgmsg_to_cv2(message, encoding) is None


def test_compressing_to_an_unknown_format_is_an_opencv_error() -> None:
    with pytest.raises(cv2.error):
        BRIDGE.cv2_to_compressed_imgmsg(np.zeros((2, 3), np.uint8), "no_such_format")
