# SPDX-License-Identifier: Apache-2.0
"""Decodes the frames of a stream by ONNX Runtime."""

import hashlib
import os
import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from infinitevggt_core.io.atomic_file import whole_file
from infinitevggt_core.memory.kv_cache import KVCache
from infinitevggt_core.memory.precision import Plain
from infinitevggt_core.memory.stream_memory import StreamMemory
from infinitevggt_core.model.attention import Context
from infinitevggt_core.model.onnx_graph import (
    HIDDEN,
    VERSION,
    GraphSizes,
    check_exportable,
    export,
)
from infinitevggt_core.model.prediction import Prediction
from infinitevggt_core.model.vggt import VGGT

ENGINES = ("auto", "torch", "onnx")
PACKAGES = ("onnx", "onnxscript", "onnxruntime")
EXAMPLE_SLOTS = 64
"""Slots of the inputs with which a graph is traced; it takes any number."""
Array = NDArray[np.float32]


def use_engine(model: VGGT, engine: str, threads: int | None = None) -> None:
    """Decode the frames of streams by an engine from now on.

    torch: PyTorch. onnx: ONNX Runtime, which takes a graph from the cache or exports it, a quarter
    of a minute for each new size of images. auto: ONNX Runtime where it is installed and the cache
    has the graph. Frames that the graph cannot decode go to PyTorch (`refusal`). Raises ValueError,
    with the reason, if `engine` is onnx and cannot work.
    """
    if engine not in ENGINES:
        raise ValueError(f"engine must be one of {', '.join(ENGINES)}; got {engine!r}")
    model.decoder = None
    if engine == "torch":
        return
    try:
        check_engine(model)
    except ValueError:
        if engine == "onnx":
            raise
        return
    threads = torch.get_num_threads() if threads is None else threads
    model.decoder = OnnxDecoder(model, threads, exports=engine == "onnx")


def check_engine(model: VGGT) -> None:
    """Raise ValueError, with the reason, if ONNX Runtime cannot run a network here."""
    missing = [name for name in PACKAGES if find_spec(name) is None]
    if missing:
        raise ValueError(f"the engine needs {', '.join(missing)}: pip install '.[onnx]'")
    check_exportable(model)


class OnnxDecoder:
    """A network in ONNX Runtime. The memory stays in our tensors, which the graph reads in place;
    frames that the graph cannot decode go to PyTorch."""

    def __init__(self, model: VGGT, threads: int, *, exports: bool) -> None:
        """exports: export a graph that the cache does not have."""
        self.model, self.threads, self.exports = model, threads, exports
        self.decoded = 0
        """Number of frames decoded by ONNX Runtime."""
        self._graphs: dict[tuple[int, int], Any] = {}
        self._biases: dict[tuple[int, int], Array] = {}
        self._refusals: set[str] = set()

    def decode(self, images: Tensor, context: Context, *, points: bool = False) -> Prediction:
        """Decode the next frame as `VGGT.decode` does."""
        reason = "the point head is asked for" if points else refusal(context)
        if reason is None and context.start_frames == 0 and images.device.type == "cpu":
            prediction = self._run(images, context)
            if prediction is not None:
                return prediction
        elif reason is not None:
            self._warn(reason)
        return self.model.decode(images, context, points=points)

    def _warn(self, reason: str) -> None:
        if self.exports and reason not in self._refusals:
            self._refusals.add(reason)
            warnings.warn(f"PyTorch decodes the frames: {reason}", RuntimeWarning, stacklevel=6)

    def _run(self, images: Tensor, context: Context) -> Prediction | None:
        assert isinstance(context, StreamMemory)
        stream, camera = context.streams[0], context.camera
        held, cameras = self._inputs("", stream), self._inputs("camera_", camera)
        graph = self._graph((images.shape[-2], images.shape[-1]))
        if held is None or cameras is None or graph is None:
            return None
        outputs = graph.run(None, {"image": images[0].numpy(), **held, **cameras})
        pose, depth, confidence, *new, updates = map(torch.from_numpy, outputs)
        stream.append_to_all(*new[:2])
        camera.append_to_all(*new[2:])
        if context.watches_updates:
            for layer, update in enumerate(updates):
                context.observe(layer, update)
        self.decoded += 1
        return Prediction(pose[:, None], depth[:, None], confidence[:, None])

    def _graph(self, size: tuple[int, int]) -> Any:
        """Return the graph for images of a size, None if there is none."""
        if size not in self._graphs:
            path = cached_graph(self.model, size)
            if not path.exists() and self.exports:
                path.parent.mkdir(parents=True, exist_ok=True)
                with whole_file(path) as partial:
                    export(self.model, GraphSizes(EXAMPLE_SLOTS, EXAMPLE_SLOTS, *size), partial)
            self._graphs[size] = open_graph(path, self.threads) if path.exists() else None
        return self._graphs[size]

    def _inputs(self, prefix: str, cache: KVCache) -> dict[str, Array] | None:
        even = cache.even_parts()
        if even is None or even[1] == 0:
            return None
        (keys, values, *_), length = even
        place = (keys.shape[3], length)
        if place not in self._biases:
            if len(self._biases) > 1:  # those of the two caches now
                self._biases.clear()
            self._biases[place] = np.full((1, 1, 1, place[0]), HIDDEN, np.float32)
            self._biases[place][..., :length] = 0
        arrays = {"keys": keys.numpy(), "values": values.numpy(), "bias": self._biases[place]}
        return {f"{prefix}{name}": array for name, array in arrays.items()}


def refusal(context: Context) -> str | None:
    """Return why the graph cannot decode the frames of a memory, None if it can."""
    if not isinstance(context, StreamMemory):
        return "several sessions are decoded together"
    stream = context.streams[0]
    if len(context.streams) > 1:
        return "the session has several streams"
    if stream.policy.before_attention or stream.policy.uses_mean_key:
        return "the policy evicts before attention, in the middle of the graph"
    if context.config.camera_memory == "shared":
        return "the refinements of the camera share a cache"
    if stream.precision != Plain(torch.float32):
        return "keys and values are not stored in fp32"
    return None


def cached_graph(model: VGGT, size: tuple[int, int]) -> Path:
    """Return the file of the graph of a network for images of a size, there or not."""
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    digest = hashlib.sha256(f"{VERSION} {model.config} {size} {torch.__version__}".encode())
    for name, weight in model.state_dict().items():
        digest.update(name.encode())
        digest.update(weight.detach().cpu().contiguous().numpy().tobytes())
    return root / "infinitevggt" / f"{digest.hexdigest()[:32]}.onnx"


def open_graph(path: Path, threads: int = 1) -> Any:
    """Open a graph in ONNX Runtime, on the CPU."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3
    providers = ["CPUExecutionProvider"]
    return onnxruntime.InferenceSession(str(path), options, providers=providers)
