# SPDX-License-Identifier: Apache-2.0
"""ROS 1 bags, read as if ROS 2 had recorded them."""

from collections.abc import Callable, Collection, Iterator
from pathlib import Path

from rosbags.convert.converter import STATIC_MSGTYPE_RENAMES, generate_message_converter
from rosbags.interfaces import Connection
from rosbags.rosbag1 import Reader
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

Converter = Callable[[bytes | memoryview], memoryview]


class Ros1Bag:
    """What rosbags.rosbag2.Reader offers, of a ROS 1 bag: types have the names of ROS 2, messages
    its serialization (CDR)."""

    def __init__(self, path: Path) -> None:
        self._reader = Reader(path)
        self._converters: dict[str, Converter] = {}

    def open(self) -> None:
        self._reader.open()
        self._recorded = {c.id: c for c in self._reader.connections}
        self.connections = [
            c._replace(msgtype=STATIC_MSGTYPE_RENAMES.get(c.msgtype, c.msgtype))
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
        shown = {c.id: c for c in connections or self.connections}
        recorded = [self._recorded[number] for number in shown]
        for connection, stamp_ns, data in self._reader.messages(recorded, start, stop):
            yield shown[connection.id], stamp_ns, bytes(self._converter(connection)(data))

    def _converter(self, connection: Connection) -> Converter:
        name = connection.msgtype
        if name not in self._converters:
            source = get_typestore(Stores.ROS1_NOETIC)
            source.register(get_types_from_msg(connection.msgdef.data, name))
            renamed = STATIC_MSGTYPE_RENAMES.get(name, name)
            kilted = get_typestore(Stores.ROS2_KILTED)
            self._converters[name] = generate_message_converter(
                source, kilted, name, renamed, {}, src_is2=False, dst_is2=True
            )
        return self._converters[name]
