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
    replay: Replay
    constants: list[object]
    """Tensors that the graph reads, which a cache might release."""


class FrameGraph:
    """Decodes the frames of a stream by a graph as soon as a frame begins with the same layout as
    the one before: then both are the same sequence of operations. A frame with another layout runs
    operation by operation, and a new graph is recorded once the layout is steady again.
    """

    def __init__(self, model: VGGT) -> None:
        self._model = model
        self._layout: object = None
        self._recording: Recording | None = None
        self._failed = False
        self.replays = 0
        """Number of frames decoded by a graph."""
        self.recordings = 0
        """Number of graphs recorded."""

    def decode(self, images: Tensor, memory: StreamMemory, points: bool) -> Prediction | None:
        """Decode and store the next frame (B, 1, 3, H, W), and evict what leaves after it. Returns
        None, and does nothing, if the frame must run operation by operation."""
        recorder = RECORDERS.get(images.device.type)
        if recorder is None or self._failed or not self._model.records_frames or refusal(memory):
            return None
        weight = next(self._model.parameters())
        layout = (memory.layout, images.shape, images.dtype, points, weight.data_ptr())
        if self._recording is None or self._recording.layout != layout:
            is_steady, self._layout = layout == self._layout, layout
            self._recording = None  # gives its memory back before the next one takes some
            if not is_steady or not self._record(recorder, images, memory, points):
                return None
        return self._replay(images)

    def _record(
        self, recorder: Recorder, images: Tensor, memory: StreamMemory, points: bool
    ) -> bool:
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
                replay = recorder(frame)
        except Exception as error:  # a driver, a library or a policy may refuse in its own way
            memory.forget_frame()
            self._failed = True
            reason = f"{type(error).__name__}: {error}".partition("\n")[0]
            warnings.warn(
                f"frames run operation by operation, no graph could be recorded: {reason}",
                RuntimeWarning,
                stacklevel=6,
            )
            return False
        self._recording = Recording(self._layout, given, found[0], replay, constants)
        self.recordings += 1
        return True

    def _replay(self, images: Tensor) -> Prediction:
        recording = self._recording
        assert recording is not None
        recording.images.copy_(images)
        recording.replay()
        self.replays += 1
        outputs = recording.prediction.tensors()
        return Prediction(**{name: output.clone() for name, output in outputs.items()})


def refusal(memory: StreamMemory) -> str | None:
    """Return why no two frames of a stream are the same sequence of operations, None if they can
    be."""
    if memory.start_frames:
        return "the stream starts"
    if memory.config.keyframe_interval > 1:
        return "some frames are stored and others are not"
    if memory.model.temporal_rotation:
        return "the network rotates by the number of the frame"
    if not all(cache.policy.fits_graph for cache in memory.caches):
        return "the policy changes its operations from frame to frame"
    return None
