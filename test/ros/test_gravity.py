# SPDX-License-Identifier: Apache-2.0
"""Gravity from an IMU and from a mount, and its use in the map."""

import numpy as np
import pytest
from geometry_msgs.msg import Quaternion, Vector3
from hypothesis import given
from hypothesis import strategies as st
from nav_msgs.msg import Odometry
from scipy.spatial.transform import Rotation
from sensor_msgs.msg import Imu
from tf2_ros import StaticTransformBroadcaster

from infinitevggt_ros.input.image_gate import BadInputError
from infinitevggt_ros.input.robot import UnknownRobot
from infinitevggt_ros.map_axes import MAP_FROM_WORLD, MapFromWorld, levelled
from infinitevggt_ros.params.settings import GravitySettings
from infinitevggt_ros.stream.gravity import Gravity
from support.camera import OPTICAL_FRAME, Camera, Spawn, film, image_message
from support.listening import Listener
from support.node_process import NODE, PROCESSED, REJECTED
from support.rig import Rig
from support.transforms import OPTICAL, transform

UP = np.array((0.0, 0.0, 1.0))
angles = st.floats(-1.4, 1.4)
IMAGE = image_message(np.zeros((2, 2, 3), np.uint8), 10**9)


@given(angles, angles)
def test_a_known_roll_and_pitch_are_taken_out(pitch: float, roll: float) -> None:
    """And nothing else: the first camera still looks along x, as seen from above."""
    map_from_body = Rotation.from_euler("YX", (pitch, roll)).as_matrix()
    up = MAP_FROM_WORLD[:3, :3].T @ map_from_body.T @ UP  # as the tilted camera has it
    matrix = levelled(3 * up)
    np.testing.assert_allclose(matrix[:3, :3] @ up, UP, atol=1e-9)
    np.testing.assert_allclose(matrix[:3, :3], map_from_body @ MAP_FROM_WORLD[:3, :3], atol=1e-9)
    assert matrix[:3, :3] @ (0, 0, 1) @ (0, 1, 0) == pytest.approx(0, abs=1e-9)
    assert np.cos(MapFromWorld(matrix[:3, :3]).tilt) == pytest.approx(np.cos(pitch) * np.cos(roll))


TILTED = Rotation.from_euler("YX", (0.3, -0.5))
"""An IMU in the world."""


def reading(ns: int, shake: float = 0.0) -> Imu:
    """Return a message of an IMU without orientation."""
    imu = Imu(header=image_message(np.zeros((2, 2, 3), np.uint8), ns, frame_id="imu").header)
    imu.orientation_covariance[0] = -1.0
    force = 9.9 * TILTED.inv().apply(UP) + shake
    imu.linear_acceleration = Vector3(**dict(zip("xyz", force.tolist(), strict=True)))
    return imu


def with_orientation(ns: int, quat: np.ndarray) -> Imu:
    imu = reading(ns, shake=5.0)  # it may drive
    imu.orientation = Quaternion(**dict(zip("xyzw", quat.tolist(), strict=True)))
    imu.orientation_covariance = np.eye(3).ravel()
    return imu


def gravity_of(*readings: Imu) -> Gravity:
    mount = np.eye(4)
    mount[:3, :3] = OPTICAL.inv().as_matrix()
    robot = UnknownRobot()
    robot.pose_of = lambda frame, header: mount  # type: ignore[method-assign]
    gravity = Gravity(GravitySettings("imu"), "base_link", robot)
    for imu in readings:
        gravity.keep(imu)
    return gravity


RESTING = [reading(10**9 + k * 10**7) for k in range(-20, 3)]


@pytest.mark.parametrize("readings", [[with_orientation(10**9 - 10**8, TILTED.as_quat())], RESTING])
def test_an_imu_says_where_up_is(readings: list[Imu]) -> None:
    up = gravity_of(*readings).up(IMAGE.header)
    np.testing.assert_allclose(up, OPTICAL.inv().apply(TILTED.inv().apply(UP)), atol=1e-9)


def unfilled(ns: int) -> Imu:
    imu = reading(ns, shake=5.0)
    imu.orientation, imu.orientation_covariance = Quaternion(), np.zeros(9)
    return imu


def turning(ns: int) -> Imu:
    imu = reading(ns)
    imu.angular_velocity.z = 0.5
    return imu


@pytest.mark.parametrize(
    "readings",
    [
        [],
        [with_orientation(10**9 + 3 * 10**8, TILTED.as_quat())],
        RESTING[:3],
        [*RESTING, reading(10**9, shake=5.0)],
        [turning(10**9 + k) for k in range(10)],
        [unfilled(10**9 + k) for k in range(10)],
        [with_orientation(10**9, np.zeros(4))],
    ],
    ids=["none", "late", "few", "shaken", "turning", "unfilled", "zero quaternion"],
)
def test_what_says_nothing_is_waited_for(readings: list[Imu]) -> None:
    with pytest.raises(BadInputError, match=r"gravity is unknown"):
        gravity_of(*readings).up(IMAGE.header)


def test_a_mount_that_is_not_known_is_waited_for() -> None:
    with pytest.raises(BadInputError, match=f"no transform from base_link to {OPTICAL_FRAME}"):
        Gravity(GravitySettings("tf"), "base_link", UnknownRobot()).up(IMAGE.header)


def test_a_level_map_stays_so_until_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    rig, other = Rig(), Rig()
    up = np.array((0.1, -0.8, 0.3))
    monkeypatch.setattr(rig.stream.gravity, "up", lambda header: up / np.linalg.norm(up))
    rig.push(1)
    first = rig.stream.latest.camera_from_world[:, :3]  # nearly the origin
    rig.push(1)
    pose, matrix = rig.stream.latest.pose, rig.stream.placement.matrix()
    assert pose[2, 3] != rig.stream.latest.camera_from_world[1, 3]
    expected = np.arccos(-(first.T @ up)[1] / np.linalg.norm(up))
    assert rig.stream.placement.tilt == pytest.approx(expected, abs=1e-5)
    other.stream.load_state_dict(rig.stream.state_dict())
    np.testing.assert_array_equal(other.stream.placement.matrix(), matrix)
    rig.stream.reset("asked to")
    assert rig.stream.placement.tilt == 0


@pytest.mark.ros
@pytest.mark.parametrize("source", ["tf", "imu"])
def test_the_map_of_a_tilted_camera_is_level(listener: Listener, spawn: Spawn, source: str) -> None:
    """A camera that looks 0.4 rad down and is rolled by 0.2; no map before it is known how."""
    arguments = f"gravity.source:={source}", "tf.mode:=none"
    spawn("stream_node", "--ros-args", *(f for a in arguments for f in ("-p", a)))
    odometry = listener.listen(Odometry, f"{NODE}/odometry")
    camera, image = Camera(listener), film(1, 112, 112)[0]
    camera.wait_for_node()
    refused = camera.send(image_message(image, 10**9))
    assert (refused.outcome, refused.frame_index) == (REJECTED, 0)
    mounted = Rotation.from_euler("YX", (0.4, 0.2)) * OPTICAL  # base_link, or the IMU, from optical
    parent = {"tf": "base_link", "imu": "imu_link"}[source]
    static = StaticTransformBroadcaster(listener.node)
    static.sendTransform([transform(parent, OPTICAL_FRAME, 0.2, mounted)])
    imu_publisher = listener.node.create_publisher(Imu, "/imu", 10)
    status, stamp_ns = refused, 10**9
    while status.outcome == REJECTED:  # until all of it has arrived
        stamp_ns += 10**8
        imu = with_orientation(
            stamp_ns, np.array((0.0, 0.0, 0.6, 0.8))
        )  # level, whatever its heading
        imu.header.frame_id = "imu_link"
        imu_publisher.publish(imu)
        listener.spin_for(0.1)
        status = camera.send(image_message(image, stamp_ns))
        assert stamp_ns < 10**11, status.last_rejection
    assert (status.outcome, status.gravity_source) == (PROCESSED, source)
    assert status.first_camera_tilt == pytest.approx(np.arccos(np.cos(0.4) * np.cos(0.2)), abs=0.02)
    listener.spin_until(lambda: bool(odometry))
    q = odometry[-1].pose.pose.orientation
    optical = Rotation.from_quat((q.x, q.y, q.z, q.w))
    np.testing.assert_allclose((optical * mounted.inv()).apply(UP), UP, atol=1e-6)
