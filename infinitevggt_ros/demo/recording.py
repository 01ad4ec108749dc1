# SPDX-License-Identifier: Apache-2.0
"""Results of a node in a bag, as arrays."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from cv_bridge import CvBridge
from geometry_msgs.msg import Pose
from nav_msgs.msg import Odometry
from nav_msgs.msg import Path as PathMessage
from numpy.typing import NDArray
from rclpy.serialization import deserialize_message
from scipy.spatial.transform import Rotation
from sensor_msgs.msg import CompressedImage, Image, PointCloud2
from sensor_msgs_py import point_cloud2
from visualization_msgs.msg import MarkerArray

from infinitevggt_ros.bags.poses import BagPoses, plain_frame
from infinitevggt_ros.bags.reader import BagReader
from infinitevggt_ros.errors import CommandError
from infinitevggt_ros.input.image_conversion import rgb_from_compressed, rgb_from_image, stamp_ns
from infinitevggt_ros.msg import StreamStatus
from infinitevggt_ros.output.markers import KEYFRAMES, LINES_OF_A_KEYFRAME, LOOPS, lines_of
from infinitevggt_ros.output.messages import unpacked_rgb
from infinitevggt_ros.pose_messages import matrix_from_pose, pose_from_matrix
from infinitevggt_ros.topics import (
    NODE_DEPTH,
    NODE_MAP,
    NODE_MARKERS,
    NODE_ODOMETRY,
    NODE_PATH,
    NODE_STATUS,
)

KINDS = {
    NODE_ODOMETRY: Odometry,
    NODE_DEPTH: Image,
    NODE_STATUS: StreamStatus,
    NODE_MAP: PointCloud2,
}
MAYBE_KINDS = {NODE_PATH: PathMessage, NODE_MARKERS: MarkerArray}
"""Topics that a recording may lack."""


@dataclass(frozen=True, slots=True)
class Recording:
    """Contents of a result bag. Positions are in the map, in metres if the node knew the scale."""

    stamps_ns: list[int]
    positions: NDArray[np.float64]
    """Positions (N, 3) of the optical frame."""
    quats_xyzw: NDArray[np.float64]
    """Orientations (N, 4) of the optical frame."""
    points: NDArray[np.float32]
    """Points (M, 3) of the last fused map."""
    colors: NDArray[np.float32]
    """RGB (M, 3) in [0, 1]."""
    confidences: NDArray[np.float32]
    """Confidences (M,)."""
    depth: NDArray[np.float32]
    """Depth (H, W) of the last image."""
    depth_stamp_ns: int
    statuses: list[StreamStatus]
    corrected: NDArray[np.float64]
    """Poses (N, 7) as in the last path, after all corrections: position, quaternion xyzw."""
    keyframes: NDArray[np.float64]
    """Positions (K, 3) of the keyframes; empty where poses are not tracked."""
    loops: NDArray[np.float64]
    """Both ends (L, 2, 3) of each loop closure."""

    @property
    def camera_from_map(self) -> NDArray[np.float64]:
        """Poses (N, 3, 4) of the optical frame, as published with each image."""
        return _camera_from_map(self.positions, self.quats_xyzw)

    @property
    def corrected_camera_from_map(self) -> NDArray[np.float64]:
        """Poses (N, 3, 4) of the optical frame after all corrections."""
        return _camera_from_map(self.corrected[:, :3], self.corrected[:, 3:])


def read_recording(path: Path) -> Recording:
    """Read a result bag. Raises CommandError if the node published no pose."""
    messages: dict[str, list[Any]] = {topic: [] for topic in (*KINDS, *MAYBE_KINDS)}
    with BagReader(path) as reader:
        tree = BagPoses(reader)
        for topic, _, serialized in reader.messages(list(messages)):
            if topic in (NODE_DEPTH, NODE_MAP):  # large, and the last one is enough
                messages[topic].clear()
            kind = {**KINDS, **MAYBE_KINDS}[topic]
            messages[topic].append(deserialize_message(serialized, kind))
    statuses = [m for m in messages[NODE_STATUS] if m.outcome != StreamStatus.NO_IMAGE]
    waited_for = statuses[-1].waiting_for if statuses else ""
    for topic, found in messages.items():
        if not found and topic in KINDS:
            reason = f"the node waited for {waited_for}" if waited_for else "see its warnings above"
            raise CommandError(f"{path} has no message on {topic}: {reason}")
    cloud, depth = messages[NODE_MAP][-1], messages[NODE_DEPTH][-1]
    rows = point_cloud2.read_points_numpy(cloud, ["x", "y", "z", "rgb", "confidence"])
    stamps_ns = [stamp_ns(odometry) for odometry in messages[NODE_ODOMETRY]]
    optical = plain_frame(depth.header.frame_id)
    rows_live = [optical_row(odometry, optical, tree) for odometry in messages[NODE_ODOMETRY]]
    live = dict(zip(stamps_ns, rows_live, strict=True))
    final = {
        stamp_ns(stamped): _pose_row(stamped.pose)
        for path in messages[NODE_PATH][-1:]
        for stamped in path.poses
    }
    live_rows = np.array([live[ns] for ns in stamps_ns])
    markers = [marker for array in messages[NODE_MARKERS][-1:] for marker in array.markers]
    return Recording(
        stamps_ns,
        live_rows[:, :3],
        live_rows[:, 3:],
        rows[:, :3],
        unpacked_rgb(rows[:, 3]),
        rows[:, 4],
        CvBridge().imgmsg_to_cv2(depth),
        stamp_ns(depth),
        statuses,
        np.array([final.get(ns, live[ns]) for ns in stamps_ns]),
        lines_of(markers, KEYFRAMES)[::LINES_OF_A_KEYFRAME, 0].astype(np.float64),
        lines_of(markers, LOOPS).astype(np.float64),
    )


def optical_row(odometry: Odometry, optical: str, tree: BagPoses) -> list[float]:
    """Return position and quaternion xyzw of the optical frame; NaN if its place is unknown.

    The node gives the pose of the robot's base where it knows the tree and lengths are metres.
    """
    pose, body = odometry.pose.pose, plain_frame(odometry.child_frame_id)
    if body == optical:
        return _pose_row(pose)
    optical_from_root, body_from_root = (
        np.vstack((tree.camera_from_world(frame, stamp_ns(odometry)), (0, 0, 0, 1)))
        for frame in (optical, body)
    )
    map_from_optical = matrix_from_pose(pose) @ body_from_root @ np.linalg.inv(optical_from_root)
    if not np.isfinite(map_from_optical).all():
        return [np.nan] * 7
    return _pose_row(pose_from_matrix(map_from_optical))


def _pose_row(pose: Pose) -> list[float]:
    """Return position and quaternion xyzw."""
    place, turn = pose.position, pose.orientation
    return [place.x, place.y, place.z, turn.x, turn.y, turn.z, turn.w]


def _camera_from_map(
    positions: NDArray[np.float64], quats_xyzw: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return poses (N, 3, 4) from those of the camera in the map."""
    rotation = Rotation.from_quat(quats_xyzw).inv().as_matrix()
    return np.concatenate((rotation, -rotation @ positions[..., None]), axis=-1)


def read_depths(path: Path) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """Yield the stamp (ns) and the depth (H, W) of each image, in the order of stamps."""
    with BagReader(path) as reader:
        for _, _, serialized in reader.messages([NODE_DEPTH]):
            message = deserialize_message(serialized, Image)
            yield stamp_ns(message), np.asarray(CvBridge().imgmsg_to_cv2(message), dtype=np.float32)


def read_image(bag: Path, topic: str, wanted_ns: int) -> NDArray[np.uint8]:
    """Return the image (H, W, 3), RGB, with this stamp. Raises CommandError if there is none."""
    compressed = topic.endswith("/compressed")
    kind = CompressedImage if compressed else Image
    convert = rgb_from_compressed if compressed else rgb_from_image
    with BagReader(bag) as reader:
        for _, _, serialized in reader.messages([topic]):
            message = deserialize_message(serialized, kind)
            if stamp_ns(message) == wanted_ns:
                return convert(message, CvBridge())
    raise CommandError(f"{bag} has no image of stamp {wanted_ns} ns on {topic}")
