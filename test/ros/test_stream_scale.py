# SPDX-License-Identifier: Apache-2.0
"""Lengths become metres: by the robot's odometry over real DDS, and by a depth image."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from geometry_msgs.msg import TransformStamped
from nav_msgs.msg import Odometry, Path
from sensor_msgs.msg import Image, PointCloud2
from sensor_msgs_py import point_cloud2
from tf2_ros import TransformBroadcaster

from infinitevggt_core import preprocess
from infinitevggt_core.training.clip import fit_depth
from infinitevggt_ros.input.calibration import read_calibration
from infinitevggt_ros.input.robot import UnknownRobot
from infinitevggt_ros.output.frame_result import FrameResult
from infinitevggt_ros.params.settings import ScaleSettings, Settings
from infinitevggt_ros.stream.scale.sources import SOURCES
from infinitevggt_ros.stream.scale.stream_scale import StreamScale
from support.camera import OPTICAL_FRAME, Camera, Spawn, film, header, image_message
from support.lens import HEIGHT, WIDTH, lens_info, seen_depth, true_depth
from support.listening import Listener, finish

NODE = "/infinitevggt"


def positions(heard: list[Odometry]) -> np.ndarray:
    points = [message.pose.pose.position for message in heard]
    return np.array([(p.x, p.y, p.z) for p in points])


@pytest.mark.ros
def test_odometry_makes_metres_of_every_length(listener: Listener, spawn: Spawn) -> None:
    """The first node tells what the stream sees; the second hears of wheels that turn 250 times as
    far."""
    images = film(30, 112, 112)
    network = ("-p", "pose.source:=network")  # the wheels repeat its poses
    process = spawn("stream_node", "--ros-args", "-r", "image:=/unscaled", *network)
    odometry = listener.listen(Odometry, f"{NODE}/odometry")
    depths = listener.listen(Image, f"{NODE}/depth/image")
    camera = Camera(listener, topic="/unscaled")
    camera.wait_for_node()
    camera.send_film(images)
    listener.spin_until(lambda: len(odometry) == len(depths) == 30)
    units, depth_units = positions(odometry), np.frombuffer(depths[-1].data, np.float32)
    process.terminate()
    finish(process)

    steps = np.linalg.norm(np.diff(units, axis=0), axis=1)
    arguments = {
        "scale.source": "odometry",
        "scale.min_motion": f"{2 * 250 * np.median(steps):.6f}",
        "scale.samples": "5",
        "output.map_period": "0.05",
    }
    options = [text for pair in arguments.items() for text in ("-p", ":=".join(pair))]
    spawn("stream_node", "--ros-args", "-r", "image:=/scaled", *network, *options)
    clouds = listener.listen(PointCloud2, f"{NODE}/map", latched=True)
    paths = listener.listen(Path, f"{NODE}/path", latched=True)
    wheels = TransformBroadcaster(listener.node)
    odometry.clear()
    depths.clear()
    camera = Camera(listener, topic="/scaled")
    camera.wait_for_node()
    listener.meet(NODE)
    for number, (image, position) in enumerate(zip(images, units, strict=True), start=1):
        message = image_message(image, 10**9 * number)
        moved = TransformStamped(child_frame_id=OPTICAL_FRAME)
        moved.header.stamp, moved.header.frame_id = message.header.stamp, "odom"
        t = moved.transform.translation
        t.x, t.y, t.z = (250 * position + 7).tolist()
        moved.transform.rotation.w = 1.0
        wheels.sendTransform(moved)
        listener.spin_for(0.05)
        status = camera.send(message)
    assert status.metres_per_unit == pytest.approx(250, rel=1e-3)
    assert 0 <= status.metres_per_unit_sigma < 1
    assert status.scale == pytest.approx(250, rel=0.02)
    latest = status.header.stamp
    listener.spin_until(lambda: bool(depths) and depths[-1].header.stamp == latest)
    listener.spin_until(lambda: bool(odometry) and odometry[-1].header.stamp == latest)
    listener.spin_until(lambda: bool(paths) and len(paths[-1].poses) == 30)
    assert len(odometry) == len(depths) < 30, "nothing is sent in metres before they are known"
    np.testing.assert_allclose(positions(odometry)[-1], status.scale * units[-1], rtol=1e-4)
    scaled = np.frombuffer(depths[-1].data, np.float32)
    np.testing.assert_allclose(scaled, status.scale * depth_units, rtol=1e-3)
    way = positions([Odometry(pose=_with(pose.pose)) for pose in paths[-1].poses])
    np.testing.assert_allclose(way, status.scale * units, rtol=1e-3, atol=1e-5)
    listener.spin_until(lambda: bool(clouds) and clouds[-1].header.stamp == status.header.stamp)
    xyz = point_cloud2.read_points_numpy(clouds[-1], ["x", "y", "z"])
    assert np.median(xyz[:, 0]) > 100 * np.median(depth_units), "the map is as long as the depth"


def _with(pose: object) -> object:
    odometry = Odometry()
    odometry.pose.pose = pose
    return odometry.pose


def frame(number: int, depth: np.ndarray, **more: Any) -> FrameResult:
    """Return the results of a network with this unit; images are 30 ms apart."""
    height, width = depth.shape
    _, pixel_map = preprocess(np.zeros((height, width, 3), np.uint8), width)
    at_ns = number * 30_000_000
    given = {
        "camera": "",
        "header": header(at_ns),
        "stamp_ns": at_ns,
        "received_s": 0.0,
        "colors": np.zeros((height, width, 3), np.float32),
        "depth": depth,
        "confidence": np.full_like(depth, 5.0),
        "intrinsics": np.eye(3),
        "camera_from_world": np.eye(3, 4),
        "pixel_map": pixel_map,
    }
    return FrameResult(**{**given, **more})


@pytest.fixture
def frames() -> Iterator[FrameResult]:
    """Frames that see a wall of depth 2, 30 ms apart."""
    wall = np.full((56, 56), 2.0, np.float32)
    return (frame(number, wall) for number in range(1, 1000))


def measured(settings: ScaleSettings, warnings: list[str]) -> StreamScale:
    """Return the scale of a robot without transforms."""
    return StreamScale(
        Settings(scale=settings), UnknownRobot(), lambda kind, text: warnings.append(text)
    )


def depth_image(result: FrameResult, metres: np.ndarray, encoding: str) -> Image:
    return image_message(metres, result.stamp_ns, encoding)


@pytest.mark.parametrize("encoding", ["32FC1", "16UC1"])
def test_a_depth_camera_makes_metres(frames: Iterator[FrameResult], encoding: str) -> None:
    warnings: list[str] = []
    settings = ScaleSettings(source="depth", samples=3)
    scale = measured(settings, warnings)
    for _ in range(3):
        assert scale.factor == 1
        seen = next(frames)
        metres = np.full((112, 112), 3.0)  # the camera's depth may be finer than its images
        metres[:40] = np.nan if encoding == "32FC1" else 0
        raw = (
            metres.astype(np.float32) if encoding == "32FC1" else (1000 * metres).astype(np.uint16)
        )
        scale.keep_depth(depth_image(seen, raw, encoding))
        scale.observe(seen)
    assert scale.factor == pytest.approx(1.5, rel=1e-3)
    assert warnings == []


def test_depth_through_a_lens_is_laid_on_the_rectified_image() -> None:
    _, pixel_map = preprocess(np.zeros((HEIGHT, WIDTH, 3), np.uint8), 112)
    units = fit_depth(true_depth(), pixel_map) / 2
    calibration = read_calibration(lens_info("plumb_bob"), (HEIGHT, WIDTH), is_rectified=False)
    seen = frame(1, units, pixel_map=pixel_map, calibration=calibration)
    scale = measured(ScaleSettings(source="depth", samples=1), [])
    scale.keep_depth(image_message(seen_depth("plumb_bob"), seen.stamp_ns, "32FC1"))
    scale.observe(seen)
    assert scale.factor == pytest.approx(2, rel=3e-3)


def test_a_frozen_scale_stays_and_a_tracked_one_follows(frames: Iterator[FrameResult]) -> None:
    for track, expected in ((False, 1.5), (True, 2.5)):
        settings = ScaleSettings(source="depth", samples=2, track=track)
        scale = measured(settings, [])
        for metres in [3.0] * 2 + [5.0] * 10:
            seen = next(frames)
            wall = np.full((56, 56), metres, np.float32)
            scale.keep_depth(depth_image(seen, wall, "32FC1"))
            scale.observe(seen)
        assert scale.factor == pytest.approx(expected)


@pytest.mark.parametrize(
    ("late_ns", "encoding", "words"),
    [(60_000_000, "32FC1", "no image on `depth`"), (0, "rgb8", "'rgb8'")],
)
def test_a_depth_that_cannot_be_used_is_said(
    frames: Iterator[FrameResult], late_ns: int, encoding: str, words: str
) -> None:
    warnings: list[str] = []
    settings = ScaleSettings(source="depth", samples=1)
    scale = measured(settings, warnings)
    seen = next(frames)
    pixels = np.ones((56, 56, 3), np.uint8) if encoding == "rgb8" else np.ones((56, 56), np.float32)
    scale.keep_depth(image_message(pixels, seen.stamp_ns + late_ns, encoding))
    scale.observe(seen)
    assert not scale.is_metric
    assert words in warnings[0]


@pytest.mark.parametrize(
    ("shape", "words"),
    [((0, 0), "empty: 0x0 px"), ((56, 0), "empty: 0x56 px"), ((3, 5), "rows of 19 bytes")],
)
def test_a_depth_of_no_shape_is_refused(
    frames: Iterator[FrameResult], shape: tuple[int, int], words: str
) -> None:
    warnings: list[str] = []
    scale = measured(ScaleSettings(source="depth", samples=1), warnings)
    seen = next(frames)
    message = depth_image(seen, np.ones(shape, np.float32), "32FC1")
    message.step -= bool(words.startswith("rows"))
    scale.keep_depth(message, "")
    scale.observe(seen)
    assert "`depth` is not used" in warnings[0]
    assert words in warnings[0]
    assert not scale.is_metric


def test_the_depth_of_a_slow_frame_is_still_there(frames: Iterator[FrameResult]) -> None:
    """Three seconds of a fast depth camera come while the network works."""
    warnings: list[str] = []
    settings = ScaleSettings(source="depth", samples=1)
    scale = measured(settings, warnings)
    slow = next(frames)
    scale.keep_depth(depth_image(slow, np.full((480, 640), 3.0, np.float32), "32FC1"))
    for _ in range(100):
        scale.keep_depth(depth_image(next(frames), np.full((480, 640), 5.0, np.float32), "32FC1"))
    scale.observe(slow)
    assert scale.factor == pytest.approx(1.5, rel=1e-3)
    assert warnings == []


def test_every_source_has_its_class() -> None:
    choices = ScaleSettings.__dataclass_fields__["source"].metadata["choices"]
    assert {"none", *SOURCES} == set(choices)
