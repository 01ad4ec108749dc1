# SPDX-License-Identifier: Apache-2.0
"""Definitions of message types by their ROS names, for bags."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore

from infinitevggt_ros.errors import CommandError


def typestore_with(*type_names: str) -> Typestore:
    """Return the definitions of ROS 2 Kilted and of `type_names`.

    A type that Kilted does not have, such as infinitevggt_ros/msg/StreamStatus, is read from the
    .msg file that its package installed. The types of its fields must be Kilted's. Raises
    CommandError if there is no such file.
    """
    store = get_typestore(Stores.ROS2_KILTED)
    for name in type_names:
        if name not in store.fielddefs:
            store.register(get_types_from_msg(_definition_file(name).read_text(), name))
    return store


def starts_with_header(message_type: Any) -> bool:
    """Return True if the first field is a std_msgs/Header, as `header_stamp_ns` requires."""
    fields = message_type.get_fields_and_field_types()
    return next(iter(fields.values()), "") == "std_msgs/Header"


def _definition_file(type_name: str) -> Path:
    package, _, name = type_name.split("/")
    candidates = [folder / f"{name}.msg" for folder in _definition_folders(package)]
    for candidate in candidates:
        if candidate.exists():
            return candidate
    raise CommandError(
        f"no definition of message type {type_name}: install the package {package} "
        f"(searched {', '.join(map(str, candidates))})"
    )


def _definition_folders(package: str) -> Iterator[Path]:
    prefixes = os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep)
    for prefix in [*filter(None, prefixes), sys.prefix]:
        yield Path(prefix) / "share" / package / "msg"
    source = Path(__file__).resolve().parents[1]
    if package == source.name:
        yield source.parent / "msg"
