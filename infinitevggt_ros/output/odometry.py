# SPDX-License-Identifier: Apache-2.0
"""nav_msgs/Odometry of one camera, as robot_localization can use it."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from infinitevggt_ros.input.robot import Robot
from infinitevggt_ros.message_maker import ROS, MessageMaker
from infinitevggt_ros.output.covariance import UNKNOWN, Covariance, bounded, unknown
from infinitevggt_ros.output.frame_result import FramePose
from infinitevggt_ros.params.settings import OdometrySettings
from infinitevggt_ros.pose_messages import pose_from_matrix

QUATERNION = "geometry_msgs/msg/Quaternion"
LONGEST_STEP_S = 1.0
"""Velocity between poses that are further apart in time is unknown."""


@dataclass(frozen=True, slots=True, eq=False)
class _Placed:
    """Pose of the child frame at one image."""

    child: str
    stamp_ns: int
    pose: NDArray[np.float64]  # 4 x 4, without the jumps of loop closures
    orientation: Any = None  # geometry_msgs/Quaternion as it was published; None at first


class OdometryMessages:
    """Pose of the robot's base in the map where its tree is known, else of the optical frame.

    The twist is that between consecutive poses, in the child frame.
    """

    def __init__(
        self,
        map_frame: str,
        base_frame: str,
        robot: Robot,
        settings: OdometrySettings,
        maker: MessageMaker = ROS,
    ) -> None:
        """maker: of the messages; by default they are those of the sourced ROS."""
        self._maker = maker
        self._map_frame, self._base_frame = map_frame, base_frame
        self._robot, self._settings = robot, settings
        self._before: _Placed | None = None

    def reset(self) -> None:
        """Start with another map: the next message has no velocity."""
        self._before = None

    def state_dict(self) -> dict[str, Any]:
        """Return a snapshot of plain numbers and tensors."""
        before = self._before
        if before is None:
            return {}
        pose = torch.from_numpy(before.pose)
        q = before.orientation
        quat = [] if q is None else [q.x, q.y, q.z, q.w]
        return {"child": before.child, "stamp_ns": before.stamp_ns, "pose": pose, "quat": quat}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a snapshot."""
        self._before = None
        if state:
            quat = dict(zip("xyzw", state["quat"], strict=bool(state["quat"])))
            orientation = self._maker.make(QUATERNION, **quat) if quat else None
            pose = state["pose"].numpy()
            self._before = _Placed(state["child"], state["stamp_ns"], pose, orientation)

    def message(self, result: FramePose) -> Any:
        """Return the nav_msgs/Odometry of a frame whose pose is finite."""
        optical_from_base = self._optical_from_base(result)
        child = result.header.frame_id if optical_from_base is None else self._base_frame
        pose = result.pose if optical_from_base is None else result.pose @ optical_from_base
        stamp = result.header.stamp
        header = self._maker.make("std_msgs/msg/Header", stamp=stamp, frame_id=self._map_frame)
        message = self._maker.make("nav_msgs/msg/Odometry", header=header, child_frame_id=child)
        before = None if self._before is None else self._before.orientation
        message.pose.pose = pose_from_matrix(pose, before, self._maker)
        message.pose.covariance = bounded(moved_covariance(result, pose[:3, 3]))
        continuous = result.odom_pose
        if optical_from_base is not None:
            continuous = continuous @ optical_from_base
        now = _Placed(child, result.stamp_ns, continuous, message.pose.pose.orientation)
        self._fill_twist(message, now, result)
        return message

    def _optical_from_base(self, result: FramePose) -> NDArray[np.float64] | None:
        """Return the base in the optical frame; None if unknown, or if lengths are not metres."""
        if not result.is_metric or self._base_frame == result.header.frame_id:
            return None
        return self._robot.pose_of(self._base_frame, result.header)

    def _fill_twist(self, message: Any, now: _Placed, result: FramePose) -> None:
        before, self._before = self._before, now
        elapsed_s = 0.0 if before is None else (now.stamp_ns - before.stamp_ns) / 1e9
        if before is None or before.child != now.child or not 0 < elapsed_s <= LONGEST_STEP_S:
            message.twist.covariance = bounded(unknown())
            return
        step = np.linalg.inv(before.pose) @ now.pose
        turn = Rotation.from_matrix(step[:3, :3]).as_rotvec()
        # of the step, in the axes of the child as it is now
        linear = step[:3, :3].T @ step[:3, 3] / elapsed_s
        angular = turn / elapsed_s
        twist = message.twist.twist
        twist.linear.x, twist.linear.y, twist.linear.z = linear.tolist()
        twist.angular.x, twist.angular.y, twist.angular.z = angular.tolist()
        settings, length = self._settings, float(np.linalg.norm(step[:3, 3]))
        stds = np.repeat(
            (
                settings.position_std * result.scale + settings.position_drift * length,
                settings.rotation_std + settings.rotation_drift * length / result.scale,
            ),
            3,
        )
        variances = (stds / elapsed_s) ** 2
        variances[:3] += 0.0 if result.is_metric else UNKNOWN
        message.twist.covariance = bounded(np.diag(variances))


def moved_covariance(result: FramePose, position: NDArray[np.float64]) -> Covariance:
    """Return the covariance of a point that is rigidly fixed to the camera.

    position: (3,) of the point in the map. Its covariance follows from that of the optical frame
    and the lever arm between them.
    """
    x, y, z = position - result.pose[:3, 3]
    jacobian = np.eye(6)
    jacobian[:3, 3:] = -np.array([(0, -z, y), (z, 0, -x), (-y, x, 0)])
    return np.asarray(jacobian @ result.covariance @ jacobian.T)
