# SPDX-License-Identifier: Apache-2.0
"""A minute of a camera, or an hour (pytest -m soak): what the process holds does not grow."""

from pathlib import Path

import pytest

from infinitevggt_core.streaming.onnx_decoder import WORTH_EXPORTING
from infinitevggt_ros.msg import StreamStatus
from support.camera import Camera, Spawn, film, image_message
from support.listening import Listener

FRAMES_OF_A_MINUTE = 10 * 60
"""At 10 Hz, sent as fast as they are answered."""
WARM_UP = WORTH_EXPORTING + 50
"""Frames after which the memory counts: the weights have been handed to the export of a graph."""
GROWTH_MB = 20
"""Memory that the allocator may keep; a leak of a kilobyte per frame would be 32."""


def resident_mb(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1e3 for line in lines if line.startswith("VmRSS"))


@pytest.mark.ros
@pytest.mark.timeout(7200)
@pytest.mark.parametrize(
    "frames",
    [
        pytest.param(FRAMES_OF_A_MINUTE, id="minute"),
        pytest.param(60 * FRAMES_OF_A_MINUTE, id="hour", marks=pytest.mark.soak),
    ],
)
def test_frames_leave_memory_flat(listener: Listener, spawn: Spawn, frames: int) -> None:
    small = {"model.image_size": 28, "memory.total_budget": 2000, "map.max_points": 5000}
    options = [text for name, value in small.items() for text in ("-p", f"{name}:={value}")]
    process = spawn("stream_node", "--ros-args", *options)
    camera = Camera(listener)
    camera.wait_for_node()
    images = film(50, 28, 28)
    for number in range(1, frames + 1):
        status = camera.send(image_message(images[number % 50], number * 10**8))
        camera.statuses.clear()
        if number == WARM_UP:
            before_mb, before = resident_mb(process.pid), status
    assert status.outcome == StreamStatus.PROCESSED
    assert (status.map_id, status.frame_index) == (0, frames)
    assert status.memory_bytes == before.memory_bytes
    assert sum(status.stored_tokens) <= 2000
    assert status.map_points <= 5000
    assert resident_mb(process.pid) < before_mb + GROWTH_MB
