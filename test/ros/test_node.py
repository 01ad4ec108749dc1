# SPDX-License-Identifier: Apache-2.0
"""Outputs of stream_node in a process of its own, over real DDS."""

import itertools
import pathlib

import numpy as np
import pytest
from geometry_msgs.msg import PoseWithCovarianceStamped, TransformStamped
from nav_msgs.msg import Odometry, Path
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import CameraInfo, Image, PointCloud2
from sensor_msgs_py import point_cloud2
from std_srvs.srv import Trigger
from tf2_msgs.msg import TFMessage
from tf2_ros import StaticTransformBroadcaster

from infinitevggt_ros.srv import SetPose
from support.asking import parameter_client, set_parameter
from support.camera import NODE, OPTICAL_FRAME, Camera, Spawn, film, image_message, info_message
from support.listening import Listener
from support.node_process import call

pytestmark = pytest.mark.ros


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
    listener.meet(NODE)
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
        "points": f"{OPTICAL_FRAME}_visual",
    }
    transform = tf[-1].transforms[0]
    assert (transform.header.frame_id, transform.child_frame_id) == (
        "map",
        f"{OPTICAL_FRAME}_visual",
    )
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
    arguments = "model.checkpoint:=random:tiny", "tf.require_metres:=false"
    spawn("stream_node", "--ros-args", *(x for text in arguments for x in ("-p", text)))
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


def test_the_page_names_every_topic_with_its_type(camera: Camera, listener: Listener) -> None:
    page = (pathlib.Path(__file__).parents[2] / "docs" / "ros.md").read_text()
    rows = [line for line in page.splitlines() if line.startswith("| out |")]
    published = listener.node.get_publisher_names_and_types_by_node("infinitevggt", "/")
    ours = {
        name: kinds[0]
        for name, kinds in published
        if name.startswith((NODE, "/tf", "/diagnostics"))
    }
    assert len(ours) == 14
    for topic, kind in ours.items():
        name = f"`{topic.replace(NODE, '~')}`"
        short = kind.replace("/msg/", "/") if kind.count("infinitevggt") == 0 else kind
        assert any(name in row and short in row for row in rows), (name, short)


def test_depth_comes_at_the_cameras_resolution_when_asked(
    camera: Camera, listener: Listener
) -> None:
    depths = listener.listen(Image, f"{NODE}/depth/image")
    infos = listener.listen(CameraInfo, f"{NODE}/depth/camera_info")
    listener.meet(NODE)
    images = film(2, 240, 320)
    camera.send(image_message(images[0], 1))
    client = parameter_client(listener)
    assert set_parameter(listener, client, "output.depth_resolution", "camera").successful
    camera.send(image_message(images[1], 2))
    listener.spin_until(lambda: len(depths) == len(infos) == 2)
    assert [(depth.width, depth.height) for depth in depths] == [(112, 84), (320, 240)]
    assert [(info.width, info.height) for info in infos] == [(112, 84), (320, 240)]
    assert infos[1].k[0] == pytest.approx(infos[0].k[0] * 320 / 112, rel=0.01)


def test_the_pose_in_the_map_is_set_by_a_service_and_by_rviz(
    camera: Camera, listener: Listener
) -> None:
    odometry = listener.listen(Odometry, f"{NODE}/odometry")
    rviz = listener.node.create_publisher(PoseWithCovarianceStamped, "/initialpose", 1)
    listener.spin_until(lambda: rviz.get_subscription_count() > 0)
    listener.meet(NODE)
    stamps_ns = itertools.count(10**9, 10**8)
    image = film(1)[0]

    def place() -> tuple[float, float]:
        """Position of the camera in the map at the next image."""
        count = len(odometry)
        camera.send(image_message(image, next(stamps_ns)))
        listener.spin_until(lambda: len(odometry) > count)
        position = odometry[-1].pose.pose.position
        return position.x, position.y

    request = SetPose.Request()
    request.pose.header.frame_id = "map"
    request.pose.pose.position.x = 4.0
    request.pose.pose.orientation.w = 1.0
    place()
    answer = call(listener, SetPose, "set_pose", request)
    assert answer.success, answer.message
    np.testing.assert_allclose(place(), (4, 0), atol=0.3)
    request.pose.header.frame_id = "odom"
    refused = call(listener, SetPose, "set_pose", request)
    assert not refused.success
    assert "must be in map" in refused.message
    drawn = PoseWithCovarianceStamped()
    drawn.header.frame_id = "map"
    drawn.pose.pose.position.x, drawn.pose.pose.position.y = 7.0, 2.0
    drawn.pose.pose.orientation.w = 1.0
    rviz.publish(drawn)
    while np.linalg.norm(np.subtract(place(), (7, 2))) > 0.3:
        pass
