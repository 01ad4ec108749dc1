# SPDX-License-Identifier: Apache-2.0
"""A bag of a synthetic world, whose truth is known, and its evaluation."""

import json
from pathlib import Path
from typing import Any

from infinitevggt_core import MemoryConfig
from infinitevggt_ros.bags.message_types import typestore_with
from infinitevggt_ros.bags.reader import BagReader
from infinitevggt_ros.bags.writer import BagWriter
from infinitevggt_ros.commands import cli

POLICY = MemoryConfig().policy
"""Policy of a run that names none."""
SEED, FRAMES, HEIGHT, WIDTH = 10_007, 12, 84, 112
MEASURED = ("trajectory", "depth", "reconstruction")
IMAGE, DEPTH, ODOMETRY = "/camera/image_raw", "/camera/depth/image_raw", "/odometry"


def evaluate(*arguments: object) -> int:
    return cli.main(["evaluate", "bag", *map(str, arguments)])


def metrics(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "metrics.json").read_text())
    return found


def measured(folder: Path) -> dict[str, Any]:
    return {name: metrics(folder)[name] for name in MEASURED}


def rewritten(bag: Path, path: Path, rename: dict[str, tuple[str, Any]]) -> Path:
    """A copy with topics left out (None) or put through a function: {topic: (type, function)}."""
    store = typestore_with()
    with BagReader(bag) as reader, BagWriter(path) as writer:
        for topic, kind in reader.topics.items():
            writer.add_topic(topic, rename.get(topic, (kind, None))[0] or kind)
        for topic, at_ns, data in reader.messages():
            kind, change = rename.get(topic, (reader.topics[topic], bytes))
            if change is bytes:
                writer.write(topic, at_ns, data)
            elif change is not None:
                message = change(store.deserialize_cdr(data, reader.topics[topic]), store.types)
                writer.write(topic, at_ns, store.serialize_cdr(message, kind))
    return path


def only(topic: str, bag: Path, path: Path) -> Path:
    """A copy with nothing but one topic."""
    with BagReader(bag) as reader, BagWriter(path) as writer:
        writer.add_topic(topic, reader.topics[topic])
        for _, at_ns, data in reader.messages([topic]):
            writer.write(topic, at_ns, data)
    return path
