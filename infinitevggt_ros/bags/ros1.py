# SPDX-License-Identifier: Apache-2.0
"""Read bags of ROS 1 as if ROS 2 had recorded them."""

from collections.abc import Callable, Collection, Iterator
from pathlib import Path

from rosbags.convert.converter import STATIC_MSGTYPE_RENAMES, generate_message_converter
from rosbags.interfaces import Connection
from rosbags.rosbag1 import Reader
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

RENAMED_TYPES = {**STATIC_MSGTYPE_RENAMES, "tf/msg/tfMessage": "tf2_msgs/msg/TFMessage"}
"""Types of ROS 1 and what ROS 2 calls them. tf/tfMessage has the definition of TFMessage."""
Converter = Callable[[bytes | memoryview], memoryview]


class Ros1Converter:
    """Converts messages of ROS 1 to the serialization of ROS 2, with the types of Kilted."""

    def __init__(self) -> None:
        self._converters: dict[str, Converter] = {}

    def __call__(self, type_name: str, definition: str, data: bytes | memoryview) -> bytes:
        """Return the message as CDR. definition: .msg text of the recorded type."""
        if type_name not in self._converters:
            self._converters[type_name] = _converter(type_name, definition)
        return bytes(self._converters[type_name](data))


class Ros1Bag:
    """A .bag file with the interface of rosbags.rosbag2.Reader: types have their names of ROS 2,
    messages its serialization (CDR)."""

    def __init__(self, path: Path) -> None:
        self._reader = Reader(path)
        self._convert = Ros1Converter()

    def open(self) -> None:
        self._reader.open()
        self._recorded = {c.id: c for c in self._reader.connections}
        self.connections = [
            c._replace(msgtype=RENAMED_TYPES.get(c.msgtype, c.msgtype))
            for c in self._reader.connections
        ]

    def close(self) -> None:
        self._reader.close()

    @property
    def is_open(self) -> bool:
        return self._reader.bio is not None

    @property
    def message_count(self) -> int:
        return self._reader.message_count

    @property
    def start_time(self) -> int:
        return self._reader.start_time

    @property
    def end_time(self) -> int:
        return self._reader.end_time

    def messages(
        self,
        connections: Collection[Connection] = (),
        start: int | None = None,
        stop: int | None = None,
    ) -> Iterator[tuple[Connection, int, bytes]]:
        selected = {c.id: c for c in connections or self.connections}
        recorded = [self._recorded[number] for number in selected]
        for connection, stamp_ns, data in self._reader.messages(recorded, start, stop):
            serialized = self._convert(connection.msgtype, connection.msgdef.data, data)
            yield selected[connection.id], stamp_ns, serialized


def _converter(type_name: str, definition: str) -> Converter:
    source = get_typestore(Stores.ROS1_NOETIC)
    source.register(get_types_from_msg(definition, type_name))
    renamed = RENAMED_TYPES.get(type_name, type_name)
    kilted = get_typestore(Stores.ROS2_KILTED)
    return generate_message_converter(
        source, kilted, type_name, renamed, {}, src_is2=False, dst_is2=True
    )
