# SPDX-License-Identifier: Apache-2.0
"""Read serialized messages of bags in the order of their receive times, without ROS."""

import struct
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

from rosbags.interfaces import Connection, ConnectionExtRosbag1, QosDurability
from rosbags.rosbag2 import Reader
from rosbags.rosbag2.reader import DirectoryReader

from infinitevggt_ros.bags.mcap_file import McapFile, needs_mcap_file
from infinitevggt_ros.bags.ros1 import Ros1Bag
from infinitevggt_ros.errors import CommandError

IMAGE_TYPES = ("sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage")
CAMERA_INFO_TYPE = "sensor_msgs/msg/CameraInfo"
TF_TYPE = "tf2_msgs/msg/TFMessage"
CREDIBLE_GAP_NS = 3600 * 10**9
"""Longest pause of a recording. A longer one means that the clock was set."""
UNSUPPORTED = ("not supported", "unsupported", "unrecognized")


def header_stamp_ns(serialized: bytes) -> int:
    """Return the stamp (ns) of a serialized message whose first field is a std_msgs/Header."""
    byte_order = "<" if serialized[1] & 1 else ">"
    seconds, nanoseconds = struct.unpack_from(f"{byte_order}iI", serialized, 4)
    return int(seconds) * 10**9 + int(nanoseconds)


def is_static_tf(topic: str, type_name: str) -> bool:
    """Return True for the topic of static transforms: /tf_static, in any namespace."""
    return type_name == TF_TYPE and topic.rpartition("/")[2] == "tf_static"


class BagReader:
    """Bag of ROS 2 (rosbag2 directory, .mcap, .db3) or of ROS 1 (.bag, .mcap).

    Messages stay serialized, so that no message definitions are needed. Messages of ROS 1 are
    converted to the serialization of ROS 2 (CDR). Use the reader as a context manager. Raises
    CommandError if the bag cannot be read.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self.notes: list[str] = []
        """Differences between the metadata of the bag and its files, one sentence each."""
        _check_path(self.path)
        with _explained(self.path):
            self._reader = _opened(self.path)
        if isinstance(self._reader, Reader) and isinstance(self._reader.storage, DirectoryReader):
            self._reconcile(self._reader.storage)
        if not self._reader.message_count:
            self._reader.close()
            raise CommandError(f"{self.path} holds no messages: record it again")

    @property
    def start_ns(self) -> int:
        """Receive time of the first message."""
        return int(self._reader.start_time)

    @property
    def end_ns(self) -> int:
        """Receive time of the last message."""
        return int(self._reader.end_time) - 1

    @property
    def topics(self) -> dict[str, str]:
        """Type name of each topic that has messages, such as sensor_msgs/msg/Image."""
        counts = self._counts()
        return {c.topic: c.msgtype for c in self._reader.connections if counts[c.topic]}

    @property
    def empty_topics(self) -> list[str]:
        """Topics without messages."""
        return [topic for topic, count in self._counts().items() if not count]

    @property
    def message_counts(self) -> dict[str, int]:
        """Number of messages on each topic, as the index of the bag states it."""
        return {topic: count for topic, count in self._counts().items() if count}

    @property
    def image_topics(self) -> list[str]:
        """Topics of raw or compressed images, possibly none."""
        return [topic for topic, name in self.topics.items() if name in IMAGE_TYPES]

    @property
    def latched_topics(self) -> set[str]:
        """Topics whose messages stay valid for late subscribers.

        These are topics recorded as TRANSIENT_LOCAL, static transforms, and calibrations that were
        sent once. Scripts that write bags often leave the QoS out.
        """
        counts = self._counts()
        return {
            c.topic
            for c in self._reader.connections
            if _is_transient_local(c)
            or is_static_tf(c.topic, c.msgtype)
            or (c.msgtype == CAMERA_INFO_TYPE and counts[c.topic] == 1)
        }

    def require_image_topics(self) -> list[str]:
        """Return the image topics. Raises CommandError if there are none."""
        if not self.image_topics:
            raise CommandError(
                f"{self.path} has no image topic (sensor_msgs Image or CompressedImage), "
                f"only {_listed(self.topics)}: record the camera's images too"
            )
        return self.image_topics

    def require_topics(self, topics: Collection[str]) -> None:
        """Raise CommandError if one of `topics` is not in the bag."""
        if empty := [topic for topic in topics if topic in self.empty_topics]:
            raise CommandError(f"{self.path} has no messages on {_listed(empty)}")
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
        """Yield topic, receive time (ns) and serialized message in the order of receive times.

        `topics`: all if empty. Starts at `start_ns` and stops before `stop_ns`.
        """
        selected = [c for c in self._reader.connections if not topics or c.topic in topics]
        if not selected:
            return
        with _explained(self.path):
            for connection, stamp_ns, serialized in self._reader.messages(
                selected, start_ns, stop_ns
            ):
                yield connection.topic, stamp_ns, serialized

    def close(self) -> None:
        """Close the files."""
        if self._reader.is_open:
            self._reader.close()

    def _counts(self) -> dict[str, int]:
        counts = dict.fromkeys((c.topic for c in self._reader.connections), 0)
        for connection in self._reader.connections:
            counts[connection.topic] += connection.msgcount
        return counts

    def _reconcile(self, directory: DirectoryReader) -> None:
        """Make the connections of metadata.yaml and of the files agree.

        rosbags pairs the two by all their fields: messages of a topic whose QoS was edited in
        metadata.yaml would be left out silently.
        """
        self._reconcile_connections(directory)
        stored = [s.metadata for s in directory.storages if s.metadata.message_count]
        if stored:
            start, end = min(m.start_time for m in stored), max(m.end_time for m in stored)
            directory.metadata = directory.metadata._replace(
                start_time=start,
                end_time=end,
                duration=end - start,
                message_count=sum(m.message_count for m in stored),
            )

    def _reconcile_connections(self, directory: DirectoryReader) -> None:
        for index, listed in enumerate(directory.connections):
            stored = [
                (storage.connections, place)
                for storage in directory.storages
                for place, c in enumerate(storage.connections)
                if (c.topic, c.msgtype) == (listed.topic, listed.msgtype)
            ]
            if any(connections[place].ext != listed.ext for connections, place in stored):
                self.notes.append(
                    f"{listed.topic}: its QoS in metadata.yaml differs from that in the file"
                )
            for connections, place in stored:
                connections[place] = connections[place]._replace(
                    ext=listed.ext, digest=listed.digest
                )
            count = sum(connections[place].msgcount for connections, place in stored)
            if count != listed.msgcount:
                self.notes.append(
                    f"{listed.topic}: metadata.yaml counts {listed.msgcount} messages, "
                    f"the files hold {count}"
                )
                directory.connections[index] = listed._replace(msgcount=count)

    def __enter__(self) -> "BagReader":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _opened(path: Path) -> Reader | Ros1Bag | McapFile:
    reader: Reader | Ros1Bag | McapFile
    if path.suffix == ".bag":
        reader = Ros1Bag(path)
    elif path.suffix == ".mcap" and path.is_file() and needs_mcap_file(path):
        reader = McapFile(path)
    else:
        reader = Reader(path)
    reader.open()
    return reader


def _is_transient_local(connection: Connection) -> bool:
    if isinstance(connection.ext, ConnectionExtRosbag1):
        return connection.ext.latching == 1
    profiles = connection.ext.offered_qos_profiles
    return any(profile.durability == QosDurability.TRANSIENT_LOCAL for profile in profiles)


def _check_path(path: Path) -> None:
    if not path.exists():
        raise CommandError(
            f"{path} does not exist: give a rosbag2 directory, .mcap, .db3 or .bag file"
        )
    if path.is_dir():
        _check_directory(path)
    elif path.suffix not in (".mcap", ".db3", ".bag"):
        raise CommandError(f"{path} is no bag: give a rosbag2 directory, .mcap, .db3 or .bag file")
    elif not path.stat().st_size:
        raise CommandError(f"{path} is an empty file: copy or record the bag again")
    if path.suffix == ".db3" and any(c in str(path) for c in "?#%"):
        raise CommandError(f"{path}: SQLite cannot open a path with ?, # or %: rename it")


def _check_directory(path: Path) -> None:
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
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except (CommandError, MemoryError):
        raise
    except Exception as error:  # rosbags raises a dozen kinds of errors for damaged files
        reason = str(error).rstrip(".") or type(error).__name__
        if isinstance(error, OSError) and error.errno:
            raise CommandError(f"{path} cannot be read: {error.strerror}") from error
        if any(words in reason.lower() for words in UNSUPPORTED):
            raise CommandError(f"{path} cannot be read: {reason}") from error
        raise CommandError(
            f"{path} cannot be read ({reason}): it is damaged or was cut short; copy or record it "
            "again, or save what is left with `mcap recover` or `ros2 bag reindex`"
        ) from error


def _listed(topics: Collection[str]) -> str:
    return ", ".join(sorted(topics))
