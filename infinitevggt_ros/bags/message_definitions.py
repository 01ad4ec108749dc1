# SPDX-License-Identifier: Apache-2.0
"""Message definitions for bags: those of ROS 2 Kilted, and those of packages installed here."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore

from infinitevggt_ros.errors import CommandError


def typestore_with(*type_names: str) -> Typestore:
    """The Kilted definitions, and those of `type_names`, such as infinitevggt_ros/msg/StreamStatus.

    A type that Kilted itself does not have is read from the .msg file its package installed; the
    types of its fields must be Kilted's.
    """
    store = get_typestore(Stores.ROS2_KILTED)
    for name in type_names:
        if name not in store.fielddefs:
            store.register(get_types_from_msg(_definition_file(name).read_text(), name))
    return store


def _definition_file(type_name: str) -> Path:
    package, _, name = type_name.split("/")
    candidates = [folder / f"{name}.msg" for folder in _definition_folders(package)]
    for candidate in candidates:
        if candidate.exists():
            return candidate
    raise CommandError(
        f"no definition of message type {type_name}: install the package {package} "
        f"(looked for {', '.join(map(str, candidates))})"
    )


def _definition_folders(package: str) -> Iterator[Path]:
    prefixes = os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep)
    for prefix in [*filter(None, prefixes), sys.prefix]:
        yield Path(prefix) / "share" / package / "msg"
    checkout = Path(__file__).resolve().parents[1]
    if package == Path(__file__).resolve().parent.name:
        yield checkout / "msg"
