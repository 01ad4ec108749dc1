# SPDX-License-Identifier: Apache-2.0
"""Reading bags: serialized messages in the order of their stamps, errors a user can mend."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

from rosbags.interfaces import Connection, ConnectionExtRosbag1, QosDurability
from rosbags.rosbag2 import Reader

from infinitevggt_ros.bags.ros1 import Ros1Bag
from infinitevggt_ros.errors import CommandError

IMAGE_TYPES = ("sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage")


class BagReader:
    """A ROS 2 bag: a rosbag2 directory, or a single .mcap or .db3 file; or a ROS 1 .bag file.

    Messages stay serialized, so reading needs no message definitions; those of ROS 1 are turned
    into what ROS 2 would have recorded. Use it as a context
    manager. What is wrong with a bag is raised as `CommandError`.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        _refuse_what_is_no_bag(self.path)
        with _damage_explained(self.path):
            self._reader = Ros1Bag(self.path) if self.path.suffix == ".bag" else Reader(self.path)
            self._reader.open()
        if not self._reader.message_count:
            self._reader.close()
            raise CommandError(f"{self.path} holds no messages: record it again")

    @property
    def start_ns(self) -> int:
        """Stamp of the first message."""
        return int(self._reader.start_time)

    @property
    def end_ns(self) -> int:
        """Stamp of the last message."""
        return int(self._reader.end_time) - 1

    @property
    def topics(self) -> dict[str, str]:
        """Type name of every topic, such as sensor_msgs/msg/Image."""
        return {connection.topic: connection.msgtype for connection in self._reader.connections}

    @property
    def message_counts(self) -> dict[str, int]:
        """Messages on every topic."""
        counts = dict.fromkeys(self.topics, 0)
        for connection in self._reader.connections:
            counts[connection.topic] += connection.msgcount
        return counts

    @property
    def image_topics(self) -> list[str]:
        """Topics of raw or compressed images, possibly none."""
        return [topic for topic, name in self.topics.items() if name in IMAGE_TYPES]

    @property
    def latched_topics(self) -> set[str]:
        """Topics whose messages hold for everyone who comes later, such as /tf_static."""
        return {c.topic for c in self._reader.connections if _is_latched(c)}

    def require_image_topics(self) -> list[str]:
        """The image topics; `CommandError` where there is none."""
        if not self.image_topics:
            raise CommandError(
                f"{self.path} has no image topic (sensor_msgs Image or CompressedImage), "
                f"only {_listed(self.topics)}: record the camera's images too"
            )
        return self.image_topics

    def require_topics(self, topics: Collection[str]) -> None:
        """`CommandError` where one of `topics` is not in the bag."""
        if missing := [topic for topic in topics if topic not in self.topics]:
            raise CommandError(
                f"{self.path} has no topic {_listed(missing)}; it has {_listed(self.topics)}"
            )

    def messages(
        self,
        topics: Collection[str] = (),
        start_ns: int | None = None,
        stop_ns: int | None = None,
    ) -> Iterator[tuple[str, int, bytes]]:
        """Topic, stamp (ns) and serialized message, in the order of stamps.

        `topics` empty: all of them. From `start_ns` on, and before `stop_ns`.
        """
        wanted = [c for c in self._reader.connections if not topics or c.topic in topics]
        with _damage_explained(self.path):
            for connection, stamp_ns, serialized in self._reader.messages(
                wanted, start_ns, stop_ns
            ):
                yield connection.topic, stamp_ns, serialized

    def close(self) -> None:
        if self._reader.is_open:
            self._reader.close()

    def __enter__(self) -> "BagReader":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _is_latched(connection: Connection) -> bool:
    if isinstance(connection.ext, ConnectionExtRosbag1):
        return connection.topic == "/tf_static" or connection.ext.latching == 1
    profiles = connection.ext.offered_qos_profiles
    return connection.topic == "/tf_static" or any(
        profile.durability == QosDurability.TRANSIENT_LOCAL for profile in profiles
    )


def _refuse_what_is_no_bag(path: Path) -> None:
    if not path.exists():
        raise CommandError(
            f"{path} does not exist: give a rosbag2 directory, .mcap, .db3 or .bag file"
        )
    if path.is_dir():
        _refuse_without_metadata(path)
    elif path.suffix not in (".mcap", ".db3", ".bag"):
        raise CommandError(f"{path} is no bag: give a rosbag2 directory, .mcap, .db3 or .bag file")
    elif not path.stat().st_size:
        raise CommandError(f"{path} is an empty file: copy or record the bag again")


def _refuse_without_metadata(path: Path) -> None:
    if (path / "metadata.yaml").exists():
        return
    storages = sorted(file for file in path.iterdir() if file.suffix in (".mcap", ".db3"))
    if storages:
        raise CommandError(
            f"{path} has no metadata.yaml: give {storages[0]} itself, "
            f"or write it with `ros2 bag reindex {path}`"
        )
    raise CommandError(f"{path} is a directory without a bag: no metadata.yaml, .mcap or .db3")


@contextmanager
def _damage_explained(path: Path) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # a damaged file leads rosbags to errors of a dozen kinds
        reason = str(error).rstrip(".") or type(error).__name__
        raise CommandError(
            f"{path} cannot be read ({reason}): it is damaged or was cut short; copy or record it "
            "again, or save what is left with `mcap recover` or `ros2 bag reindex`"
        ) from error


def _listed(topics: Collection[str]) -> str:
    return ", ".join(sorted(topics))
