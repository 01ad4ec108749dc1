# SPDX-License-Identifier: Apache-2.0
"""Messages, axes and the path, with answers known by hand."""

import struct
import zlib
from array import array
from typing import Any

import cv2
import numpy as np
import pytest
from cv_bridge import CvBridge
from geometry_msgs.msg import PoseStamped
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from infinitevggt_ros.input.calibration import camera_matrix, read_calibration
from infinitevggt_ros.input.depth_images import metres_from_image
from infinitevggt_ros.input.image_conversion import (
    rgb_from_compressed,
    rgb_from_image,
    stamp_ns,
    unusual_kind,
)
from infinitevggt_ros.input.image_gate import BadInputError
from infinitevggt_ros.input.network_image import ImageConverter
from infinitevggt_ros.map_axes import MapFromWorld
from infinitevggt_ros.output import messages
from infinitevggt_ros.output.trajectory import Trajectory
from infinitevggt_ros.params.settings import InputSettings
from infinitevggt_ros.pose_messages import matrix_from_transform, transform_from_matrix
from support.camera import header, image_message, rgb_values
from support.lens import LENSES

IDENTITY = np.eye(4)[:3]


def test_the_first_camera_looks_along_the_maps_x_with_z_up() -> None:
    pose = MapFromWorld().pose(IDENTITY)
    forward, right, down = pose[:3, 2], pose[:3, 0], pose[:3, 1]
    np.testing.assert_allclose(forward, (1, 0, 0))
    np.testing.assert_allclose(right, (0, -1, 0))
    np.testing.assert_allclose(down, (0, 0, -1))
    assert np.linalg.det(pose[:3, :3]) == pytest.approx(1)


def test_a_camera_that_moves_forward_and_right_moves_along_x_and_minus_y() -> None:
    # camera_from_world: a camera at (right 2, down 0, forward 5) sees the world shifted by minus it
    moved = np.concatenate((np.eye(3), [[-2.0], [0.0], [-5.0]]), axis=1)
    np.testing.assert_allclose(MapFromWorld().pose(moved)[:3, 3], (5, -2, 0))


def test_points_and_poses_use_the_same_map() -> None:
    point = np.array([[0.3, -1.0, 4.0]], np.float32)  # right, up, forward of the first camera
    np.testing.assert_allclose(MapFromWorld().points(point), [[4.0, -0.3, 1.0]], rtol=1e-6)
    pose = MapFromWorld().pose(IDENTITY)
    np.testing.assert_allclose(pose[:3, :3] @ point[0], MapFromWorld().points(point)[0], rtol=1e-6)


def test_transforms_survive_the_way_to_a_message_and_back() -> None:
    pose = MapFromWorld().pose(np.concatenate((np.eye(3), [[1.0], [2.0], [3.0]]), axis=1))
    np.testing.assert_allclose(matrix_from_transform(transform_from_matrix(pose)), pose, atol=1e-12)


def test_stamps_are_whole_nanoseconds() -> None:
    ns = 1_700_000_000_123_456_789
    assert stamp_ns(image_message(np.zeros((2, 2, 3), np.uint8), ns)) == ns


def test_a_cloud_holds_colour_as_rviz_reads_it() -> None:
    cloud = messages.cloud(
        header(1),
        np.array([[1, 2, 3]], np.float32),
        np.array([[1.0, 0.5, 0.0]], np.float32),
        np.array([7.0], np.float32),
    )
    values = np.frombuffer(bytes(cloud.data), "<f4")
    np.testing.assert_array_equal(values[[0, 1, 2, 4]], (1, 2, 3, 7))
    assert rgb_values(values[3]) == (255, 128, 0)
    assert (cloud.height, cloud.width, cloud.point_step) == (1, 1, 20)


def test_colours_survive_packing() -> None:
    colors = np.random.default_rng(0).integers(0, 256, (500, 3)).astype(np.float32) / 255
    np.testing.assert_array_equal(messages.unpacked_rgb(messages.packed_rgb(colors)), colors)


def test_a_cloud_is_dense_where_all_its_points_are_finite() -> None:
    points = np.array([[1, 2, 3], [4, 5, 6]], np.float32)
    others = np.ones((2, 3), np.float32), np.ones(2, np.float32)
    assert messages.cloud(header(1), points, *others).is_dense
    points[1, 2] = np.nan
    assert not messages.cloud(header(1), points, *others).is_dense


def test_an_empty_cloud_is_a_cloud() -> None:
    none = np.empty((0, 3), np.float32)
    cloud = messages.cloud(header(1), none, none, np.empty(0, np.float32))
    assert cloud.width * cloud.height == 0


def test_depth_keeps_its_nans_and_its_bits() -> None:
    depth = np.array([[1.5, np.nan], [0.25, 3e4]], np.float32)
    image = messages.float_image(header(5), depth)
    assert (image.encoding, image.height, image.width, image.step) == ("32FC1", 2, 2, 8)
    np.testing.assert_array_equal(np.frombuffer(bytes(image.data), "<f4").reshape(2, 2), depth)


def test_camera_info_of_an_unknown_camera_says_uncalibrated() -> None:
    info = messages.camera_info(header(1), np.full((3, 3), np.nan), (4, 6))
    assert list(info.k) == [0.0] * 9


@pytest.mark.parametrize(
    ("encoding", "pixel", "rgb"),
    [
        ("rgb8", (10, 20, 30), (10, 20, 30)),
        ("bgr8", (10, 20, 30), (30, 20, 10)),
        ("8UC3", (10, 20, 30), (30, 20, 10)),
        ("rgba8", (10, 20, 30, 99), (10, 20, 30)),
        ("bgra8", (10, 20, 30, 99), (30, 20, 10)),
        ("mono8", (77,), (77, 77, 77)),
    ],
)
def test_colours_arrive_as_rgb(
    encoding: str, pixel: tuple[int, ...], rgb: tuple[int, int, int]
) -> None:
    pixels = np.empty((4, 6, len(pixel)), np.uint8)
    pixels[:] = pixel
    converted = rgb_from_image(image_message(pixels.squeeze(), 1, encoding), CvBridge())
    np.testing.assert_array_equal(converted, np.broadcast_to(rgb, (4, 6, 3)))


class PlainBridge(CvBridge):
    """Takes only what cv_bridge of every distribution reads right."""

    def imgmsg_to_cv2(self, img_msg: Image, desired_encoding: str = "passthrough") -> Any:
        assert len(img_msg.data) == img_msg.height * img_msg.step
        assert img_msg.step % img_msg.width == 0
        assert img_msg.encoding.endswith("8") or not img_msg.is_bigendian
        return super().imgmsg_to_cv2(img_msg, desired_encoding)


@pytest.mark.parametrize("padding", [1, 2, 12])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(("encoding", "bits"), [("rgb8", 8), ("rgb16", 16)])
def test_row_padding_and_byte_order_are_not_seen(
    encoding: str, bits: int, order: str, padding: int
) -> None:
    pixels = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)
    sent = pixels.astype(f"{order}u{bits // 8}") * (257 if bits == 16 else 1)
    rows = sent.astype(f"{order}u{bits // 8}").view(np.uint8).reshape(4, -1)
    message = image_message(np.pad(rows, ((0, 0), (0, padding))), 1, encoding)
    message.width, message.is_bigendian = 6, int(order == ">")
    np.testing.assert_array_equal(rgb_from_image(message, PlainBridge()), pixels)


@pytest.mark.parametrize("padding", [0, 1, 4, 20])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(
    ("encoding", "kind", "unit_m"),
    [("32FC1", "f4", 1), ("16UC1", "u2", 1e-3), ("mono16", "u2", 1e-3)],
)
def test_nor_in_depth(encoding: str, kind: str, unit_m: float, order: str, padding: int) -> None:
    depth = np.arange(1, 21).reshape(4, 5) * 300
    rows = depth.astype(order + kind).view(np.uint8)
    message = image_message(np.pad(rows, ((0, 0), (0, padding))), 1, encoding)
    message.width, message.is_bigendian = 5, int(order == ">")
    metres = metres_from_image(message, PlainBridge())
    np.testing.assert_allclose(metres, depth * unit_m, rtol=1e-6)


RED, BLUE = (81, 90, 240), (41, 240, 110)
"""Y, U, V by BT.601 in video range, which is what cameras send."""


def yuv_planes(encoding: str) -> np.ndarray:
    """Two rows of two red and two blue pixels, as rows of bytes with two of padding."""
    (y, u, v), (y2, u2, v2) = RED, BLUE
    luma = [y, y, y2, y2]
    rows = {
        "uyvy": [[u, y, v, y, u2, y2, v2, y2]] * 2,
        "yuyv": [[y, u, y, v, y2, u2, y2, v2]] * 2,
        "nv12": [luma, luma, [u, v, u2, v2]],
        "nv21": [luma, luma, [v, u, v2, u2]],
    }
    rows |= {"yuv422": rows["uyvy"], "yuv422_yuy2": rows["yuyv"]}
    if encoding == "nv24":  # each row of colour goes over two rows of bytes, padding and all
        colour = [[u, v] * 2 + [u2, v2] * 2 + [0] * 4] * 2
        return np.array([[*luma, 0, 0]] * 2 + np.reshape(colour, (4, 6)).tolist(), np.uint8)
    return np.pad(np.array(rows[encoding], np.uint8), ((0, 0), (0, 2)))


@pytest.mark.parametrize(
    "encoding", ["uyvy", "yuyv", "yuv422", "yuv422_yuy2", "nv12", "nv21", "nv24"]
)
def test_brightness_and_colour_become_pictures(encoding: str) -> None:
    message = image_message(yuv_planes(encoding), 1, encoding)
    message.height, message.width = 2, 4
    rgb = rgb_from_image(message, CvBridge())
    expected = np.broadcast_to([[255, 0, 0]] * 2 + [[0, 0, 255]] * 2, (2, 4, 3))
    np.testing.assert_allclose(rgb, expected, atol=2)
    length = len(message.data)
    message.data = message.data[:-1]
    with pytest.raises(BadInputError, match=f"truncated: {length - 1} of {length} bytes"):
        rgb_from_image(message, CvBridge())


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize(
    ("encoding", "pixel", "rgb"),
    [
        ("mono", (200,), (200, 200, 200)),
        ("bgr", (10, 20, 200), (200, 20, 10)),
        ("bgra", (10, 20, 200, 99), (200, 20, 10)),
        ("bayer_rggb", (200,), (200, 0, 0)),
        ("bayer_bggr", (200,), (0, 0, 200)),
    ],
)
def test_files_of_every_kind_arrive_as_rgb(
    bits: int, encoding: str, pixel: tuple[int, ...], rgb: tuple[int, int, int]
) -> None:
    """As compressed_image_transport sends them: a mosaic stays one."""
    pixels = np.zeros((8, 8, len(pixel)), f"uint{bits}")
    step = 2 if encoding.startswith("bayer") else 1  # light on the first of four only
    pixels[::step, ::step] = np.array(pixel) * (1 if bits == 8 else 257)
    message = CompressedImage(format=f"{encoding}{bits}; png compressed ")
    message.data = array("B", cv2.imencode(".png", pixels)[1].tobytes())
    converted = rgb_from_compressed(message, CvBridge())
    np.testing.assert_array_equal(converted[4, 4], rgb)
    message.format = "png"
    assert rgb_from_compressed(message, CvBridge()).shape == (8, 8, 3)


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_a_file_that_says_it_is_gigabytes_is_not_decoded(suffix: str) -> None:
    data = cv2.imencode(suffix, np.zeros((8, 9, 3), np.uint8))[1].tobytes()
    if suffix == ".png":  # length, name, width and height, the rest, checksum
        head = b"IHDR" + struct.pack(">II", 30_000, 20_000) + data[24:29]
        data = data[:12] + head + struct.pack(">I", zlib.crc32(head)) + data[33:]
    else:
        assert data.count(b"\x00\x08\x00\x09") == 1
        data = data.replace(b"\x00\x08\x00\x09", struct.pack(">HH", 20_000, 30_000))
    message = CompressedImage(format=suffix, data=array("B", data))
    with pytest.raises(BadInputError, match=r"not decoded: .*600000000 pixels") as refused:
        rgb_from_compressed(message, CvBridge())
    assert refused.value.kind == "too large"


def test_unusual_encodings_have_their_kind() -> None:
    kinds = {name: unusual_kind(name) for name in ("bayer_grbg16", "mono16", "nv21", "rgb8")}
    assert kinds == {"bayer_grbg16": "bayer", "mono16": "16-bit", "nv21": "yuv", "rgb8": ""}


def calibrated(**changes: object) -> CameraInfo:
    info = CameraInfo(height=4, width=6)
    info.k = [5.0, 0.0, 3.0, 0.0, 5.0, 2.0, 0.0, 0.0, 1.0]
    for name, value in changes.items():
        setattr(info, name, value)
    return info


def test_a_calibration_is_used_when_it_is_of_these_images() -> None:
    matrix = camera_matrix(calibrated(), (4, 6))
    assert matrix is not None
    np.testing.assert_array_equal(matrix, [[5, 0, 3], [0, 5, 2], [0, 0, 1]])
    assert camera_matrix(calibrated(k=[0.0] * 9), (4, 6)) is None
    with pytest.raises(BadInputError, match="6x4 px, the images have 12x8 px"):
        camera_matrix(calibrated(), (8, 12))
    with pytest.raises(BadInputError, match="not a camera matrix"):
        camera_matrix(calibrated(k=[np.nan] * 9), (4, 6))


def test_a_lens_of_no_numbers_is_not_taken_for_none() -> None:
    info = calibrated(d=[np.nan] * 5, distortion_model="plumb_bob")
    with pytest.raises(BadInputError, match="distortion is not finite"):
        read_calibration(info, (4, 6), is_rectified=False)


def test_why_an_image_is_uncalibrated() -> None:
    intake = ImageConverter(InputSettings(), "/image", lambda *_: None)

    def why(info: CameraInfo | None) -> str:
        intake.calibration = info
        assert (intake.camera_matrix((4, 6)) is None) == (info is None or info.k[0] != 5.0)
        return intake.why_uncalibrated

    assert why(None) == "no message on camera_info of /image"
    assert why(calibrated(k=[7.0] * 9)).startswith("camera_info of /image is not used: its K is no")
    assert why(calibrated(k=[0.0] * 9)) == "camera_info of /image has K[0] = 0"


def test_a_part_of_the_sensor_binned_has_its_own_intrinsics() -> None:
    info = calibrated(height=480, width=640, binning_x=2, binning_y=2)
    info.k = [500.0, 0.0, 320.0, 0.0, 500.0, 240.0, 0.0, 0.0, 1.0]
    info.roi.x_offset, info.roi.y_offset, info.roi.width, info.roi.height = 100, 40, 400, 200
    matrix = camera_matrix(info, (100, 200))
    np.testing.assert_allclose(matrix, [[250, 0, 110], [0, 250, 100], [0, 0, 1]])


PINHOLE = (100.0, 0.0, 60.0, 0.0, 100.0, 40.0, 0.0, 0.0, 1.0)


@pytest.mark.parametrize("model", LENSES)
def test_a_point_lands_where_p_says_once_the_lens_is_out(model: str) -> None:
    """Against OpenCV's projection, which goes the other way than the rectification."""
    info = CameraInfo(height=80, width=120, distortion_model=model, d=LENSES[model], k=PINHOLE)
    info.p = [80.0, 0.0, 58.0, 0.0, 0.0, 80.0, 41.0, 0.0, 0.0, 0.0, 1.0, 0.0]
    calibration = read_calibration(info, (80, 120), is_rectified=False)
    assert calibration is not None
    k, d = np.array(PINHOLE).reshape(3, 3), np.array(LENSES[model])
    point = np.array([[[0.3, -0.2, 1.0]]])
    project = cv2.fisheye.projectPoints if model == "equidistant" else cv2.projectPoints
    (u, v) = project(point, np.zeros(3), np.zeros(3), k, d)[0].ravel()
    picture = np.zeros((80, 120, 3), np.uint8)
    cv2.circle(picture, (round(u), round(v)), 2, (255, 255, 255), -1)
    rows, cols = np.nonzero(calibration.rectified(picture)[..., 0])
    assert cols.mean() == pytest.approx(0.3 * 80 + 58, abs=0.7)
    assert rows.mean() == pytest.approx(-0.2 * 80 + 41, abs=0.7)


@pytest.mark.parametrize("model", ["plumb_bob", "rational_polynomial"])
@pytest.mark.parametrize("count", [4, 5, 8, 12, 14])
def test_a_lens_may_have_as_many_coefficients_as_opencv_takes(model: str, count: int) -> None:
    d = [-0.3, 0.1, 0.001, -0.002, 0.02, 0.01, 0.02, 0.003, *[0.002] * 4, 0.01, -0.01][:count]
    info = CameraInfo(height=80, width=120, distortion_model=model, d=d, k=PINHOLE)
    calibration = read_calibration(info, (80, 120), is_rectified=False)
    assert calibration is not None
    picture = np.random.default_rng(0).integers(0, 256, (80, 120, 3), np.uint8)
    wanted = cv2.undistort(picture, np.array(PINHOLE).reshape(3, 3), np.array(d))
    np.testing.assert_array_equal(calibration.rectified(picture), wanted)


@pytest.mark.parametrize("count", [1, 6, 13])
def test_a_number_of_coefficients_that_no_model_has_is_named(count: int) -> None:
    info = CameraInfo(height=80, width=120, distortion_model="plumb_bob", d=[0.1] * count)
    info.k = PINHOLE
    with pytest.raises(BadInputError, match=f"'plumb_bob' with {count} coefficients"):
        read_calibration(info, (80, 120), is_rectified=False)


def test_images_that_come_rectified_are_left_alone_and_have_p() -> None:
    info = CameraInfo(height=80, width=120, distortion_model="plumb_bob", d=[0.1] * 5, k=PINHOLE)
    info.p = [80.0, 0.0, 58.0, 0.0, 0.0, 80.0, 41.0, 0.0, 0.0, 0.0, 1.0, 0.0]
    calibration = read_calibration(info, (80, 120), is_rectified=True)
    assert calibration is not None
    assert calibration.maps is None
    np.testing.assert_array_equal(calibration.matrix, [[80, 0, 58], [0, 80, 41], [0, 0, 1]])


def test_a_lens_that_is_not_known_is_named() -> None:
    info = CameraInfo(height=80, width=120, distortion_model="fov", d=[0.9], k=PINHOLE)
    with pytest.raises(BadInputError, match="'fov' with 1 coefficients"):
        read_calibration(info, (80, 120), is_rectified=False)


@pytest.mark.parametrize("most", [2, 3, 7, 100])
def test_a_path_is_bounded_and_keeps_its_first_and_latest_pose(most: int) -> None:
    path = Trajectory()
    for i in range(1, 1001):
        pose = PoseStamped()
        pose.pose.position.x = float(i)
        path.add(pose, most)
        xs = [p.pose.position.x for p in path.poses]
        assert len(xs) <= most
        assert (xs[0], xs[-1]) == (1.0, float(i))
        assert xs == sorted(set(xs))
    assert len(xs) >= min(2, most // 2)
    gaps = np.diff(xs[:-1])
    assert len(set(gaps)) <= 1, "evenly thinned"
