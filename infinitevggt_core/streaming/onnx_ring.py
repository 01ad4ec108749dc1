# SPDX-License-Identifier: Apache-2.0
"""Stream from exported graphs alone, without this package's memory: policy window in a ring."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from infinitevggt_core.model.onnx_graph import HIDDEN, INPUTS, GraphSizes, empty_inputs
from infinitevggt_core.model.vggt import VGGT
from infinitevggt_core.streaming.onnx_decoder import open_graph

Array = NDArray[np.float32]


class RingStream:
    """The first frame and the latest `frames` - 1 ones, each at a place of its own: what a program
    on another machine does with the exported graphs."""

    def __init__(self, model: VGGT, first: Path, later: Path, sizes: GraphSizes) -> None:
        self._graphs = open_graph(first), open_graph(later)
        self._tokens = model.aggregator.tokens_per_frame(sizes.height, sizes.width)
        self._frames, self._frame = sizes.camera_slots, 0
        inputs = zip(INPUTS[1:], empty_inputs(model, sizes)[1:], strict=True)
        self._held: dict[str, Array] = {name: tensor.numpy() for name, tensor in inputs}
        for name in ("bias", "camera_bias"):
            self._held[name][:] = HIDDEN

    def push(self, image: Array) -> tuple[Array, Array, Array]:
        """Return pose encoding (1, 9), depth and its confidence (1, H, W) of an image (3, H, W)."""
        graph = self._graphs[min(self._frame, 1)]
        known = {"image": image[None], **self._held}
        given = {x.name: known[x.name] for x in graph.get_inputs()}
        pose, depth, confidence, *new, _ = graph.run(None, given)
        place = self._frame
        if place >= self._frames:
            place = 1 + (self._frame - 1) % (self._frames - 1)
        for prefix, size, vectors in (("", self._tokens, new[:2]), ("camera_", 1, new[2:])):
            span = slice(place * size, (place + 1) * size)
            for name, vector in zip(("keys", "values"), vectors, strict=True):
                # (layers, 1, heads, tokens, head_dim) -> (1, heads, layers, tokens, head_dim)
                self._held[prefix + name][:, :, :, span] = vector.transpose(1, 2, 0, 3, 4)
            self._held[f"{prefix}bias"][..., span] = 0
        self._frame += 1
        return pose, depth, confidence
