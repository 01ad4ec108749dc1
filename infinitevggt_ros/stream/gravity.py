# SPDX-License-Identifier: Apache-2.0
"""Where up is when a map begins, from an IMU or from the camera's mount (`gravity.source`)."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from rclpy.time import Time
from scipy.spatial.transform import Rotation
from sensor_msgs.msg import Imu
from std_msgs.msg import Header
from tf2_ros import TransformException

from infinitevggt_core.io.stamps import Recent
from infinitevggt_ros.input.image_conversion import stamp_ns
from infinitevggt_ros.input.image_gate import BadInputError
from infinitevggt_ros.params.settings import GravitySettings

KEPT = 2000
"""Latest readings: two seconds of a fast IMU."""
NEAR_NS = 200_000_000
"""Greatest time between an image and the reading that is taken for it."""
STILL_NS = 500_000_000
"""Accelerations of so long before it are averaged where the IMU gives no orientation."""
LEAST_READINGS = 5
G = 9.81
MOST_G_ERROR = 1.0
"""m/s^2, between their mean and gravity."""
MOST_SHAKE = 0.5
"""m/s^2, standard deviation of accelerations at rest."""
MOST_TURN = 0.1
"""rad/s at rest."""
Vector = NDArray[np.float64]
"""[3]."""


@dataclass(frozen=True, slots=True)
class Reading:
    """Of an IMU, in its own frame."""

    frame: str
    up: Vector | None
    """By its orientation; None: it has none."""
    force: Vector
    """m/s^2; at rest it points up."""
    turn: Vector
    """rad/s."""


class Gravity:
    """An image that cannot be told where up is begins no map."""

    def __init__(
        self,
        settings: GravitySettings,
        base_frame: str,
        pose_of: Callable[[str, Header], NDArray[np.float64]],
    ) -> None:
        """pose_of(frame, header): 4 x 4, a frame of the robot in the header's, at its stamp;
        raises TransformException."""
        self.settings = settings
        self._base_frame = base_frame
        self._pose_of = pose_of
        self._readings = Recent[Reading](KEPT)

    def keep(self, imu: Imu) -> None:
        """Take a message of the IMU, from the executor."""
        force, turn = imu.linear_acceleration, imu.angular_velocity
        reading = Reading(
            imu.header.frame_id,
            _up_of(imu),
            np.array((force.x, force.y, force.z)),
            np.array((turn.x, turn.y, turn.z)),
        )
        self._readings.add(stamp_ns(imu), reading)

    def up(self, header: Header) -> Vector | None:
        """[3] unit vector in the optical frame of an image's header; None where the camera is taken
        as level. Raises BadInputError while it is not known."""
        source = self.settings.source
        if source == "none":
            return None
        if source == "tf":
            frame, up = self._base_frame, np.array((0.0, 0.0, 1.0))
        else:
            frame, up = self._up_of_imu(header)
        try:
            rotation = self._pose_of(frame, header)[:3, :3]
        except TransformException as error:
            raise BadInputError("gravity", f"where up is, is not known: {error}") from error
        return np.asarray(rotation @ up)

    def _up_of_imu(self, header: Header) -> tuple[str, Vector]:
        """A frame, and [3] unit vector in it."""
        at_ns = Time.from_msg(header.stamp).nanoseconds
        nearest = self._readings.nearest(at_ns, NEAR_NS)
        if nearest is None:
            raise BadInputError("gravity", "no message on `imu` beside it says where up is")
        if nearest.up is not None:
            return nearest.frame, nearest.up
        recent = self._readings.between(at_ns - STILL_NS, at_ns + NEAR_NS)
        forces = np.array([r.force for r in recent])
        mean = forces.mean(axis=0)
        is_still = (
            len(recent) >= LEAST_READINGS
            and abs(np.linalg.norm(mean) - G) < MOST_G_ERROR
            and np.linalg.norm(forces.std(axis=0)) < MOST_SHAKE
            and max(np.linalg.norm(r.turn) for r in recent) < MOST_TURN
        )
        if not is_still:
            raise BadInputError(
                "gravity", "the IMU has no orientation and does not rest: keep the camera still"
            )
        return nearest.frame, mean / np.linalg.norm(mean)


def _up_of(imu: Imu) -> Vector | None:
    """By the orientation, which is that of the IMU in a level world (REP-145)."""
    q = imu.orientation
    quat = np.array((q.x, q.y, q.z, q.w))
    covariance = np.asarray(imu.orientation_covariance)
    is_default = quat.tolist() == [0, 0, 0, 1] and not covariance.any()  # nobody filled it in
    if covariance[0] == -1 or is_default or not abs(np.linalg.norm(quat) - 1) < 0.01:
        return None
    return np.asarray(Rotation.from_quat(quat).inv().apply((0.0, 0.0, 1.0)))
