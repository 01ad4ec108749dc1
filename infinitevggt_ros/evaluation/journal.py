# SPDX-License-Identifier: Apache-2.0
"""Journal of messages on disk, from which a bag is made at the end.

A resumed run truncates the journal to the length at its snapshot, which no bag format allows.
"""

import os
import struct
from pathlib import Path
from types import TracebackType

from infinitevggt_ros.bags.writer import BagWriter

HEAD = struct.Struct("<HqI")
"""Number of the topic, stamp (ns), number of bytes that follow."""


class Journal:
    """File of serialized messages in the order of arrival."""

    def __init__(self, path: Path, length: int = 0) -> None:
        """length: bytes of an earlier run to keep."""
        self.path = path
        self._file = path.open("r+b" if length else "w+b")
        self._file.truncate(length)
        self._file.seek(length)

    def append(self, topic: int, stamp_ns: int, serialized: bytes) -> None:
        self._file.write(HEAD.pack(topic, stamp_ns, len(serialized)))
        self._file.write(serialized)

    def sync(self) -> int:
        """Write everything to the disk; return the length in bytes."""
        self._file.flush()
        os.fsync(self._file.fileno())
        return self._file.tell()

    def copy_to(self, bag: BagWriter, topics: list[str]) -> None:
        """Copy all messages to a bag. topics: names by number."""
        self._file.flush()
        self._file.seek(0)
        while head := self._file.read(HEAD.size):
            number, stamp_ns, size = HEAD.unpack(head)
            bag.write(topics[number], stamp_ns, self._file.read(size))

    def remove(self) -> None:
        self._file.close()
        self.path.unlink(missing_ok=True)

    def __enter__(self) -> "Journal":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()
