# SPDX-License-Identifier: Apache-2.0
"""Stand-in for tf2_ros, only what infinitevggt_ros calls: the buffer of transforms."""

from threading import Condition

import numpy as np
from geometry_msgs.msg import TransformStamped
from rclpy.duration import Duration
from rclpy.logging import get_logger
from rclpy.node import Node
from rclpy.time import Time

from tf2_ros.exceptions import TransformException
from tf2_ros.history import Sample
from tf2_ros.pose import Pose
from tf2_ros.tree import FrameTree

DEFAULT_CACHE_TIME = Duration(seconds=10.0)
NO_WAIT = Duration()


class Buffer:
    """The transforms of the last `cache_time`; any thread may fill it and any may ask."""

    def __init__(self, cache_time: Duration | None = None, node: Node | None = None) -> None:
        """`node` names the logger; the genuine package also offers a service on it."""
        self._tree = FrameTree((cache_time or DEFAULT_CACHE_TIME).nanoseconds)
        self._changed = Condition()
        self._logger = node.get_logger() if node else get_logger("tf2_buffer")

    def set_transform(self, transform: TransformStamped, authority: str) -> None:
        """Stores the pose of child_frame_id in header.frame_id; a bad one is logged instead."""
        self._insert(transform, authority, is_static=False)

    def set_transform_static(self, transform: TransformStamped, authority: str) -> None:
        """The same, for all times."""
        self._insert(transform, authority, is_static=True)

    def lookup_transform(
        self, target_frame: str, source_frame: str, time: Time, timeout: Duration = NO_WAIT
    ) -> TransformStamped:
        """target_from_source at `time`; Time() is the latest that all frames on the way have.

        Waits up to `timeout` (wall time) for it, then raises a TransformException.
        """
        with self._changed:
            self._wait(target_frame, source_frame, time, timeout)
            pose, stamp_ns = self._tree.lookup(target_frame, source_frame, time.nanoseconds)
        result = TransformStamped(child_frame_id=source_frame, transform=pose.to_message())
        result.header.frame_id = target_frame
        result.header.stamp.sec, result.header.stamp.nanosec = divmod(stamp_ns, 10**9)
        return result

    def can_transform(
        self,
        target_frame: str,
        source_frame: str,
        time: Time,
        timeout: Duration = NO_WAIT,
        return_debug_tuple: bool = False,
    ) -> int | tuple[int, str]:
        """1 if lookup_transform would return, else 0; with the reason as a tuple if asked."""
        with self._changed:
            self._wait(target_frame, source_frame, time, timeout)
            problem = self._problem(target_frame, source_frame, time)
        return (int(not problem), problem) if return_debug_tuple else int(not problem)

    def clear(self) -> None:
        """Forgets all but the static transforms."""
        with self._changed:
            self._tree.clear()

    def all_frames_as_yaml(self) -> str:
        """Mapping of each child frame to its parent, broadcaster, rate and times in seconds."""
        with self._changed:
            histories = self._tree.histories()
            entries = []
            for child, history in histories.items():
                newest, oldest = history.newest, history.oldest
                length = 0.0 if history.is_static else (newest.stamp_ns - oldest.stamp_ns) / 1e9
                entries.append(
                    f"{child}: \n"
                    f"  parent: '{newest.parent}'\n"
                    f"  broadcaster: '{newest.authority}'\n"
                    f"  rate: {len(history) / max(length, 1e-4):.3f}\n"
                    f"  most_recent_transform: {newest.stamp_ns / 1e9:.3f}\n"
                    f"  oldest_transform: {oldest.stamp_ns / 1e9:.3f}\n"
                    f"  buffer_length: {length:.3f}\n"
                )
        return "".join(entries) or "{}"

    def _insert(self, transform: TransformStamped, authority: str, is_static: bool) -> None:
        parent = transform.header.frame_id.removeprefix("/")
        child = transform.child_frame_id.removeprefix("/")
        if fault := find_fault(parent, child, transform):
            self._logger.error(f"{fault}: ignoring transform of '{child}' from '{authority}'")
            return
        # not by way of rclpy's Time, which refuses stamps before 1970
        stamp_ns = transform.header.stamp.sec * 10**9 + transform.header.stamp.nanosec
        sample = Sample(stamp_ns, parent, authority, Pose.from_message(transform.transform))
        with self._changed:
            is_new = self._tree.insert(child, sample, is_static)
            self._changed.notify_all()
        if not is_new:
            self._logger.warning(f"TF_OLD_DATA ignoring data from the past for frame {child}")

    def _problem(self, target: str, source: str, time: Time) -> str:
        try:
            self._tree.lookup(target, source, time.nanoseconds)
        except TransformException as problem:
            return str(problem)
        return ""

    def _wait(self, target: str, source: str, time: Time, timeout: Duration) -> None:
        if timeout.nanoseconds > 0:
            self._changed.wait_for(
                lambda: not self._problem(target, source, time), timeout.nanoseconds / 1e9
            )


def find_fault(parent: str, child: str, transform: TransformStamped) -> str:
    """tf2's name of what makes a transform unusable; empty if nothing does."""
    t, q = transform.transform.translation, transform.transform.rotation
    quaternion = np.array([q.x, q.y, q.z, q.w])
    if child == parent:
        return "TF_SELF_TRANSFORM"
    if not child:
        return "TF_NO_CHILD_FRAME_ID"
    if not parent:
        return "TF_NO_FRAME_ID"
    if not np.isfinite([t.x, t.y, t.z, *quaternion]).all():
        return "TF_NAN_INPUT"
    if not 0.0 < quaternion @ quaternion < np.inf:  # any other length is normalized
        return "TF_DENORMALIZED_QUATERNION"
    return ""
