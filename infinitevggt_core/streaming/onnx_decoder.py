# SPDX-License-Identifier: Apache-2.0
"""Decodes the frames of a stream by ONNX Runtime."""

import logging
import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from infinitevggt_core.memory.kv_cache import KVCache
from infinitevggt_core.memory.precision import Plain
from infinitevggt_core.memory.stream_memory import StreamMemory
from infinitevggt_core.model.attention import Context
from infinitevggt_core.model.onnx_graph import HIDDEN, check_exportable
from infinitevggt_core.model.prediction import Prediction
from infinitevggt_core.model.vggt import VGGT
from infinitevggt_core.streaming.graph_cache import (
    CACHE_BYTES,
    cached_graph,
    export_to_cache,
    mark_used,
)
from infinitevggt_core.streaming.graph_export import GraphExport

logger = logging.getLogger(__name__)

ENGINES = ("auto", "torch", "onnx")
PACKAGES = ("onnx", "onnxscript", "onnxruntime")
WORTH_EXPORTING = 300
"""Frames of one size that PyTorch decodes before `auto` exports a graph, which takes as long as the
graph gains in some 2,000 frames."""
MOST_GRAPHS = 4
"""Graphs that are open at once."""
GIGABYTE = 2**30
Array = NDArray[np.float32]


def use_engine(model: VGGT, engine: str, threads: int | None = None) -> None:
    """Decode the frames of streams by an engine from now on.

    torch: PyTorch. onnx: ONNX Runtime, which takes a graph from the cache or exports it at the
    second frame, a quarter of a minute for each new size of images. auto: ONNX Runtime where it is
    installed and the cache has the graph. Where the cache has none, PyTorch decodes the stream, and
    a process beside it exports the graph after WORTH_EXPORTING frames; streams that start later
    take it. Frames that the graph cannot decode go to PyTorch (`refusal`). Raises ValueError, with
    the reason, if `engine` is onnx and cannot work.
    """
    if engine not in ENGINES:
        raise ValueError(f"engine must be one of {', '.join(ENGINES)}; got {engine!r}")
    model.decoder = None
    if engine == "torch":
        return
    is_asked_for = engine == "onnx"
    try:
        check_engine(model)
        _check_size(model, 2 * GIGABYTE if is_asked_for else CACHE_BYTES // 4)
    except ValueError:
        if is_asked_for:
            raise
        return
    threads = torch.get_num_threads() if threads is None else threads
    model.decoder = OnnxDecoder(model, threads, exports_at_once=is_asked_for)


def check_engine(model: VGGT) -> None:
    """Raise ValueError, with the reason, if ONNX Runtime cannot run a network here."""
    missing = [name for name in PACKAGES if find_spec(name) is None]
    if missing:
        raise ValueError(f"the engine needs {', '.join(missing)}: pip install {' '.join(missing)}")
    check_exportable(model)


def _check_size(model: VGGT, most: int) -> None:
    size = sum(weight.nbytes for weight in model.state_dict().values())
    if size >= most:
        raise ValueError(f"the weights take {size / 1e9:.1f} GB, a graph in one file has no room")


class OnnxDecoder:
    """A network in ONNX Runtime. The memory stays in our tensors, which the graph reads in place;
    frames that the graph cannot decode go to PyTorch."""

    def __init__(self, model: VGGT, threads: int, *, exports_at_once: bool) -> None:
        """exports_at_once: export a graph that the cache does not have where it is needed, and not
        in a process beside the stream."""
        self.model, self.threads, self.exports_at_once = model, threads, exports_at_once
        self.decoded = 0
        """Number of frames decoded by ONNX Runtime."""
        self.export: GraphExport | None = None
        """Process that exports a graph now."""
        self._paths: dict[tuple[int, int], Path] = {}
        self._graphs: dict[tuple[int, int], Any] = {}
        self._missing: dict[tuple[int, int], int] = {}  # frames that a graph would have decoded
        self._biases: dict[tuple[int, int], Array] = {}
        self._warned: set[str] = set()

    def decode(self, images: Tensor, context: Context, *, points: bool = False) -> Prediction:
        """Decode the next frame as `VGGT.decode` does."""
        if context.start_frames:
            self._look_again()
        reason = "the point head is asked for" if points else refusal(context)
        if reason is None and context.start_frames == 0 and images.device.type == "cpu":
            prediction = self._run(images, context)
            if prediction is not None:
                return prediction
        elif reason is not None and self.exports_at_once:
            self._warn(reason)
        return self.model.decode(images, context, points=points)

    def _warn(self, reason: str) -> None:
        if reason not in self._warned:
            self._warned.add(reason)
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

    def _look_again(self) -> None:
        """Forget which graphs are missing: a stream starts, and takes those that are there now."""
        self._graphs = {size: graph for size, graph in self._graphs.items() if graph is not None}

    def _graph(self, size: tuple[int, int]) -> Any:
        """Return the graph for images of a size, None if there is none for this stream."""
        if size not in self._graphs:
            if len(self._graphs) == MOST_GRAPHS:
                self._graphs.pop(next(iter(self._graphs)))
            self._graphs[size] = self._open(size)
        graph = self._graphs[size]
        if graph is None and not self.exports_at_once:
            self._export_later(size)
        return graph

    def _open(self, size: tuple[int, int]) -> Any:
        try:
            path = self._path(size)
            if not path.exists():
                if not self.exports_at_once:
                    return None
                logger.warning("exporting the network for %d x %d images", *reversed(size))
                export_to_cache(self.model, size, path)
            mark_used(path)
            return open_graph(path, self.threads)
        except Exception as error:  # exporter, disk or a graph of another machine
            self._warn(f"{type(error).__name__}: {error}".partition("\n")[0])
            return None

    def _path(self, size: tuple[int, int]) -> Path:
        if size not in self._paths:
            self._paths[size] = cached_graph(self.model, size)
        return self._paths[size]

    def _export_later(self, size: tuple[int, int]) -> None:
        """Export a graph beside the stream as soon as that is worth it, once."""
        if self.export is not None:
            return self._finish_export()
        frames = self._missing[size] = self._missing.get(size, 0) + 1
        if frames != WORTH_EXPORTING:
            return
        try:
            self.export = GraphExport(self.model, size, self._path(size))
        except Exception as error:  # a full disk has several kinds
            return self._warn(f"no graph can be exported: {error}")
        logger.warning(
            "exporting the network for %d x %d images beside the stream; streams that start later "
            "are decoded by ONNX Runtime",
            *reversed(size),
        )

    def _finish_export(self) -> None:
        assert self.export is not None
        if self.export.is_running:
            return
        if reason := self.export.wait():
            self._warn(f"the export failed: {reason}")
        self.export = None

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


def open_graph(path: Path, threads: int = 1) -> Any:
    """Open a graph in ONNX Runtime, on the CPU."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3
    providers = ["CPUExecutionProvider"]
    return onnxruntime.InferenceSession(str(path), options, providers=providers)
