# SPDX-License-Identifier: Apache-2.0
"""~/odometry as robot_localization can use it: frames, twist and covariances."""

from dataclasses import replace

import numpy as np
import pytest
from nav_msgs.msg import Odometry
from scipy.spatial.transform import Rotation

from infinitevggt_core import preprocess
from infinitevggt_ros.input.robot import UnknownRobot
from infinitevggt_ros.map_axes import MAP_FROM_WORLD, MapFromWorld, inverted
from infinitevggt_ros.output.frame_result import FrameResult
from infinitevggt_ros.output.odometry import OdometryMessages
from infinitevggt_ros.params.settings import OdometrySettings, PoseSettings, Settings
from infinitevggt_ros.pose_messages import matrix_from_pose
from support.camera import OPTICAL_FRAME, header
from support.rig import ODOMETRY, SMALL, Rig
from support.scales import METRIC, use_scale
from support.transforms import OPTICAL, transform

_, PIXEL_MAP = preprocess(np.zeros((28, 28, 3), np.uint8), 28)
DRIFT = OdometrySettings()


def placed(map_from_optical: np.ndarray, stamp_ns: int, **more: object) -> FrameResult:
    """A frame whose optical frame stands there, in metres."""
    world_from_optical = np.linalg.inv(MAP_FROM_WORLD) @ map_from_optical
    flat = np.ones((28, 28), np.float32)
    given = {
        "camera": "",
        "header": header(stamp_ns),
        "stamp_ns": stamp_ns,
        "received_s": 0.0,
        "colors": np.zeros((28, 28, 3), np.float32),
        "depth": flat,
        "confidence": flat,
        "intrinsics": np.eye(3),
        "camera_from_world": inverted(world_from_optical)[:3],
        "pixel_map": PIXEL_MAP,
        "is_metric": True,
    }
    return FrameResult(**{**given, **more})


def pose(x: float, y: float, yaw: float) -> np.ndarray:
    """4 x 4, a body in the map."""
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler("z", yaw).as_matrix()
    matrix[:2, 3] = x, y
    return matrix


BASE_FROM_OPTICAL = np.eye(4)
BASE_FROM_OPTICAL[:3, :3] = OPTICAL.as_matrix()
BASE_FROM_OPTICAL[:3, 3] = 0.3, 0.0, 0.5


class Mounted(UnknownRobot):
    """A robot with the camera before and above its base."""

    def pose_of(self, frame: str, header: object) -> np.ndarray | None:
        return np.linalg.inv(BASE_FROM_OPTICAL) if frame == "base_link" else None


def variances(covariance: object) -> np.ndarray:
    return np.diag(np.asarray(covariance).reshape(6, 6))


def test_the_twist_is_that_of_the_base_in_its_own_frame() -> None:
    """A base that drives 0.2 m ahead in 0.1 s and turns by 0.1 rad, heading for y."""
    odometry = OdometryMessages("map", "base_link", Mounted(), DRIFT)
    first, second = pose(1, 2, np.pi / 2), pose(1, 2.2, np.pi / 2 + 0.1)
    for number, base in enumerate((first, second)):
        result = placed(base @ BASE_FROM_OPTICAL, 10**9 + number * 10**8)
        message = odometry.message(result)
    assert (message.header.frame_id, message.child_frame_id) == ("map", "base_link")
    np.testing.assert_allclose(matrix_from_pose(message.pose.pose), second, atol=1e-9)
    linear, angular = message.twist.twist.linear, message.twist.twist.angular
    expected = 2.0 * np.array((np.cos(0.1), -np.sin(0.1), 0.0))
    np.testing.assert_allclose((linear.x, linear.y, linear.z), expected, atol=1e-9)
    np.testing.assert_allclose((angular.x, angular.y, angular.z), (0, 0, 1.0), atol=1e-9)
    stds = (0.01 + 0.05 * 0.2) / 0.1, (0.01 + 0.02 * 0.2) / 0.1
    expected = np.repeat(np.square(stds), 3)
    np.testing.assert_allclose(variances(message.twist.covariance), expected, rtol=1e-6)


def test_the_first_frame_of_a_map_has_no_velocity() -> None:
    odometry = OdometryMessages("map", "base_link", Mounted(), DRIFT)
    for stamp_ns in (10**9, 10**9 + 10**8, 10**9 + 2 * 10**8, 5 * 10**9):
        message = odometry.message(placed(BASE_FROM_OPTICAL, stamp_ns))
        is_unknown = (variances(message.twist.covariance) == 1e6).all()
        assert is_unknown == (stamp_ns in (10**9, 10**9 + 2 * 10**8, 5 * 10**9))
        if stamp_ns == 10**9 + 10**8:
            odometry.reset()


def test_an_uncertain_rotation_makes_the_base_behind_the_camera_uncertain() -> None:
    odometry = OdometryMessages("map", "base_link", Mounted(), DRIFT)
    covariance = np.diag([1e-4] * 3 + [0.01] * 3)
    message = odometry.message(placed(BASE_FROM_OPTICAL, 10**9, covariance=covariance))
    x, y, z = variances(message.pose.covariance)[:3]
    assert (x, y, z) == pytest.approx(
        (1e-4 + 0.01 * 0.25, 1e-4 + 0.01 * (0.25 + 0.09), 1e-4 + 0.01 * 0.09)
    )


def test_lengths_that_are_no_metres_are_not_mixed_with_the_mount() -> None:
    odometry = OdometryMessages("map", "base_link", Mounted(), DRIFT)
    message = odometry.message(placed(BASE_FROM_OPTICAL, 10**9, is_metric=False))
    assert message.child_frame_id == OPTICAL_FRAME


def growing(messages: list[Odometry], part: slice) -> bool:
    steps = np.diff([variances(message.pose.covariance)[part].sum() for message in messages])
    return bool((steps > 0).all())


@pytest.mark.parametrize("is_metric", [False, True])
def test_covariances_are_finite_and_grow_with_the_trajectory(is_metric: bool) -> None:
    settings = METRIC if is_metric else Settings(model=SMALL)
    rig = Rig(replace(settings, pose=PoseSettings("network")))
    if is_metric:
        use_scale(rig.stream, 2.0, relative_std=0.1)
    rig.push(5)
    messages = rig.messages(ODOMETRY)
    assert growing(messages, slice(0, 3))
    assert growing(messages, slice(3, 6))
    for message in messages:
        for covariance in (message.pose.covariance, message.twist.covariance):
            assert np.isfinite(covariance).all()
            assert (variances(covariance) > 0).all()
    position = variances(messages[-1].pose.covariance)[:3]
    assert (position < 10).all() if is_metric else (position >= 1e6).all()


def test_the_base_is_used_where_its_tree_is_known() -> None:
    rig = Rig(METRIC)
    use_scale(rig.stream, 2.0)
    rig.push(1)
    rig.hear_tf(transform("base_link", OPTICAL_FRAME, 0.2, OPTICAL), static=True)
    rig.push(1)
    children = [message.child_frame_id for message in rig.messages(ODOMETRY)]
    assert children == [OPTICAL_FRAME, "base_link"]


def test_quaternions_keep_their_sign() -> None:
    odometry = OdometryMessages("map", "", UnknownRobot(), DRIFT)
    before = None
    for number in range(40):
        result = placed(pose(0, 0, 0.3 * number) @ BASE_FROM_OPTICAL, 10**9 + number * 10**7)
        q = odometry.message(result).pose.pose.orientation
        now = np.array((q.x, q.y, q.z, q.w))
        assert before is None or now @ before > 0.9
        before = now


def test_a_map_that_is_moved_moves_poses_path_and_points_alike() -> None:
    rig = Rig(METRIC)
    rig.hear_tf(transform("base_link", OPTICAL_FRAME, 0.2, OPTICAL), static=True)
    use_scale(rig.stream, 2.0)
    rig.push(3)
    wanted = pose(5, -3, 1.2)
    before = rig.stream.placement
    assert rig.stream.set_pose(wanted) == "base_link"
    steady = Rig(METRIC)
    use_scale(steady.stream, 2.0)
    steady.push(4)
    rig.push(1)
    moved = rig.stream.placement.matrix() @ np.linalg.inv(before.matrix())
    assert steady.stream.latest is not None
    assert rig.stream.latest is not None
    np.testing.assert_allclose(rig.stream.latest.pose, moved @ steady.stream.latest.pose, atol=1e-6)
    points = np.random.default_rng(1).normal(size=(5, 3)).astype(np.float32)
    expected = before.points(points) @ moved[:3, :3].T + moved[:3, 3]
    np.testing.assert_allclose(rig.stream.placement.points(points), expected, atol=1e-5)
    path = [p.pose for p in rig.stream.trajectories[""].poses]
    other = [p.pose for p in steady.stream.trajectories[""].poses]
    for here, there in zip(path, other, strict=True):
        np.testing.assert_allclose(
            matrix_from_pose(here), moved @ matrix_from_pose(there), atol=1e-6
        )


def test_a_pose_on_the_floor_keeps_the_map_level_and_at_its_height() -> None:
    rig = Rig()
    up = np.array((0.1, -0.8, 0.3))
    rig.stream.placement = replace(MapFromWorld().levelled(up), origin=np.array((0, 0, 1.5)))
    rig.push(2)
    tilt = rig.stream.placement.tilt
    rig.stream.set_pose(pose(4, 2, 0.7), is_planar=True)
    rig.push(1)
    assert rig.stream.latest is not None
    x, y, z = rig.stream.latest.pose[:3, 3]
    assert rig.stream.placement.tilt == pytest.approx(tilt)
    assert (x, y, z) == pytest.approx((4, 2, 1.5), abs=0.3)


def test_a_stream_without_a_pose_cannot_be_placed() -> None:
    with pytest.raises(ValueError, match="no pose yet"):
        Rig().stream.set_pose(np.eye(4))
