# SPDX-License-Identifier: Apache-2.0
"""The transforms of every mode, as a real tf2 buffer hears them in another process."""

from collections.abc import Callable

import numpy as np
import pytest
from geometry_msgs.msg import TransformStamped
from nav_msgs.msg import Odometry
from rcl_interfaces.msg import Log
from rclpy.time import Time
from scipy.spatial.transform import Rotation
from std_srvs.srv import Trigger
from tf2_msgs.msg import TFMessage
from tf2_ros import Buffer, StaticTransformBroadcaster, TransformBroadcaster, TransformListener

from infinitevggt_ros.pose_messages import matrix_from_transform
from support.camera import OPTICAL_FRAME, Camera, Spawn, film, image_message
from support.listening import Listener
from support.node_process import NODE, call
from support.transforms import OPTICAL, transform

pytestmark = pytest.mark.ros


class Robot:
    """A camera 0.2 before base_link, wheel odometry if wanted, and a node in the given mode."""

    def __init__(self, listener: Listener, spawn: Spawn, mode: str, has_odometry: bool) -> None:
        self.listener = listener
        node = listener.node
        self.tf = listener.listen(TFMessage, "/tf")
        self.buffer = Buffer()
        self._heard = TransformListener(self.buffer, node)
        self._static = StaticTransformBroadcaster(node)
        self._odometry = TransformBroadcaster(node) if has_odometry else None
        self.odometry = listener.listen(Odometry, f"{NODE}/odometry")
        self.logs = listener.listen(Log, "/rosout")
        self._static.sendTransform([transform("base_link", OPTICAL_FRAME, 0.2, OPTICAL)])
        arguments = [*mode.split(), "tf.require_metres:=false"]
        spawn("stream_node", "--ros-args", *(f for a in arguments for f in ("-p", a)))
        self.camera = Camera(listener)
        self.camera.wait_for_node()
        listener.meet(NODE)
        self._count = 0

    def drive(self, count: int) -> None:
        """Frames of a walk; odometry says 3 along x."""
        for image in film(count, 112, 112):
            self._count += 1
            message = image_message(image, 10**9 + self._count)
            if self._odometry is not None:
                moved = transform("odom", "base_link", 3.0, Rotation.identity())
                moved.header.stamp = message.header.stamp
                self._odometry.sendTransform(moved)
                self.listener.spin_for(0.1)
            self.camera.send(message)
        self.listener.spin_until(lambda: len(self.odometry) == self._count)

    def lookup(self, parent: str, child: str) -> np.ndarray:
        found: list[TransformStamped] = []

        def there() -> bool:
            if self.buffer.can_transform(parent, child, Time()):
                found.append(self.buffer.lookup_transform(parent, child, Time()))
            return bool(found)

        self.listener.spin_until(there)
        return matrix_from_transform(found[-1].transform)

    @property
    def expected(self) -> np.ndarray:
        """map from base_link, by the odometry message: of another way through the node."""
        pose = self.odometry[-1].pose.pose
        map_from_optical = np.eye(4)
        q, p = pose.orientation, pose.position
        map_from_optical[:3, :3] = Rotation.from_quat((q.x, q.y, q.z, q.w)).as_matrix()
        map_from_optical[:3, 3] = p.x, p.y, p.z
        base_from_optical = np.eye(4)
        base_from_optical[:3, :3] = OPTICAL.as_matrix()
        base_from_optical[0, 3] = 0.2
        return map_from_optical @ np.linalg.inv(base_from_optical)

    def edges(self) -> set[tuple[str, str]]:
        return {(t.header.frame_id, t.child_frame_id) for m in self.tf for t in m.transforms}


MakeRobot = Callable[[str, bool], Robot]


@pytest.fixture
def robot(listener: Listener, spawn: Spawn) -> MakeRobot:
    return lambda mode, has_odometry: Robot(listener, spawn, mode, has_odometry)


def test_map_to_odom_corrects_the_odometry_and_is_sent_again(robot: MakeRobot) -> None:
    driven = robot("tf.mode:=map_to_odom tf.tolerance:=0.5", True)
    driven.drive(3)
    assert driven.edges() == {("odom", "base_link"), ("map", "odom")}
    count = len(driven.tf)
    driven.listener.spin_until(lambda: len(driven.tf) > count + 5)
    last = driven.tf[-1].transforms[0].header.stamp
    now_ns = driven.listener.node.get_clock().now().nanoseconds
    ahead_s = (last.sec * 10**9 + last.nanosec - now_ns) / 1e9
    assert 0 < ahead_s <= 0.5
    odom_from_base = np.eye(4)
    odom_from_base[0, 3] = 3.0
    map_from_odom = driven.lookup("map", "odom")
    np.testing.assert_allclose(map_from_odom @ odom_from_base, driven.expected, atol=1e-6)


@pytest.mark.parametrize("invert", ["", " tf.invert:=true"])
def test_map_to_base_is_the_place_of_the_robot(robot: MakeRobot, invert: str) -> None:
    driven = robot("tf.mode:=map_to_base" + invert, False)
    driven.drive(2)
    edge = ("base_link", "map") if invert else ("map", "base_link")
    assert driven.edges() == {edge}
    np.testing.assert_allclose(driven.lookup("map", "base_link"), driven.expected, atol=1e-6)


def test_odometry_goes_on_where_it_was_when_the_map_starts_again(robot: MakeRobot) -> None:
    driven = robot("tf.mode:=odom_to_base", False)
    driven.drive(4)
    before = driven.lookup("odom", "base_link")
    np.testing.assert_allclose(before, driven.expected, atol=1e-6)
    call(driven.listener, Trigger, "reset", Trigger.Request())
    driven.drive(1)
    assert not np.allclose(driven.expected, before, atol=1e-6), "the map did jump"
    np.testing.assert_allclose(driven.lookup("odom", "base_link"), before, atol=1e-6)
    assert driven.edges() == {("odom", "base_link")}


def test_a_frame_never_gets_a_second_parent(robot: MakeRobot) -> None:
    driven = robot("tf.mode:=map_to_base", True)
    driven.drive(3)
    assert driven.edges() == {("odom", "base_link")}
    driven.listener.spin_until(
        lambda: any("base_link has the parent odom already" in log.msg for log in driven.logs)
    )


def test_none_publishes_nothing(robot: MakeRobot) -> None:
    driven = robot("tf.mode:=none", False)
    driven.drive(2)
    assert driven.edges() == set()
