# SPDX-License-Identifier: Apache-2.0
"""Images reach stream_node whatever their size and QoS, over real DDS."""

import pathlib
import sys

import numpy as np
import pytest
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image

from infinitevggt_ros.msg import StreamStatus
from support.camera import Camera, Spawn, film, image_message
from support.listening import Listener, finish

pytestmark = pytest.mark.ros
PROFILE = pathlib.Path(__file__).parents[2] / "config" / "fastdds_large_images.xml"
BEST_EFFORT_CAMERA = str(pathlib.Path(__file__).parents[1] / "support" / "best_effort_camera.py")


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


@pytest.mark.parametrize(("height", "width"), [(480, 640), (1080, 1920)])
def test_large_best_effort_images_arrive_with_the_profile_we_ship(
    spawn: Spawn, monkeypatch: pytest.MonkeyPatch, height: int, width: int
) -> None:
    """Both sides take it from the environment, so the camera is a process of its own as well."""
    monkeypatch.setenv("FASTDDS_DEFAULT_PROFILES_FILE", str(PROFILE))
    spawn("stream_node")
    camera = spawn(sys.executable, BEST_EFFORT_CAMERA, str(height), str(width))
    code, output = finish(camera)
    assert code == 0, output
    assert "used 3 of 3" in output
