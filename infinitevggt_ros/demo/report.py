# SPDX-License-Identifier: Apache-2.0
"""Files to look at, from a bag of images and the recording of what the node made of it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from cv_bridge import CvBridge
from nav_msgs.msg import Odometry
from numpy.typing import NDArray
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import CompressedImage, Image, PointCloud2
from sensor_msgs_py import point_cloud2

from infinitevggt_core.io.ply import write_ply
from infinitevggt_core.io.tum import IN_THE_MAP, write_tum
from infinitevggt_ros.bags.reader import BagReader
from infinitevggt_ros.demo.comparison import compare
from infinitevggt_ros.demo.overview import draw_overview
from infinitevggt_ros.demo.run import DEPTH, MAP, ODOMETRY, STATUS
from infinitevggt_ros.errors import CommandError
from infinitevggt_ros.input.image_conversion import rgb_from_compressed, rgb_from_image, stamp_ns
from infinitevggt_ros.msg import StreamStatus
from infinitevggt_ros.output.messages import unpacked_rgb


@dataclass(frozen=True, slots=True)
class Recording:
    """What a result bag holds, as arrays."""

    stamps_ns: list[int]
    positions: NDArray[np.float64]
    """(N, 3), in the map, stream unit."""
    quats_xyzw: NDArray[np.float64]
    """(N, 4)."""
    points: NDArray[np.float32]
    """(M, 3) of the last fused map."""
    colors: NDArray[np.float32]
    """(M, 3) RGB in [0, 1]."""
    confidences: NDArray[np.float32]
    """(M,)."""
    depth: NDArray[np.float32]
    """(H, W) of the last image."""
    depth_stamp_ns: int
    statuses: list[StreamStatus]


def write_report(bag: Path, image_topic: str, recording: Path, out: Path) -> str:
    """trajectory.tum, map.ply and overview.png in `out`; returns a summary in a few lines."""
    result = read_recording(recording)
    write_tum(out / "trajectory.tum", result.stamps_ns, result.positions, result.quats_xyzw)
    write_ply(out / "map.ply", result.points, result.colors, result.confidences, IN_THE_MAP)
    image = read_image(bag, image_topic, result.depth_stamp_ns)
    last = result.statuses[-1]
    note = "RANDOM WEIGHTS: this geometry means nothing" if last.random_weights else ""
    comparison = compare(bag, image_topic, recording, DEPTH, result)
    draw_overview(out / "overview.png", image, result, comparison, note)
    used = [status.inference_ms for status in result.statuses if status.inference_ms > 0]
    lines = [
        f"{last.frames_processed} images used, {last.frames_rejected} refused, "
        f"{last.frames_dropped} dropped; {np.median(used):.0f} ms a frame on {last.device}",
        f"memory: {sum(last.stored_tokens)} tokens, {last.memory_bytes / 1e6:.1f} MB, "
        f"policy {last.policy}; map: {len(result.points)} points",
        f"{out}: {recording.name}, trajectory.tum, map.ply, overview.png",
    ]
    if comparison:
        lines.append(f"against the truth in the bag: {comparison}")
    return "\n".join([*([note] if note else []), *lines])


def read_recording(path: Path) -> Recording:
    """The arrays of a result bag. Raises CommandError where the node published no pose."""
    kinds = {ODOMETRY: Odometry, DEPTH: Image, STATUS: StreamStatus, MAP: PointCloud2}
    messages: dict[str, list[Any]] = {topic: [] for topic in kinds}
    with BagReader(path) as reader:
        for topic, _, serialized in reader.messages(list(kinds)):
            if topic in (DEPTH, MAP):  # large, and the last one is enough
                messages[topic].clear()
            messages[topic].append(deserialize_message(serialized, kinds[topic]))
    for topic, found in messages.items():
        if not found:
            raise CommandError(f"{path} has nothing on {topic}: look at the node's warnings above")
    poses = [odometry.pose.pose for odometry in messages[ODOMETRY]]
    cloud, depth = messages[MAP][-1], messages[DEPTH][-1]
    names = ["x", "y", "z", "rgb", "confidence"]
    rows = point_cloud2.read_points_numpy(cloud, names)
    return Recording(
        [stamp_ns(odometry) for odometry in messages[ODOMETRY]],
        np.array([[p.position.x, p.position.y, p.position.z] for p in poses]),
        np.array([[getattr(p.orientation, axis) for axis in "xyzw"] for p in poses]),
        rows[:, :3],
        unpacked_rgb(rows[:, 3]),
        rows[:, 4],
        CvBridge().imgmsg_to_cv2(depth),
        stamp_ns(depth),
        messages[STATUS],
    )


def read_image(bag: Path, topic: str, wanted_ns: int) -> NDArray[np.uint8]:
    """(H, W, 3) RGB of the image with this stamp."""
    compressed = topic.endswith("/compressed")
    kind = CompressedImage if compressed else Image
    convert = rgb_from_compressed if compressed else rgb_from_image
    with BagReader(bag) as reader:
        for _, _, serialized in reader.messages([topic]):
            message = deserialize_message(serialized, kind)
            if stamp_ns(message) == wanted_ns:
                return convert(message, CvBridge())
    raise CommandError(f"{bag} has no image of stamp {wanted_ns} ns on {topic}")
