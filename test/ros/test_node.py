"""stream_node as a process of its own, over real DDS."""

import pathlib
import signal
import sys
import time

import numpy as np
import pytest
from camera import (
    OPTICAL_FRAME,
    Camera,
    Spawn,
    film,
    header,
    image_message,
    info_message,
    jpeg_message,
)
from geometry_msgs.msg import TransformStamped
from listening import Listener, finish
from nav_msgs.msg import Odometry, Path
from rcl_interfaces.msg import ParameterDescriptor
from rclpy.parameter import Parameter
from rclpy.parameter_client import AsyncParameterClient
from rclpy.qos import QoSProfile, ReliabilityPolicy, qos_profile_sensor_data
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, PointCloud2
from sensor_msgs_py import point_cloud2
from std_srvs.srv import Trigger
from tf2_msgs.msg import TFMessage
from tf2_ros import StaticTransformBroadcaster

from infinitevggt_ros.msg import StreamStatus

pytestmark = pytest.mark.ros
NODE = "/infinitevggt"
PROFILE = pathlib.Path(__file__).parents[2] / "config" / "fastdds_large_images.xml"
BEST_EFFORT_CAMERA = str(pathlib.Path(__file__).parent / "best_effort_camera.py")
FAST_MAP = ("-p", "output.map_period:=0.05")


@pytest.fixture
def camera(listener: Listener, spawn: Spawn) -> Camera:
    spawn("stream_node", "--ros-args", *FAST_MAP)
    camera = Camera(listener)
    camera.wait_for_node()
    return camera


def parameter_client(listener: Listener) -> AsyncParameterClient:
    client = AsyncParameterClient(listener.node, NODE)
    listener.spin_until(client.services_are_ready)
    return client


def set_parameter(listener: Listener, client: AsyncParameterClient, name: str, value: object):
    future = client.set_parameters([Parameter(name, value=value)])
    listener.spin_until(future.done)
    return future.result().results[0]


def test_every_output_carries_the_stamp_and_frame_of_its_image(
    camera: Camera, listener: Listener
) -> None:
    heard = {
        name: listener.listen(kind, f"{NODE}/{name}")
        for name, kind in {
            "odometry": Odometry,
            "depth/image": Image,
            "depth/camera_info": CameraInfo,
            "depth/confidence": Image,
            "points": PointCloud2,
        }.items()
    }
    tf = listener.listen(TFMessage, "/tf")
    clouds = listener.listen(PointCloud2, f"{NODE}/map", latched=True)
    paths = listener.listen(Path, f"{NODE}/path", latched=True)
    listener.spin_for(0.5)
    stamp_ns = 1_700_000_000_123_456_789  # a float of seconds has no room for these nanoseconds
    images = film(3, 240, 320)
    camera.send_film(images[:1], stamp_ns)
    last = image_message(images[1], stamp_ns + 1)
    camera.send(last)
    stamp = last.header.stamp
    listener.spin_until(lambda: all(x and x[-1].header.stamp == stamp for x in heard.values()))
    listener.spin_until(lambda: bool(clouds) and clouds[-1].header.stamp == stamp)
    listener.spin_until(lambda: bool(paths) and len(paths[-1].poses) == 2)
    listener.spin_until(lambda: bool(tf) and tf[-1].transforms[0].header.stamp == stamp)

    frames = {name: messages[-1].header.frame_id for name, messages in heard.items()}
    assert frames == {
        "odometry": "map",
        "depth/image": OPTICAL_FRAME,
        "depth/camera_info": OPTICAL_FRAME,
        "depth/confidence": OPTICAL_FRAME,
        "points": OPTICAL_FRAME,
    }
    transform = tf[-1].transforms[0]
    assert (transform.header.frame_id, transform.child_frame_id) == ("map", OPTICAL_FRAME)
    assert clouds[-1].header.frame_id == "map"
    depth = heard["depth/image"][-1]
    assert depth.encoding == "32FC1"
    assert (depth.width, depth.height) == (112, 84)
    assert [field.name for field in clouds[-1].fields] == ["x", "y", "z", "rgb", "confidence"]
    points = point_cloud2.read_points_numpy(heard["points"][-1], ["x", "y", "z"])
    assert len(points) == 112 * 84
    values = np.frombuffer(bytes(depth.data), dtype="<f4")
    np.testing.assert_allclose(points[:, 2], values, rtol=1e-6)


def test_calibration_reaches_the_depth_camera_info_at_the_depth_resolution(
    camera: Camera, listener: Listener
) -> None:
    infos = listener.listen(CameraInfo, f"{NODE}/depth/camera_info")
    # as drivers that send images as sensor data do
    calibrated = listener.node.create_publisher(CameraInfo, "/camera_info", qos_profile_sensor_data)
    listener.spin_until(lambda: calibrated.get_subscription_count() > 0)
    images = film(12, 240, 320)
    info = info_message(240, 320, 1)
    for i, pixels in enumerate(images):  # until the calibration has arrived
        calibrated.publish(info)
        camera.send(image_message(pixels, 10**9 + i))
    listener.spin_until(lambda: bool(infos) and infos[-1].header.stamp.nanosec == 11)
    # 320x240 becomes 112x84: focal lengths scale with the sides
    assert infos[-1].k[0] == pytest.approx(info.k[0] * 112 / 320, rel=1e-6)
    assert infos[-1].k[4] == pytest.approx(info.k[4] * 84 / 240, rel=1e-6)
    assert (infos[-1].width, infos[-1].height) == (112, 84)


BAD_INPUTS = {
    "truncated": lambda ns: cut(image_message(film(1)[0], ns), 100),
    "empty": lambda ns: Image(header=header(ns), encoding="rgb8"),
    "encoding": lambda ns: image_message(film(1)[0], ns, "quux8"),
    "depth as picture": lambda ns: image_message(np.ones((48, 64), np.float32), ns, "32FC1"),
    "step": lambda ns: narrow(image_message(film(1)[0], ns)),
    "other size": lambda ns: image_message(film(1, 64, 48)[0], ns),
    "zero stamp": lambda ns: image_message(film(1)[0], 0),
    "stamp back": lambda ns: image_message(film(1)[0], ns - 10**9),
    "sliver": lambda ns: image_message(np.zeros((2, 640, 3), np.uint8), ns),
}


def cut(message: Image, length: int) -> Image:
    message.data = message.data[:length]
    return message


def narrow(message: Image) -> Image:
    message.step = 10
    return message


def test_bad_images_are_refused_one_by_one_and_the_next_good_one_works(
    listener: Listener, spawn: Spawn
) -> None:
    process = spawn("stream_node")
    camera = Camera(listener)
    camera.wait_for_node()
    good, now_ns = film(1)[0], 10**10
    reasons = {}
    assert camera.send(image_message(good, now_ns)).outcome == StreamStatus.PROCESSED
    for kind, make in BAD_INPUTS.items():
        now_ns += 10**8
        bad = camera.send(make(now_ns))
        assert bad.outcome == StreamStatus.REJECTED, kind
        reasons[kind] = bad.last_rejection
        now_ns += 10**8
        assert camera.send(image_message(good, now_ns)).outcome == StreamStatus.PROCESSED, kind
    last = camera.statuses[-1]
    assert last.frames_rejected == len(BAD_INPUTS)
    assert last.frames_processed == last.frame_index == 1 + len(BAD_INPUTS)
    assert last.map_id == 0
    assert all(reason.startswith("/image: image refused, ") for reason in reasons.values())
    assert len(set(reasons.values())) == len(BAD_INPUTS), "each says what was wrong with it"
    process.send_signal(signal.SIGINT)
    code, output = finish(process)
    assert code == 0
    kinds = "truncated", "empty", "'quux8'", "'32FC1'", "cannot hold", "48x64 px", "zero", "before"
    for words in kinds:
        assert any(words in line and "/image" in line for line in output.splitlines()), words


def test_a_kind_of_bad_image_is_warned_of_once_and_counted_each_time(
    listener: Listener, spawn: Spawn
) -> None:
    process = spawn("stream_node")
    camera = Camera(listener)
    camera.wait_for_node()
    for i in range(20):
        camera.send(image_message(film(1)[0], 10**9 + i, "quux8"))
    assert camera.statuses[-1].frames_rejected == 20
    process.send_signal(signal.SIGINT)
    assert finish(process)[1].count("quux8") == 1


@pytest.mark.parametrize(
    ("encoding", "pixels"),
    [
        ("mono16", np.full((48, 64), 40_000, np.uint16)),
        ("bayer_rggb8", np.full((48, 64), 90, np.uint8)),
        ("bgra8", np.full((48, 64, 4), 90, np.uint8)),
        ("mono8", np.full((48, 64), 90, np.uint8)),
        ("8UC3", np.full((48, 64, 3), 90, np.uint8)),
    ],
)
def test_pictures_of_unusual_encodings_are_used(
    camera: Camera, encoding: str, pixels: np.ndarray
) -> None:
    assert camera.send(image_message(pixels, 10**9, encoding)).outcome == StreamStatus.PROCESSED


def test_a_looped_bag_restarts_the_stream_instead_of_silencing_it(camera: Camera) -> None:
    images = film(4)
    camera.send_film(images, start_ns=10**11)
    outcomes = [camera.send(image_message(images[0], 10**9 + i * 10**8)) for i in range(12)]
    refused = [status.outcome == StreamStatus.REJECTED for status in outcomes]
    assert refused == [True] * 4 + [False] * 8
    assert outcomes[-1].map_id == 1
    assert outcomes[-1].frame_index == 8


def test_a_camera_that_stays_at_another_size_is_believed(camera: Camera) -> None:
    camera.send_film(film(2), start_ns=10**9)
    other = film(1, 64, 48)[0]
    outcomes = [camera.send(image_message(other, 10**10 + i)) for i in range(6)]
    assert [status.map_id for status in outcomes] == [0] * 4 + [1] * 2
    assert outcomes[-1].outcome == StreamStatus.PROCESSED


def test_parameters_answer_while_the_network_works(listener: Listener, spawn: Spawn) -> None:
    spawn("stream_node", "--ros-args", "-p", "model.image_size:=448")  # a frame takes its time
    camera = Camera(listener)
    camera.wait_for_node()
    client = parameter_client(listener)
    images = film(3)
    camera.send(image_message(images[0], 10**9))
    inference_s = []
    for i in range(3):
        camera.publisher.publish(image_message(images[1], 2 * 10**9 + i))
        listener.spin_for(0.05)  # the worker has it now
        before, answers = len(camera.statuses), 0
        start_s = time.monotonic()
        while len(camera.statuses) == before:
            future = client.get_parameters(["memory.total_budget"])
            listener.spin_until(future.done)
            answers += len(camera.statuses) == before
        inference_s.append(time.monotonic() - start_s)
        assert answers >= 3, f"{answers} answers during {inference_s[-1]:.2f} s of inference"


def test_memory_changes_while_the_stream_runs_and_nonsense_is_refused(
    camera: Camera, listener: Listener
) -> None:
    client = parameter_client(listener)
    images = film(20)
    status = camera.send_film(images[:10])
    per_frame = sum(status.stored_tokens) // 10
    assert sum(status.stored_tokens) == 10 * per_frame  # nothing evicted so far

    smallest = 2 * per_frame
    refused = set_parameter(listener, client, "memory.total_budget", smallest - 1)
    assert not refused.successful
    assert f"the smallest that works is {smallest}" in refused.reason
    assert set_parameter(listener, client, "memory.total_budget", 3 * per_frame).successful
    status = camera.send_film(images[10:12], start_ns=3 * 10**9)
    assert sum(status.stored_tokens) <= 3 * per_frame
    assert status.total_budget == 3 * per_frame
    assert status.frame_index == 12, "the stream went on"

    assert set_parameter(listener, client, "memory.policy", "window").successful
    assert set_parameter(listener, client, "memory.window", 1).successful
    status = camera.send_film(images[12:15], start_ns=4 * 10**9)
    assert sum(status.stored_tokens) == 2 * per_frame
    assert status.policy == "window"

    refusals = {
        "memory.policy": ("lru", "one of"),
        "memory.anchor_frames": (-1, "memory.anchor_frames"),
        "memory.camera_memory": ("shared", "reset"),
        "model.checkpoint": ("x", "it is active"),
        "memory.dtype": (3, "type"),
    }
    for name, (value, words) in refusals.items():
        answer = set_parameter(listener, client, name, value)
        assert not answer.successful, name
        assert words in answer.reason, (name, answer.reason)
    assert camera.send_film(images[15:16], start_ns=5 * 10**9).outcome == StreamStatus.PROCESSED


def test_parameters_describe_themselves(camera: Camera, listener: Listener) -> None:
    client = parameter_client(listener)
    future = client.describe_parameters(["memory.total_budget", "map.voxel_size", "memory.policy"])
    listener.spin_until(future.done)
    budget, voxel, policy = future.result().descriptors
    assert isinstance(budget, ParameterDescriptor)
    assert "tokens" in budget.description
    assert budget.integer_range[0].from_value == 1
    assert voxel.floating_point_range[0].to_value == 10.0
    assert "diversity" in policy.additional_constraints


def test_reset_starts_a_new_map(camera: Camera, listener: Listener) -> None:
    images = film(4)
    camera.send_film(images[:3])
    client = listener.node.create_client(Trigger, f"{NODE}/reset")
    listener.spin_until(client.service_is_ready)
    future = client.call_async(Trigger.Request())
    listener.spin_until(future.done)
    assert future.result().success
    # any stamp may come after a reset, earlier ones too
    status = camera.send(image_message(images[0], 5))
    assert (status.map_id, status.frame_index) == (1, 1)


def test_the_map_is_parent_of_the_root_the_camera_hangs_in(
    listener: Listener, spawn: Spawn
) -> None:
    """base_link -> camera_link -> optical frame is the driver's; a second parent would break it."""
    robot = StaticTransformBroadcaster(listener.node)
    base, mount = TransformStamped(), TransformStamped()
    base.header.frame_id, base.child_frame_id = "base_link", "camera_link"
    base.transform.translation.x, base.transform.translation.z = 0.2, 0.5
    base.transform.rotation.w = 1.0
    mount.header.frame_id, mount.child_frame_id = "camera_link", OPTICAL_FRAME
    q = mount.transform.rotation
    q.x, q.y, q.z, q.w = -0.5, 0.5, -0.5, 0.5  # REP-103: optical axes
    tf = listener.listen(TFMessage, "/tf")
    # random weights say exactly that the camera stands where it was first
    spawn("stream_node", "--ros-args", "-p", "model.checkpoint:=random:tiny")
    camera = Camera(listener)
    camera.wait_for_node()
    image = film(1)[0]
    for i in range(5):  # the driver is slower than its images
        camera.send(image_message(image, 10**9 + i))
    robot.sendTransform([base, mount])
    for i in range(5, 30):
        camera.send(image_message(image, 10**9 + i))
    listener.spin_until(lambda: len(tf) == 30)
    [transform] = tf[-1].transforms
    assert (transform.header.frame_id, transform.child_frame_id) == ("map", "base_link")
    # the first image is the map's origin: the camera looks along the map's x, so the base stands
    # 0.2 behind it and 0.5 below, turned as the map is
    t, r = transform.transform.translation, transform.transform.rotation
    np.testing.assert_allclose((t.x, t.y, t.z), (-0.2, 0, -0.5), atol=1e-6)
    np.testing.assert_allclose(abs(r.w), 1, atol=1e-6)


@pytest.mark.parametrize(("height", "width"), [(480, 640), (1080, 1920)])
def test_large_images_arrive_whatever_the_default_transport(
    camera: Camera, height: int, width: int
) -> None:
    image = np.zeros((height, width, 3), np.uint8)
    for i in range(3):
        image[:] = 50 * i
        assert camera.send(image_message(image, 10**9 + i)).outcome == StreamStatus.PROCESSED


def test_a_best_effort_camera_is_heard(listener: Listener, spawn: Spawn) -> None:
    spawn("stream_node")
    camera = Camera(listener)
    listener.node.destroy_publisher(camera.publisher)
    qos = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)
    camera.publisher = listener.node.create_publisher(Image, "/image", qos)
    camera.wait_for_node()
    assert camera.send(image_message(film(1)[0], 10**9)).outcome == StreamStatus.PROCESSED


def test_jpeg_images_work_and_damaged_ones_are_refused(listener: Listener, spawn: Spawn) -> None:
    spawn("stream_node", "--ros-args", "-p", "image_transport:=compressed")
    camera = Camera(listener, CompressedImage, "/image/compressed")
    camera.wait_for_node()
    pixels = film(1)[0]
    assert camera.send(jpeg_message(pixels, 10**9)).outcome == StreamStatus.PROCESSED
    damaged = jpeg_message(pixels, 2 * 10**9)
    damaged.data = damaged.data[20:60]
    assert camera.send(damaged).outcome == StreamStatus.REJECTED
    assert camera.send(CompressedImage(header=header(3 * 10**9))).outcome == StreamStatus.REJECTED
    assert camera.send(jpeg_message(pixels, 4 * 10**9)).outcome == StreamStatus.PROCESSED


def test_the_newest_image_wins_and_replaced_ones_are_counted(
    listener: Listener, spawn: Spawn
) -> None:
    spawn("stream_node", "--ros-args", "-p", "model.image_size:=448")  # a frame takes its time
    camera = Camera(listener)
    camera.wait_for_node()
    pixels = film(1, 240, 320)[0]
    camera.send(image_message(pixels, 10**9))
    sent = 0

    def another_until_one_is_dropped() -> bool:
        nonlocal sent
        sent += 1
        camera.publisher.publish(image_message(pixels, 10**9 + sent))
        return camera.statuses[-1].frames_dropped > 0

    camera.listener.spin_until(another_until_one_is_dropped, timeout_s=60)
    # the last one is never the one that is dropped
    camera.listener.spin_until(lambda: camera.statuses[-1].header.stamp.nanosec == sent)
    camera.listener.spin_until(lambda: camera.statuses[-1].outcome == StreamStatus.PROCESSED)
    last = camera.statuses[-1]
    assert last.frames_received == last.frames_processed + last.frames_dropped
    assert last.header.stamp.nanosec == sent


@pytest.mark.parametrize(("height", "width"), [(480, 640), (1080, 1920)])
def test_large_best_effort_images_arrive_with_the_profile_we_ship(
    spawn: Spawn, monkeypatch: pytest.MonkeyPatch, height: int, width: int
) -> None:
    """Both sides take it from the environment, so the camera is a process of its own as well."""
    monkeypatch.setenv("FASTDDS_DEFAULT_PROFILES_FILE", str(PROFILE))
    spawn("stream_node")
    camera = spawn(sys.executable, BEST_EFFORT_CAMERA, str(height), str(width))
    code, output = finish(camera, timeout_s=90)
    assert code == 0, output
    assert "used 3 of 3" in output


def test_the_readme_names_every_topic_with_its_type(camera: Camera, listener: Listener) -> None:
    readme = (pathlib.Path(__file__).parents[2] / "README.md").read_text()
    rows = [line for line in readme.splitlines() if line.startswith("| out |")]
    published = listener.node.get_publisher_names_and_types_by_node("infinitevggt", "/")
    ours = {
        name: kinds[0]
        for name, kinds in published
        if name.startswith((NODE, "/tf", "/diagnostics"))
    }
    assert len(ours) == 12
    for topic, kind in ours.items():
        name = f"`{topic.replace(NODE, '~')}`"
        short = kind.replace("/msg/", "/") if kind.count("infinitevggt") == 0 else kind
        assert any(name in row and short in row for row in rows), (name, short)


def test_depth_comes_at_the_cameras_resolution_when_asked(
    camera: Camera, listener: Listener
) -> None:
    depths = listener.listen(Image, f"{NODE}/depth/image")
    infos = listener.listen(CameraInfo, f"{NODE}/depth/camera_info")
    listener.spin_for(0.5)
    images = film(2, 240, 320)
    camera.send(image_message(images[0], 1))
    client = parameter_client(listener)
    assert set_parameter(listener, client, "output.depth_resolution", "camera").successful
    camera.send(image_message(images[1], 2))
    listener.spin_until(lambda: len(depths) == len(infos) == 2)
    assert [(depth.width, depth.height) for depth in depths] == [(112, 84), (320, 240)]
    assert [(info.width, info.height) for info in infos] == [(112, 84), (320, 240)]
    assert infos[1].k[0] == pytest.approx(infos[0].k[0] * 320 / 112, rel=0.01)
