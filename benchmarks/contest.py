# SPDX-License-Identifier: Apache-2.0
"""Measurement of sessions side by side, frame by frame, so that disturbances affect all."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from statistics import median, quantiles
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor

from benchmarks.clock import Clock, StageClock
from benchmarks.naive_session import NaiveSession
from infinitevggt_core import VGGT, Prediction, StreamSession

STAGED_FRAMES = 3
"""Number of frames on which stages are timed, apart from the others: the waits cost time."""


Result = TypeVar("Result")


class Contender(Protocol):
    """Interface of a session, ours or another."""

    model: VGGT

    def push(self, image: Tensor) -> Prediction: ...

    @property
    def memory_bytes(self) -> int: ...


@dataclass(slots=True)
class Measured:
    """Results of one contender."""

    frame_ms: list[float] = field(default_factory=list)
    held_mb: float = 0.0
    """Memory of keys and values after the last frame."""
    peak_mb: float | None = None
    """Peak memory of the device during a frame; None on the CPU."""
    stages_ms: dict[str, float] = field(default_factory=dict)
    """Mean time per frame, by part."""
    difference: float | None = None
    """Largest difference from the first contender in poses and relative depths, if compared."""

    def summary(self) -> dict[str, Any]:
        low, middle, high = quantiles(self.frame_ms, n=4)
        return {
            "frames": len(self.frame_ms),
            "ms": middle,
            "ms_quartiles": [low, high],
            "held_mb": self.held_mb,
            "peak_mb": self.peak_mb,
            "stages_ms": self.stages_ms,
            "difference": self.difference,
        }


def noise(size: tuple[int, int], device: torch.device, seed: int = 0) -> Iterator[Tensor]:
    """Yield random images [3, H, W]; the time per frame does not depend on their contents."""
    generator = torch.Generator(device).manual_seed(seed)
    while True:
        yield torch.rand(3, *size, device=device, generator=generator)


def contest(
    contenders: Mapping[str, Contender],
    images: Iterator[Tensor],
    warm: int,
    frames: int,
    clock: Clock,
    same_results: bool = False,
) -> dict[str, Measured]:
    """Measure all contenders on the same images, of which the first `warm` are not timed."""
    for _ in range(warm):
        image = next(images)
        for contender in contenders.values():
            contender.push(image)
    results = {name: Measured() for name in contenders}
    order = list(contenders)
    for _ in range(frames):
        image = next(images)
        predictions = {
            name: timed_push(contenders[name], image, clock, results[name]) for name in order
        }
        if same_results:
            compare(predictions, results)
        order.reverse()
    for name, contender in contenders.items():
        results[name].peak_mb = peak_mb(contender, next(images))
        results[name].stages_ms = stages_ms(contender, images, clock)
        results[name].held_mb = contender.memory_bytes / 1e6
    return results


def ratio(of: Measured, to: Measured) -> float:
    """Return the median ratio of the times of the same frames."""
    return median(a / b for a, b in zip(of.frame_ms, to.frame_ms, strict=True))


def timed_push(contender: Contender, image: Tensor, clock: Clock, result: Measured) -> Prediction:
    return timed(lambda: contender.push(image), clock, result)


def timed(work: Callable[[], Result], clock: Clock, result: Measured) -> Result:
    started = clock.now()
    done = work()
    result.frame_ms.append(1e3 * (clock.now() - started))
    return done


def compare(predictions: dict[str, Prediction], results: dict[str, Measured]) -> None:
    first = predictions[next(iter(results))]
    for name, other in predictions.items():
        poses = (other.pose_encoding - first.pose_encoding).abs().max()
        depths = (other.depth / first.depth - 1).abs().max()
        before = results[name].difference or 0.0
        results[name].difference = max(before, float(poses), float(depths))


def peak_mb(contender: Contender, image: Tensor) -> float | None:
    device = contender.model.device
    if device.type != "cuda":
        return None
    torch.cuda.synchronize(device)
    torch.cuda.reset_peak_memory_stats(device)
    others = torch.cuda.memory_allocated(device) - contender.memory_bytes
    contender.push(image)
    torch.cuda.synchronize(device)
    return (torch.cuda.max_memory_allocated(device) - others) / 1e6


def stages_ms(contender: Contender, images: Iterator[Tensor], clock: Clock) -> dict[str, float]:
    stages = StageClock(clock)
    with stages.watching([*network_parts(contender.model), *memory_parts(contender)]):
        for _ in range(STAGED_FRAMES):
            contender.push(next(images))
    return {stage: 1e3 * seconds / STAGED_FRAMES for stage, seconds in stages.seconds.items()}


def network_parts(model: VGGT) -> list[tuple[Any, str, str]]:
    aggregator = model.aggregator
    return [
        (aggregator.patch_embed, "forward", "patch embedding"),
        *((block, "forward", "frame blocks") for block in aggregator.frame_blocks),
        *((block, "forward", "global blocks") for block in aggregator.global_blocks),
        (model.camera_head, "forward", "camera head"),
        (model.depth_head, "forward", "depth head"),
        *([(model.point_head, "forward", "point head")] if model.config.point_head else []),
    ]


def memory_parts(contender: Contender) -> list[tuple[Any, str, str]]:
    if isinstance(contender, NaiveSession):
        return [
            (contender, "attend", "global attention"),
            (contender, "concatenate", "storing"),
            (contender, "evict", "eviction"),
        ]
    assert isinstance(contender, StreamSession)
    memory = contender.segment.memory
    parts: list[tuple[Any, str, str]] = [(memory, "attend", "global attention")]
    for stream in memory.streams:
        parts.append((stream, "append", "storing"))
        parts += [(stream, name, "eviction") for name in ("begin_frame", "evict", "end_frame")]
    return parts
