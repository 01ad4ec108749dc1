# SPDX-License-Identifier: Apache-2.0
"""Decodes the frames of a stream by ONNX Runtime."""

import tempfile
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from infinitevggt_core.memory.kv_cache import KVCache
from infinitevggt_core.memory.precision import Plain
from infinitevggt_core.memory.stream_memory import StreamMemory
from infinitevggt_core.model.attention import Context
from infinitevggt_core.model.onnx_graph import HIDDEN, GraphSizes, check_exportable, export
from infinitevggt_core.model.prediction import Prediction
from infinitevggt_core.model.vggt import VGGT

EXAMPLE_SLOTS = 64
"""Slots of the inputs with which a graph is traced; it takes any number."""
Array = NDArray[np.float32]


class Decoder(Protocol):
    """The network, or an engine that runs it."""

    def decode(self, images: Tensor, context: Context, *, points: bool = False) -> Prediction:
        """Decode frames (B, S, 3, H, W)."""


class OnnxDecoder:
    """The network of one image size in ONNX Runtime. The memory stays in our tensors, which the
    graph reads in place; frames that it cannot decode go to PyTorch."""

    def __init__(self, model: VGGT, height: int, width: int, threads: int = 1) -> None:
        """Raises ValueError for a network that cannot be exported, ImportError without onnx,
        onnxscript or onnxruntime."""
        check_exportable(model)
        self.model, self._size = model, (height, width)
        sizes = GraphSizes(EXAMPLE_SLOTS, EXAMPLE_SLOTS, height, width)
        with tempfile.TemporaryDirectory() as directory:
            path = Path(directory, "frame.onnx")
            export(model, sizes, path)
            self._graph = open_graph(path, threads)
        self._biases: dict[tuple[int, int], Array] = {}
        self.decoded = 0
        """Number of frames decoded by ONNX Runtime."""

    def decode(self, images: Tensor, context: Context, *, points: bool = False) -> Prediction:
        """Decode the next frame as `VGGT.decode` does."""
        if not points and self._suits(images) and refusal(context) is None:
            assert isinstance(context, StreamMemory)
            prediction = self._run(images, context)
            if prediction is not None:
                return prediction
        return self.model.decode(images, context, points=points)

    def _suits(self, images: Tensor) -> bool:
        return tuple(images.shape) == (1, 1, 3, *self._size)

    def _run(self, images: Tensor, memory: StreamMemory) -> Prediction | None:
        stream, camera = memory.streams[0], memory.camera
        held, cameras = self._inputs("", stream), self._inputs("camera_", camera)
        if held is None or cameras is None:
            return None
        outputs = self._graph.run(None, {"image": images[0].numpy(), **held, **cameras})
        pose, depth, confidence, *new, updates = map(torch.from_numpy, outputs)
        for cache, keys, values in ((stream, *new[:2]), (camera, *new[2:])):
            for layer, of_layer in enumerate(zip(keys, values, strict=True)):
                cache.append(layer, *of_layer)
        if memory.watches_updates:
            for layer, update in enumerate(updates):
                memory.observe(layer, update)
        self.decoded += 1
        return Prediction(pose[:, None], depth[:, None], confidence[:, None])

    def _inputs(self, prefix: str, cache: KVCache) -> dict[str, Array] | None:
        even = cache.even_parts()
        if even is None or even[1] == 0:
            return None
        (keys, values, *_), length = even
        place = (keys.shape[3], length)
        if place not in self._biases:
            bias = np.full((1, 1, 1, place[0]), HIDDEN, np.float32)
            bias[..., :length] = 0
            self._biases = {place: bias} if len(self._biases) > 1 else {**self._biases, place: bias}
        arrays = (keys.numpy(), values.numpy(), self._biases[place])
        return {f"{prefix}{name}": x for name, x in zip(("keys", "values", "bias"), arrays)}


def refusal(context: Context) -> str | None:
    """Return why the frames of a memory cannot be decoded by ONNX Runtime, None if they can."""
    if not isinstance(context, StreamMemory):
        return "several sessions are decoded together"
    stream = context.streams[0]
    if len(context.streams) > 1:
        return "the session has several streams"
    if stream.policy.before_attention:
        return "the policy evicts before attention, inside the graph"
    if context.config.camera_memory == "shared":
        return "the camera's refinements share a memory"
    if not isinstance(stream.precision, Plain) or stream.precision.compute != torch.float32:
        return "keys and values are not stored in fp32"
    if context.start_frames:
        return "the stream starts"
    return None


def open_graph(path: Path, threads: int = 1) -> Any:
    """Open a graph in ONNX Runtime, on the CPU."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3
    providers = ["CPUExecutionProvider"]
    return onnxruntime.InferenceSession(str(path), options, providers=providers)
