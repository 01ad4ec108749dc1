# SPDX-License-Identifier: Apache-2.0
"""Poses in the recording of a demo."""

from pathlib import Path

import numpy as np
import pytest
from nav_msgs.msg import Odometry
from rclpy.serialization import deserialize_message

from infinitevggt_ros.bags.poses import BagPoses
from infinitevggt_ros.bags.reader import BagReader
from infinitevggt_ros.demo.recording import optical_row
from infinitevggt_ros.map_axes import inverted
from infinitevggt_ros.pose_messages import pose_from_matrix
from support.bag_making import stamp_ns

pytestmark = pytest.mark.ros
OPTICAL = "camera_optical_frame"


def test_the_pose_of_the_robots_base_is_read_as_that_of_its_camera(world_bag: Path) -> None:
    with BagReader(world_bag) as reader:
        tree = BagPoses(reader)
        [*_, (_, _, data)] = reader.messages(["/odometry"])
    odometry = deserialize_message(data, Odometry)
    assert odometry.child_frame_id == "base_link"
    base, camera = (
        pose_from_matrix(inverted(tree.camera_from_world(frame, stamp_ns(odometry))))
        for frame in ("base_link", OPTICAL)
    )
    odometry.pose.pose = base
    row = optical_row(odometry, OPTICAL, tree)
    place, turn = camera.position, camera.orientation
    np.testing.assert_allclose(row[:3], (place.x, place.y, place.z), atol=1e-9)
    quat = np.array((turn.x, turn.y, turn.z, turn.w))
    assert abs(quat @ row[3:]) == pytest.approx(1)
    odometry.child_frame_id, odometry.pose.pose = f"/{OPTICAL}", camera
    np.testing.assert_allclose(optical_row(odometry, OPTICAL, tree)[:3], row[:3], atol=1e-9)
