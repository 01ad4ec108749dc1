# SPDX-License-Identifier: Apache-2.0
"""stream_node with something broken: `python broken_node.py WHAT`, WHAT a function of this file."""

import sys
import time
from typing import Any

import torch

from infinitevggt_core import VGGT, StreamSession
from infinitevggt_ros.node import node
from infinitevggt_ros.node.stream_node import main
from infinitevggt_ros.node.stream_publisher import StreamPublisher
from infinitevggt_ros.params.settings import ModelSettings
from infinitevggt_ros.stream.stream import Stream

FOREVER_S = 10_000


def some_frames() -> None:
    """Frame 2 breaks when it is published, 4 in the network, 6 takes the whole thread along."""
    publish, load_model = StreamPublisher.publish, node.load_model

    def broken_publish(self: StreamPublisher, stream: Stream, result: Any) -> None:
        number = result.header.stamp.nanosec
        if number == 2:
            raise RuntimeError("publishing broke")
        if number == 6:
            raise SystemExit
        publish(self, stream, result)

    def break_network(*_: object) -> None:
        predictions.append(1)
        if len(predictions) == 4:
            raise KeyError("the network broke")

    def load_broken(settings: ModelSettings) -> VGGT:
        model = load_model(settings)
        model.aggregator.register_forward_pre_hook(break_network)
        return model

    predictions: list[int] = []
    StreamPublisher.publish = broken_publish  # type: ignore[method-assign]
    node.load_model = load_broken


def loading() -> None:
    """Weights on a file system that hangs."""
    node.load_model = lambda settings: time.sleep(FOREVER_S)  # type: ignore[assignment]


def full_device() -> None:
    """Others took the memory while the node rested."""

    def wake(self: Stream) -> None:
        raise torch.OutOfMemoryError("no room on the device")

    Stream.wake = wake  # type: ignore[method-assign]


def every_frame() -> None:
    """A network that never answers."""
    StreamSession.push = lambda self, image: time.sleep(FOREVER_S)  # type: ignore[assignment]


if __name__ == "__main__":
    {f.__name__: f for f in (some_frames, loading, full_device, every_frame)}[sys.argv[1]]()
    sys.exit(main(sys.argv[1:]))
