# SPDX-License-Identifier: Apache-2.0
"""Direction of gravity when a map begins, by an IMU or the camera's mount (`gravity.source`)."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from rclpy.time import Time
from scipy.spatial.transform import Rotation
from sensor_msgs.msg import Imu
from std_msgs.msg import Header

from infinitevggt_core.io.stamps import Recent
from infinitevggt_ros.input.image_conversion import stamp_ns
from infinitevggt_ros.input.image_gate import BadInputError
from infinitevggt_ros.input.robot import Robot
from infinitevggt_ros.params.settings import GravitySettings
from infinitevggt_ros.topics import frame_name

KEPT = 2000
"""Number of readings kept: two seconds of a fast IMU."""
NEAR_NS = 200_000_000
"""Largest time between an image and its reading."""
STILL_NS = 500_000_000
"""Time before an image over which accelerations are averaged if the IMU has no orientation."""
MIN_READINGS = 5
G = 9.81
MAX_G_ERROR = 1.0
"""Largest difference between the mean acceleration at rest and gravity, m/s^2."""
MAX_SHAKE = 0.5
"""Largest standard deviation of accelerations at rest, m/s^2."""
MAX_TURN_RATE = 0.1
"""Largest angular velocity at rest, rad/s."""
Vector = NDArray[np.float64]
"""[3]."""


@dataclass(frozen=True, slots=True)
class Reading:
    """Reading of an IMU, in its own frame."""

    frame: str
    up: Vector | None
    """Direction of up by the orientation; None if there is no orientation."""
    force: Vector
    """Specific force, m/s^2; it points up at rest."""
    turn_rate: Vector
    """Angular velocity, rad/s."""


class Gravity:
    """Direction of up in the first image of a map. Until it is known, images are rejected."""

    def __init__(self, settings: GravitySettings, base_frame: str, robot: Robot) -> None:
        self._settings = settings
        self._base_frame = frame_name(base_frame)
        self._robot = robot
        self._readings = Recent[Reading](KEPT)

    def keep(self, imu: Imu) -> None:
        """Store a reading of the IMU. Called in the executor."""
        force, turn_rate = imu.linear_acceleration, imu.angular_velocity
        reading = Reading(
            frame_name(imu.header.frame_id),
            _up_of(imu),
            np.array((force.x, force.y, force.z)),
            np.array((turn_rate.x, turn_rate.y, turn_rate.z)),
        )
        self._readings.add(stamp_ns(imu), reading)

    def up(self, header: Header) -> Vector | None:
        """Return up, [3] unit vector in the optical frame of an image's header.

        None if the first camera is taken as level. Raises BadInputError while up is unknown.
        """
        source = self._settings.source
        if source == "none":
            return None
        if source == "tf":
            frame, up = self._base_frame, np.array((0.0, 0.0, 1.0))
        else:
            frame, up = self._up_of_imu(header)
        pose = self._robot.pose_of(frame, header)
        if pose is None:
            raise BadInputError(
                "gravity", f"gravity is unknown: no transform from {frame} to {header.frame_id}"
            )
        return np.asarray(pose[:3, :3] @ up)

    def _up_of_imu(self, header: Header) -> tuple[str, Vector]:
        """Return a frame and up, [3] unit vector in it."""
        at_ns = Time.from_msg(header.stamp).nanoseconds
        nearest = self._readings.nearest(at_ns, NEAR_NS)
        if nearest is None:
            raise BadInputError(
                "gravity", "gravity is unknown: no message on `imu` near the image's stamp"
            )
        if nearest.up is not None:
            return nearest.frame, nearest.up
        recent = self._readings.between(at_ns - STILL_NS, at_ns + NEAR_NS)
        forces = np.array([r.force for r in recent])
        mean = forces.mean(axis=0)
        is_still = (
            len(recent) >= MIN_READINGS
            and abs(np.linalg.norm(mean) - G) < MAX_G_ERROR
            and np.linalg.norm(forces.std(axis=0)) < MAX_SHAKE
            and max(np.linalg.norm(r.turn_rate) for r in recent) < MAX_TURN_RATE
        )
        if not is_still:
            raise BadInputError(
                "gravity",
                "gravity is unknown: the IMU has no orientation and does not rest; keep the camera "
                "still",
            )
        return nearest.frame, mean / np.linalg.norm(mean)


def _up_of(imu: Imu) -> Vector | None:
    """Return up by the orientation of the IMU in a level world (REP-145); None if it has none."""
    q = imu.orientation
    quat = np.array((q.x, q.y, q.z, q.w))
    covariance = np.asarray(imu.orientation_covariance)
    is_default = quat.tolist() == [0, 0, 0, 1] and not covariance.any()  # nobody filled it in
    if covariance[0] == -1 or is_default or not abs(np.linalg.norm(quat) - 1) < 0.01:
        return None
    return np.asarray(Rotation.from_quat(quat).inv().apply((0.0, 0.0, 1.0)))
