# SPDX-License-Identifier: Apache-2.0
"""Results of a node in a bag, as arrays."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from cv_bridge import CvBridge
from nav_msgs.msg import Odometry
from numpy.typing import NDArray
from rclpy.serialization import deserialize_message
from scipy.spatial.transform import Rotation
from sensor_msgs.msg import CompressedImage, Image, PointCloud2
from sensor_msgs_py import point_cloud2

from infinitevggt_ros.bags.reader import BagReader
from infinitevggt_ros.errors import CommandError
from infinitevggt_ros.input.image_conversion import rgb_from_compressed, rgb_from_image, stamp_ns
from infinitevggt_ros.msg import StreamStatus
from infinitevggt_ros.output.messages import unpacked_rgb
from infinitevggt_ros.topics import NODE_DEPTH, NODE_MAP, NODE_ODOMETRY, NODE_STATUS

KINDS = {
    NODE_ODOMETRY: Odometry,
    NODE_DEPTH: Image,
    NODE_STATUS: StreamStatus,
    NODE_MAP: PointCloud2,
}


@dataclass(frozen=True, slots=True)
class Recording:
    """Contents of a result bag. Lengths are in stream units, positions in the map."""

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

    @property
    def camera_from_map(self) -> NDArray[np.float64]:
        """Poses (N, 3, 4) of the optical frame."""
        rotation = Rotation.from_quat(self.quats_xyzw).inv().as_matrix()
        return np.concatenate((rotation, -rotation @ self.positions[..., None]), axis=-1)


def read_recording(path: Path) -> Recording:
    """Read a result bag. Raises CommandError if the node published no pose."""
    messages: dict[str, list[Any]] = {topic: [] for topic in KINDS}
    with BagReader(path) as reader:
        for topic, _, serialized in reader.messages(list(KINDS)):
            if topic in (NODE_DEPTH, NODE_MAP):  # large, and the last one is enough
                messages[topic].clear()
            messages[topic].append(deserialize_message(serialized, KINDS[topic]))
    statuses = [m for m in messages[NODE_STATUS] if m.outcome != StreamStatus.NO_IMAGE]
    waited_for = statuses[-1].waiting_for if statuses else ""
    for topic, found in messages.items():
        if not found:
            reason = f"the node waited for {waited_for}" if waited_for else "see its warnings above"
            raise CommandError(f"{path} has no message on {topic}: {reason}")
    poses = [odometry.pose.pose for odometry in messages[NODE_ODOMETRY]]
    cloud, depth = messages[NODE_MAP][-1], messages[NODE_DEPTH][-1]
    rows = point_cloud2.read_points_numpy(cloud, ["x", "y", "z", "rgb", "confidence"])
    return Recording(
        [stamp_ns(odometry) for odometry in messages[NODE_ODOMETRY]],
        np.array([[p.position.x, p.position.y, p.position.z] for p in poses]),
        np.array([[getattr(p.orientation, axis) for axis in "xyzw"] for p in poses]),
        rows[:, :3],
        unpacked_rgb(rows[:, 3]),
        rows[:, 4],
        CvBridge().imgmsg_to_cv2(depth),
        stamp_ns(depth),
        statuses,
    )


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
