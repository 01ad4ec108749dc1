# SPDX-License-Identifier: Apache-2.0
"""StreamStatus of one image, made of plain values."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from infinitevggt_ros.input.header import Header
from infinitevggt_ros.message_maker import ROS, MessageMaker
from infinitevggt_ros.params.settings import ModelSettings
from infinitevggt_ros.stream.snapshot import StreamSnapshot

STREAM_STATUS = "infinitevggt_ros/msg/StreamStatus"
PROCESSED, DROPPED, REJECTED, NO_IMAGE = range(4)
"""Outcomes of an image in StreamStatus."""
TIMED_OUTPUTS = "pose", "depth", "points", "map"


class ImageCounts(Protocol):
    """Counts of a camera's images since the node started."""

    @property
    def name(self) -> str:
        """Name of the camera; empty for a single camera."""

    @property
    def received(self) -> int: ...
    @property
    def dropped(self) -> int: ...
    @property
    def processed(self) -> int: ...
    @property
    def rejected(self) -> int: ...
    @property
    def last_rejection(self) -> str:
        """Topic and reason of the last rejected image; empty if there was none."""

    @property
    def unusual(self) -> Mapping[str, int]:
        """Number of images of each kind of unusual encoding."""


@dataclass(frozen=True, slots=True)
class WorkerSnapshot:
    """State of the inference thread."""

    is_paused: bool = False
    lifecycle_state: str = ""
    """State of the node; empty if there is no node."""
    restarts: int = 0
    """Number of times the thread had died and was started again."""


def status_message(
    header: Header,
    camera: ImageCounts,
    outcome: int,
    model: ModelSettings,
    worker: WorkerSnapshot,
    stream: StreamSnapshot | None,
    maker: MessageMaker = ROS,
) -> Any:
    """Return the StreamStatus after an image, without its timing. stream: None if there is none."""
    values = {} if stream is None else stream_values(stream)
    if outcome != PROCESSED:
        values["inference"] = math.nan
    return no_status(
        maker,
        header=header,
        outcome=outcome,
        **counts_of(camera),
        worker_restarts=worker.restarts,
        paused=worker.is_paused,
        lifecycle_state=worker.lifecycle_state,
        checkpoint=model.source,
        random_weights=model.is_random,
        **values,
    )


def no_status(maker: MessageMaker = ROS, **known: Any) -> Any:
    """Return a StreamStatus in which nothing is known but the given fields."""
    unknown = ["metres_per_unit", "metres_per_unit_sigma", "inference", "latency", "age"]
    for name in TIMED_OUTPUTS:
        unknown += [f"{name}_latency", f"{name}_age"]
    return maker.make(STREAM_STATUS, **{"scale": 1.0, **dict.fromkeys(unknown, math.nan), **known})


def counts_of(camera: ImageCounts) -> dict[str, Any]:
    """Return the fields of StreamStatus that count images."""
    return {
        "camera": camera.name,
        "frames_received": camera.received,
        "frames_dropped": camera.dropped,
        "frames_processed": camera.processed,
        "frames_rejected": camera.rejected,
        "last_rejection": camera.last_rejection,
        "frames_16bit": camera.unusual["16-bit"],
        "frames_bayer": camera.unusual["bayer"],
        "frames_yuv": camera.unusual["yuv"],
    }


def stream_values(stream: StreamSnapshot) -> dict[str, Any]:
    """Return the fields of StreamStatus that describe a stream."""
    return {
        "frame_index": stream.frame_index,
        "map_id": stream.map_id,
        "last_reset": stream.last_reset,
        "last_error": stream.error,
        "scale_source": stream.scale_source,
        "scale": stream.scale,
        "metres_per_unit": stream.metres_per_unit,
        "metres_per_unit_sigma": stream.metres_per_unit_sigma,
        "metric": stream.is_metric,
        "waiting_for": stream.waiting_for,
        "pose_state": stream.pose_state,
        "gravity_source": stream.gravity_source,
        "first_camera_tilt": stream.first_camera_tilt,
        "policy": stream.policy,
        "total_budget": stream.total_budget,
        "budget": stream.budget,
        "stored_tokens": np.array(stream.stored_tokens, dtype=np.uint32),
        "memory_bytes": stream.memory_bytes,
        "eager_because": stream.eager_because,
        "map_points": stream.map_points,
        "device": stream.device,
        "calibrated": stream.is_calibrated,
        "rectified": stream.is_rectified,
        "inference": stream.inference_s,
    }
