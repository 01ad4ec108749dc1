# SPDX-License-Identifier: Apache-2.0
"""A frame of a steady stream as one graph of the device."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

from infinitevggt_core.memory.stream_memory import StreamMemory
from infinitevggt_core.model.constants import held_constants
from infinitevggt_core.model.decoder import Decoder
from infinitevggt_core.model.prediction import Prediction
from infinitevggt_core.model.vggt import VGGT

Replay: TypeAlias = Callable[[], None]
Recorder: TypeAlias = Callable[[Callable[[], None]], Replay]
"""Records the operations of a function without running them; returns what runs them."""


def record_on_cuda(work: Callable[[], None]) -> Replay:
    """Record a CUDA graph. Other threads may use the device meanwhile."""
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, capture_error_mode="thread_local"):
        work()
    return graph.replay


WORTH_RECORDING = 32
"""Replays that pay for a recording."""
UNSTEADY = "the memory fills, or its settings change"
RECORDERS: dict[str, Recorder] = {"cuda": record_on_cuda}
"""Recorders by the type of the device."""


@dataclass(frozen=True)
class Recording:
    """A recorded frame: network, memory and eviction."""

    layout: object
    """Layout of the stream for which it holds."""
    images: Tensor
    """Input of the graph."""
    prediction: Prediction
    """Output of the graph."""
    measured: list[dict[int, Tensor]]
    """Output of the graph for each stream: `KVCache.measured`."""
    replay: Replay
    constants: list[object]
    """Tensors that the graph reads, which a cache might release."""


class FrameGraph:
    """Decodes the frames of a stream by a graph as soon as a frame begins with the same layout as
    the one before: then both are the same sequence of operations. A frame with another layout runs
    operation by operation, and a new graph is recorded once the layout is steady again.

    A recording takes as long as some frames. After one that did not pay, twice as many steady
    frames as before it must pass before the next: layouts that change all the time cost a bounded
    number of recordings.
    """

    def __init__(self, model: VGGT) -> None:
        self._model = model
        self._layout: object = None
        self._recording: Recording | None = None
        self._failure = ""
        self._steady = 0  # latest frames with the same layout as the one before
        self._steady_needed = 1
        self._first_replay = 0  # replays before the present recording
        self.replays = 0
        """Number of frames decoded by a graph."""
        self.recordings = 0
        """Number of graphs recorded."""
        self.reason = ""
        """Reason why the latest frame ran operation by operation; empty if a graph decoded it."""

    def decode(self, images: Tensor, memory: StreamMemory, points: bool) -> Prediction | None:
        """Decode and store the next frame (B, 1, 3, H, W), and evict what leaves after it. Returns
        None, and does nothing, if the frame must run operation by operation."""
        self.reason = self._failure or refusal(self._model, memory)
        if self.reason:
            return None
        weight = next(self._model.parameters())
        layout = (memory.layout, images.shape, images.dtype, points, weight.data_ptr())
        if self._recording is None or self._recording.layout != layout:
            self._follow(layout)
            if self._steady < self._steady_needed:
                self.reason = UNSTEADY
                return None
            if not self._record(images, memory, points):
                self.reason = self._failure
                return None
        return self._replay(images, memory)

    def _follow(self, layout: object) -> None:
        """Count steady frames, and discard a recording of another layout."""
        self._steady = self._steady + 1 if layout == self._layout else 0
        self._layout = layout
        if self._recording is not None:
            has_paid = self.replays - self._first_replay >= WORTH_RECORDING
            self._steady_needed = 1 if has_paid else 2 * self._steady_needed
            self._recording = None  # gives its memory back before the next one takes some

    def _record(self, images: Tensor, memory: StreamMemory, points: bool) -> bool:
        """Record a frame; return False, and leave the memory as it was, if that fails."""
        decoder: Decoder = self._model.decoder or self._model
        with torch.inference_mode(False):  # a stream may go on in and out of inference mode
            given = images.clone()
        found: list[Prediction] = []

        def frame() -> None:
            found.append(decoder.decode(given, memory, points=points))
            memory.end_caches()

        try:
            with held_constants() as constants:
                replay = RECORDERS[images.device.type](frame)
        except Exception as error:  # a driver, a library or a policy may refuse in its own way
            memory.forget_frame()
            reason = f"{type(error).__name__}: {error}".partition("\n")[0]
            self._failure = f"no graph could be recorded: {reason}"
            warnings.warn(
                f"frames run operation by operation, {self._failure}",
                RuntimeWarning,
                stacklevel=6,
            )
            return False
        measured = [cache.measured for cache in memory.streams]
        self._recording = Recording(self._layout, given, found[0], measured, replay, constants)
        self.recordings += 1
        self._first_replay = self.replays
        return True

    def _replay(self, images: Tensor, memory: StreamMemory) -> Prediction:
        recording = self._recording
        assert recording is not None
        recording.images.copy_(images)
        recording.replay()
        self.replays += 1
        for cache, measured in zip(memory.streams, recording.measured, strict=True):
            cache.measured = dict(measured)
        outputs = recording.prediction.tensors()
        return Prediction(**{name: output.clone() for name, output in outputs.items()})


def can_record(model: VGGT) -> bool:
    """Return True if streams of a network may record their frames where it is."""
    return model.records_frames and model.device.type in RECORDERS


def refusal(model: VGGT, memory: StreamMemory) -> str:
    """Return why no two frames of a stream are the same sequence of operations, or why none is
    recorded; empty if they can be."""
    if not model.records_frames:
        return "graphs are off"
    if model.device.type not in RECORDERS:
        return f"no graphs on {model.device.type}"
    if memory.start_frames:
        return "the stream starts"
    if memory.config.keyframe_interval > 1:
        return "some frames are stored and others are not"
    if not all(cache.policy.fits_graph for cache in memory.caches):
        return "the policy changes its operations from frame to frame"
    return ""
