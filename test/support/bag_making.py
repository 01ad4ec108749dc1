# SPDX-License-Identifier: Apache-2.0
"""Make small bags for tests, and read them with their own definitions."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rosbags.convert import convert
from rosbags.highlevel import AnyReader

from infinitevggt_ros.bags.image_bag import ImageBag
from infinitevggt_ros.bags.image_source import SourceImage
from infinitevggt_ros.bags.message_types import typestore_with
from infinitevggt_ros.bags.reader import BagReader
from infinitevggt_ros.bags.writer import BagWriter

Row = tuple[str, str, int, Any]
"""Topic, type name, receive time (ns) and message."""
Change = Callable[[str, str, int, Any], list[Row]]

IMAGE_TOPIC = "/camera/image_raw"
START_NS = 1_700_000_000_123_456_789


def noise(height: int, width: int, seed: int) -> np.ndarray:
    """(height, width, 3) uint8 that no compression or mix-up of images leaves as it is."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def stamp_ns(message: Any) -> int:
    """Stamp (ns) of a message's header."""
    return int(message.header.stamp.sec) * 10**9 + int(message.header.stamp.nanosec)


def write_image_bag(
    path: Path,
    count: int,
    *,
    rate_hz: int = 10,
    size: tuple[int, int] = (48, 64),
    topics: Sequence[str] = (IMAGE_TOPIC,),
) -> Path:
    """`count` images of noise (height, width) on each topic from START_NS on."""
    with BagWriter(path) as bag:
        cameras = [ImageBag(bag, topic) for topic in topics]
        for index in range(count):
            image = SourceImage(index, noise(*size, seed=index))
            for images in cameras:
                images.write(image, START_NS + index * 10**9 // rate_hz)
    return path


def write_string(bag: BagWriter, topic: str, stamp: int, text: str) -> None:
    """A std_msgs/String: small, and without a header."""
    store = typestore_with()
    message = store.types["std_msgs/msg/String"](text)
    bag.write(topic, stamp, store.serialize_cdr(message, "std_msgs/msg/String"))


def write_static_transform(bag: BagWriter, stamp: int, child: str) -> None:
    """A /tf_static message from `map` to `child`."""
    store = typestore_with()
    t = store.types
    header = t["std_msgs/msg/Header"](
        t["builtin_interfaces/msg/Time"](*divmod(stamp, 10**9)), "map"
    )
    transform = t["geometry_msgs/msg/Transform"](
        t["geometry_msgs/msg/Vector3"](1.0, 2.0, 3.0),
        t["geometry_msgs/msg/Quaternion"](0.0, 0.0, 0.0, 1.0),
    )
    stamped = t["geometry_msgs/msg/TransformStamped"](header, child, transform)
    message = t["tf2_msgs/msg/TFMessage"]([stamped])
    bag.write("/tf_static", stamp, store.serialize_cdr(message, "tf2_msgs/msg/TFMessage"))


def read_bag(path: Path) -> list[tuple[str, int, Any]]:
    """Topic, stamp (ns) and message, decoded with nothing but the bag's own definitions."""
    with AnyReader([path]) as bag:
        return [
            (connection.topic, stamp, bag.deserialize(raw, connection.msgtype))
            for connection, stamp, raw in bag.messages()
        ]


def edited(bag: Path, path: Path, change: Change) -> Path:
    """A copy in which each message is replaced by what `change` returns: (topic, type, message)."""
    store = typestore_with()
    with BagReader(bag) as reader, BagWriter(path) as writer:
        added: set[str] = set()
        for topic, at_ns, data in reader.messages():
            kind = reader.topics[topic]
            message = store.deserialize_cdr(data, kind)
            for new_topic, new_kind, new_at_ns, new in change(topic, kind, at_ns, message):
                if new_topic not in added:
                    added.add(new_topic)
                    writer.add_topic(new_topic, new_kind)
                writer.write(new_topic, new_at_ns, store.serialize_cdr(new, new_kind))
    return path


def converted(bag: Path, path: Path, **options: Any) -> None:
    """A copy in another form: ROS 1 where `path` ends in .bag, else a rosbag2 directory."""
    defaults = {"dst_storage": "sqlite3", "dst_version": 9, "compress": None}
    defaults |= {"compress_mode": "file", "default_typestore": None, "typestore": None}
    lists = ("exclude_topics", "include_topics", "exclude_msgtypes", "include_msgtypes")
    convert([bag], path, **{**defaults, **dict.fromkeys(lists, ()), **options})
