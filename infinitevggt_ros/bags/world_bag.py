# SPDX-License-Identifier: Apache-2.0
"""Write a synthetic world as a bag of a robot with a depth camera.

Frames (REP-103, REP-105): odom, the world; base_link, x forward and z up; camera_link, the same
axes at the camera; camera_optical_frame, z forward and y down.

Pixels: in the intrinsics of a world and in sensor_msgs/CameraInfo, (0, 0) is the centre of the
first pixel, so K is written unchanged. Its principal point (W / 2, H / 2) lies half a pixel right
of and below the centre of the image, as in rendering.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from rosbags.typesys import Stores, get_typestore

from infinitevggt_core.model.geometry import quaternion_from_rotation
from infinitevggt_core.worlds import World, WorldFrame
from infinitevggt_ros.bags.camera_messages import header_at, pinhole_info, raw_image
from infinitevggt_ros.bags.writer import BagWriter
from infinitevggt_ros.topics import DEPTH_TOPIC, IMAGE_TOPIC, INFO_TOPIC, ODOMETRY_TOPIC

OPTICAL_FRAME = "camera_optical_frame"
LINK_FROM_OPTICAL = np.array([[0, 0, 1], [-1, 0, 0], [0, -1, 0]], dtype=float)
"""Rotation: optical z is x of the link, optical x is -y, optical y is -z."""

_TOPICS = {
    "/tf_static": "tf2_msgs/msg/TFMessage",
    "/tf": "tf2_msgs/msg/TFMessage",
    ODOMETRY_TOPIC: "nav_msgs/msg/Odometry",
    INFO_TOPIC: "sensor_msgs/msg/CameraInfo",
    IMAGE_TOPIC: "sensor_msgs/msg/Image",
    DEPTH_TOPIC: "sensor_msgs/msg/Image",
}
_STORE = get_typestore(Stores.ROS2_KILTED)
_TYPES = _STORE.types
_TWIST_FRAMES = 0.125
"""Half the interval of the finite differences for velocities, in frames."""

Array = NDArray[np.float64]


class WorldBag:
    """Writes the frames of one world, `rate_hz` of them per second."""

    def __init__(self, bag: BagWriter, world: World, rate_hz: float) -> None:
        self._bag = bag
        self._trajectory = world.trajectory
        self._rate_hz = rate_hz
        # the base of a wheeled robot is on the floor; otherwise it is at the camera
        wheeled = self._trajectory.motion == "wheeled"
        height_m = self._trajectory.mount_height_m if wheeled else 0.0
        self._link_in_base = np.array([0.1, 0.0, height_m])
        for topic, type_name in _TOPICS.items():
            bag.add_topic(topic, type_name, latched=topic == "/tf_static")

    def write_static(self, stamp_ns: int) -> None:
        """Write the transforms base_link -> camera_link -> camera_optical_frame."""
        upright, moved = np.eye(3), np.zeros(3)
        link = _transform("base_link", "camera_link", upright, self._link_in_base, stamp_ns)
        optical = _transform("camera_link", OPTICAL_FRAME, LINK_FROM_OPTICAL, moved, stamp_ns)
        self._append("/tf_static", stamp_ns, _type("/tf_static")([link, optical]))

    def write(self, index: int, frame: WorldFrame, stamp_ns: int) -> None:
        """Write one frame: pose, calibration, image and depth with the same stamp."""
        rotation, position = self._base(float(index))
        base = _transform("odom", "base_link", rotation, position, stamp_ns)
        self._append("/tf", stamp_ns, _type("/tf")([base]))
        self._append(ODOMETRY_TOPIC, stamp_ns, self._odometry(index, rotation, position, stamp_ns))
        matrix = frame.intrinsics.cpu().numpy()
        height, width = frame.depth.shape
        header = header_at(OPTICAL_FRAME, stamp_ns)
        info = pinhole_info(header, matrix, height, width)
        self._append(INFO_TOPIC, stamp_ns, info)
        rgb = (frame.image * 255).round().byte().permute(1, 2, 0).contiguous().cpu().numpy()
        self._append(IMAGE_TOPIC, stamp_ns, raw_image(header, rgb, "rgb8"))
        depth = frame.depth.contiguous().cpu().numpy().astype("<f4")
        self._append(DEPTH_TOPIC, stamp_ns, raw_image(header, depth, "32FC1"))

    def _base(self, time: float) -> tuple[Array, Array]:
        """Return the rotation (3, 3) and position (3,) of base_link in odom. time: in frames."""
        camera = self._trajectory.camera_from_world(torch.tensor([time]))[0].numpy()
        rotation = camera[:, :3].T @ LINK_FROM_OPTICAL.T
        return rotation, -camera[:, :3].T @ camera[:, 3] - rotation @ self._link_in_base

    def _odometry(self, index: int, rotation: Array, position: Array, stamp_ns: int) -> object:
        before, after = (self._base(index + d) for d in (-_TWIST_FRAMES, _TWIST_FRAMES))
        per_s = self._rate_hz / (2 * _TWIST_FRAMES)
        linear = rotation.T @ (after[1] - before[1]) * per_s
        turn = before[0].T @ after[0]
        angular = np.array([turn[2, 1], turn[0, 2], turn[1, 0]]) - np.array(
            [turn[1, 2], turn[2, 0], turn[0, 1]]
        )
        pose = _geometry("Pose")(_point(position), _quaternion(rotation))
        twist = _geometry("Twist")(_vector(linear), _vector(angular / 2 * per_s))
        return _type(ODOMETRY_TOPIC)(
            header=header_at("odom", stamp_ns),
            child_frame_id="base_link",
            pose=_geometry("PoseWithCovariance")(pose, np.zeros(36)),
            twist=_geometry("TwistWithCovariance")(twist, np.zeros(36)),
        )

    def _append(self, topic: str, stamp_ns: int, message: object) -> None:
        self._bag.write(topic, stamp_ns, _STORE.serialize_cdr(message, _TOPICS[topic]))


def _type(topic: str) -> type:
    return _TYPES[_TOPICS[topic]]


def _geometry(name: str) -> type:
    return _TYPES[f"geometry_msgs/msg/{name}"]


def _point(values: Array) -> object:
    return _geometry("Point")(*map(float, values))


def _vector(values: Array) -> object:
    return _geometry("Vector3")(*map(float, values))


def _quaternion(rotation: Array) -> object:
    quat_xyzw = quaternion_from_rotation(torch.from_numpy(np.ascontiguousarray(rotation)))
    return _geometry("Quaternion")(*quat_xyzw.tolist())


def _transform(
    parent: str, child: str, rotation: Array, translation: Array, stamp_ns: int
) -> object:
    """Return the pose of `child` in `parent`."""
    transform = _geometry("Transform")(_vector(translation), _quaternion(rotation))
    return _geometry("TransformStamped")(header_at(parent, stamp_ns), child, transform)
