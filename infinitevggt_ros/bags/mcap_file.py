# SPDX-License-Identifier: Apache-2.0
"""Read MCAP files that rosbags refuses: of ROS 1, without a profile, or without an index."""

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import IO

from mcap.exceptions import McapError
from mcap.reader import McapReader, NonSeekingReader, make_reader
from mcap.records import Channel, Schema
from rosbags.interfaces import (
    Connection,
    ConnectionExtRosbag2,
    MessageDefinition,
    MessageDefinitionFormat,
)
from rosbags.rosbag2.metadata import parse_qos

from infinitevggt_ros.bags.ros1 import RENAMED_TYPES, Ros1Converter
from infinitevggt_ros.errors import CommandError

ENCODINGS = ("cdr", "ros1")


def needs_mcap_file(path: Path) -> bool:
    """Return True for a whole MCAP file whose header does not name the profile ros2, or that has no
    index of its chunks: messages of such a file may be out of order."""
    with path.open("rb") as file:
        try:
            reader = make_reader(file)
            if reader.get_header().profile != "ros2":
                return True
            summary = reader.get_summary()
        except (McapError, EOFError, ValueError, OSError):
            return False  # rosbags explains the damage
    return summary is not None and not summary.chunk_indexes


class McapFile:
    """An .mcap file with the interface of rosbags.rosbag2.Reader, its messages in CDR."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: IO[bytes] | None = None
        self._convert = Ros1Converter()
        self.connections: list[Connection] = []
        self.message_count = 0
        self.start_time = 2**63 - 1
        self.end_time = 0

    def open(self) -> None:
        """Read the topics. Raises CommandError for messages that are not of ROS."""
        self._file = self._path.open("rb")
        channels: dict[int, Connection] = {}
        counts: dict[int, int] = {}
        for schema, channel, message in self._reader().iter_messages():
            if channel.id not in channels:
                channels[channel.id] = self._connection(schema, channel)
            counts[channel.id] = counts.get(channel.id, 0) + 1
            self.start_time = min(self.start_time, message.log_time)
            self.end_time = max(self.end_time, message.log_time + 1)
        self.connections = [c._replace(msgcount=counts[c.id]) for c in channels.values()]
        self.message_count = sum(counts.values())

    def close(self) -> None:
        if self._file:
            self._file.close()
        self._file = None

    @property
    def is_open(self) -> bool:
        return self._file is not None

    def messages(
        self,
        connections: Collection[Connection] = (),
        start: int | None = None,
        stop: int | None = None,
    ) -> Iterator[tuple[Connection, int, bytes]]:
        selected = {c.id: c for c in connections or self.connections}
        topics = {c.topic for c in selected.values()}
        for schema, channel, message in self._reader().iter_messages(
            topics=topics, starting_at=start, ending_before=stop
        ):
            if channel.id in selected:
                data = message.data
                if channel.message_encoding == "ros1" and schema is not None:
                    name = _type_name(schema.name)
                    data = self._convert(name, schema.data.decode(), data)
                yield selected[channel.id], message.log_time, data

    def _reader(self) -> McapReader:
        assert self._file
        self._file.seek(0)
        reader = make_reader(self._file)
        summary = reader.get_summary()
        self._file.seek(0)
        if summary is None or not summary.chunk_indexes:
            return NonSeekingReader(self._file)  # reads the whole file and sorts it
        return reader

    def _connection(self, schema: Schema | None, channel: Channel) -> Connection:
        if schema is None or channel.message_encoding not in ENCODINGS:
            raise CommandError(
                f"{self._path}: messages on {channel.topic} are encoded as "
                f"{channel.message_encoding or 'nothing'}: only ROS 2 (cdr) and ROS 1 (ros1) "
                "messages can be read"
            )
        name = _type_name(schema.name)
        qos = parse_qos(channel.metadata.get("offered_qos_profiles", "") or [])
        return Connection(
            id=channel.id,
            topic=channel.topic,
            msgtype=RENAMED_TYPES.get(name, name),
            msgdef=MessageDefinition(MessageDefinitionFormat.NONE, ""),
            digest="",
            msgcount=0,
            ext=ConnectionExtRosbag2("cdr", qos),
            owner=None,
        )


def _type_name(name: str) -> str:
    """Return sensor_msgs/msg/Image for sensor_msgs/Image."""
    package, *_, kind = name.split("/")
    return f"{package}/msg/{kind}"
