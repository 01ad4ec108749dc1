# SPDX-License-Identifier: Apache-2.0
"""Write ROS 2 bags: complete or not at all."""

import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType

from rosbags.interfaces import (
    Connection,
    Qos,
    QosDurability,
    QosHistory,
    QosLiveliness,
    QosReliability,
    QosTime,
)
from rosbags.rosbag2 import StoragePlugin, Writer, WriterError

from infinitevggt_ros.bags.message_types import typestore_with
from infinitevggt_ros.errors import CommandError

FILE_STORAGES = {".mcap": StoragePlugin.MCAP, ".db3": StoragePlugin.SQLITE3}

_FOREVER = QosTime(9223372036, 854775807)
_LATCHED = Qos(
    history=QosHistory.KEEP_LAST,
    depth=100,
    reliability=QosReliability.RELIABLE,
    durability=QosDurability.TRANSIENT_LOCAL,
    deadline=_FOREVER,
    lifespan=_FOREVER,
    liveliness=QosLiveliness.AUTOMATIC,
    liveliness_lease_duration=_FOREVER,
    avoid_ros_namespace_conventions=False,
)


class BagWriter:
    """Writes a bag in a temporary directory beside `path`; close() moves it there.

    A `path` ending in .mcap or .db3 becomes a single file of that storage, any other a rosbag2
    directory (mcap). As a context manager it closes, or discards everything on an exception.
    """

    def __init__(self, path: Path | str, *, overwrite: bool = False) -> None:
        self.path = Path(path)
        self.message_count = 0
        self._overwrite = overwrite
        self._connections: dict[str, Connection] = {}
        self._refuse_to_replace()
        with self._failure_explained():
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._staging = Path(
                tempfile.mkdtemp(prefix=f".{self.path.name}.", dir=self.path.parent)
            )
            # under its final name, which its metadata repeats
            self._writer = Writer(
                self._staging / (self.path.stem if self._is_file else self.path.name),
                version=Writer.VERSION_LATEST,
                storage_plugin=FILE_STORAGES.get(self.path.suffix, StoragePlugin.MCAP),
            )
            self._writer.open()

    @property
    def _is_file(self) -> bool:
        return self.path.suffix in FILE_STORAGES

    def add_topic(self, topic: str, type_name: str, *, latched: bool = False) -> None:
        """Declare a topic before its first message. latched: TRANSIENT_LOCAL when played."""
        with self._failure_explained():
            self._connections[topic] = self._writer.add_connection(
                topic,
                type_name,
                typestore=typestore_with(type_name),
                offered_qos_profiles=[_LATCHED] if latched else [],
            )

    def write(self, topic: str, stamp_ns: int, serialized: bytes | memoryview) -> None:
        """Append one serialized message (CDR) to a declared topic."""
        with self._failure_explained():
            self._writer.write(self._connections[topic], stamp_ns, serialized)
        self.message_count += 1

    def close(self) -> None:
        """Finish the bag and move it to its path."""
        try:
            with self._failure_explained():
                self._writer.close()
                self._refuse_to_replace()
                self._put_in_place()
        finally:
            self.discard()

    def discard(self) -> None:
        """Remove the unfinished bag. A file that was at `path` before is kept."""
        with suppress(OSError, sqlite3.Error):
            self._writer.abort()
        shutil.rmtree(self._staging, ignore_errors=True)

    def _put_in_place(self) -> None:
        made = self._writer.path
        if self._is_file:
            made = made / f"{made.name}{self.path.suffix}"
        if not self.path.is_dir():
            os.replace(made, self.path)
            return
        replaced = self.path.rename(self._staging / "replaced")
        try:
            os.replace(made, self.path)
        except OSError:
            replaced.rename(self.path)
            raise

    def _refuse_to_replace(self) -> None:
        if not self.path.exists():
            return
        if not self._overwrite:
            raise CommandError(
                f"{self.path} exists already: choose another name or add --overwrite"
            )
        if not _is_bag(self.path):
            raise CommandError(f"{self.path} is not a bag and is not replaced: choose another name")

    @contextmanager
    def _failure_explained(self) -> Iterator[None]:
        try:
            yield
        except (OSError, sqlite3.Error, WriterError) as error:
            raise CommandError(f"cannot write {self.path}: {error}") from error

    def __enter__(self) -> "BagWriter":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.discard()


def _is_bag(path: Path) -> bool:
    if path.is_dir():
        return (path / "metadata.yaml").exists() or not any(path.iterdir())
    return path.suffix in FILE_STORAGES
