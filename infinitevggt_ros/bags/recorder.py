# SPDX-License-Identifier: Apache-2.0
"""Record live topics into a bag."""

from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from threading import Lock
from typing import Any

from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.serialization import deserialize_message
from rclpy.subscription import Subscription
from tf2_msgs.msg import TFMessage

from infinitevggt_ros.bags.message_types import starts_with_header
from infinitevggt_ros.bags.reader import header_stamp_ns
from infinitevggt_ros.bags.writer import BagWriter
from infinitevggt_ros.errors import CommandError
from infinitevggt_ros.message_maker import message_class

QUEUE_DEPTH = 1000
"""Messages that may wait for the executor."""
LARGE_QUEUE_DEPTH = 50
"""The same for large messages, to bound memory."""
LARGE_TYPES = ("sensor_msgs/msg/Image", "sensor_msgs/msg/PointCloud2")


class BagRecorder:
    """Writes the serialized messages of `topics` into a bag as they arrive.

    The caller spins the node. The time of a message in the bag is the stamp of its header (of its
    first transform), or the node's time if it has none. A message that cannot be written ends the
    recording with an error in the node's log; close() then raises it.
    """

    def __init__(
        self,
        node: Node,
        topics: Mapping[str, type | str],
        path: Path | str,
        *,
        latched: Collection[str] = ("/tf_static",),
        last_only: Collection[str] = (),
        overwrite: bool = False,
    ) -> None:
        """topics: message class or type name (sensor_msgs/msg/Image) by topic.

        latched: topics to subscribe to as TRANSIENT_LOCAL. last_only: topics of which the bag holds
        the last message only, such as whole maps. path, overwrite: as in BagWriter.
        """
        types = {topic: _resolved(topic, given) for topic, given in topics.items()}
        self.counts = dict.fromkeys(types, 0)
        """Number of messages received, by topic."""
        self.error: Exception | None = None
        """Error that ended the recording, None while there is none."""
        self._last: dict[str, tuple[int, bytes] | None] = dict.fromkeys(last_only)
        self._node = node
        self._lock = Lock()
        self._closed = False
        self._writer = BagWriter(path, overwrite=overwrite)
        try:
            for topic, message_type in types.items():
                self._writer.add_topic(topic, _type_name(message_type), latched=topic in latched)
        except BaseException:
            self._writer.discard()
            raise
        self._group = MutuallyExclusiveCallbackGroup()
        self._subscriptions = [
            self._subscribe(topic, message_type, topic in latched)
            for topic, message_type in types.items()
        ]

    def close(self) -> None:
        """Stop and put the finished bag in its place. Raises CommandError if the recording ended
        early."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)
        if self.error is not None:
            self._writer.discard()
            raise CommandError(f"{self._writer.path} was not recorded: {self.error}")
        for topic, last in self._last.items():
            if last is not None:
                self._writer.write(topic, *last)
        self._writer.close()

    def _subscribe(self, topic: str, message_type: Any, latched: bool) -> Subscription:
        qos = QoSProfile(
            depth=LARGE_QUEUE_DEPTH if _type_name(message_type) in LARGE_TYPES else QUEUE_DEPTH,
            reliability=ReliabilityPolicy.RELIABLE,
            durability=DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE,
        )
        return self._node.create_subscription(
            message_type,
            topic,
            self._callback(topic, message_type),
            qos,
            callback_group=self._group,
            raw=True,
        )

    def _callback(self, topic: str, message_type: Any) -> Callable[[bytes], None]:
        stamp_of = _stamp_reader(message_type)

        def record(serialized: bytes) -> None:
            with self._lock:
                if self._closed or self.error is not None:
                    return
                try:
                    stamp_ns = stamp_of(serialized) or self._node.get_clock().now().nanoseconds
                    if topic in self._last:
                        self._last[topic] = stamp_ns, serialized
                    else:
                        self._writer.write(topic, stamp_ns, serialized)
                    self.counts[topic] += 1
                except Exception as error:  # raised here, it would end the node's executor
                    self.error = error
                    self._node.get_logger().error(f"recording stopped: {error}")

        return record


def _resolved(topic: str, given: type | str) -> Any:
    try:
        return message_class(given) if isinstance(given, str) else given
    except LookupError as error:
        raise CommandError(f"cannot record {topic}: {error}") from error


def _type_name(message_type: Any) -> str:
    package, kind, *_ = message_type.__module__.split(".")
    return f"{package}/{kind}/{message_type.__name__}"


def _stamp_reader(message_type: Any) -> Callable[[bytes], int]:
    """Return a function from a serialized message to its stamp (ns), 0 if it has none."""
    if starts_with_header(message_type):
        return header_stamp_ns
    if message_type is TFMessage:
        return _first_transform_stamp_ns
    return lambda _: 0


def _first_transform_stamp_ns(serialized: bytes) -> int:
    transforms = deserialize_message(serialized, TFMessage).transforms
    if not transforms:
        return 0
    stamp = transforms[0].header.stamp
    return int(stamp.sec) * 10**9 + int(stamp.nanosec)
