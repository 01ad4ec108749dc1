# SPDX-License-Identifier: Apache-2.0
"""One frame of a stream as an ONNX graph, with the memory as inputs and outputs."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from infinitevggt_core.model.attention import Clip, attend_all
from infinitevggt_core.model.heads.camera_head import ITERATIONS
from infinitevggt_core.model.vggt import VGGT

INPUTS = (
    "image",
    "keys",
    "values",
    "bias",
    "camera_keys",
    "camera_values",
    "camera_bias",
)
OUTPUTS = (
    "pose_encoding",
    "depth",
    "depth_confidence",
    "new_keys",
    "new_values",
    "new_camera_keys",
    "new_camera_values",
    "updates",
)
HIDDEN = -1e9
"""Bias of a free slot. Minus infinity would give NaN where all slots are free."""
OPSET = 20
VERSION = 1
"""Number of the graph's form; a cached graph of another one is not used."""


@dataclass(frozen=True, slots=True)
class GraphSizes:
    """Slots per layer of the memory's inputs; the size of the image."""

    slots: int
    camera_slots: int
    height: int
    width: int


class FrameGraph(nn.Module):
    """Decodes a later frame of a stream: the first one is another graph (`is_first`)."""

    def __init__(self, model: VGGT, is_first: bool = False) -> None:
        super().__init__()
        self.model, self.is_first = model, is_first

    def forward(
        self,
        image: Tensor,
        keys: Tensor,
        values: Tensor,
        bias: Tensor,
        camera_keys: Tensor,
        camera_values: Tensor,
        camera_bias: Tensor,
    ) -> tuple[Tensor, ...]:
        """image: (1, 3, H, W). keys, values: (1, heads, layers, slots, head_dim). bias: (1, 1, 1,
        slots), 0 for a token and HIDDEN for a free slot. Returns OUTPUTS: (1, 9), (1, H, W) twice,
        new keys and values (layers, 1, heads, tokens, head_dim), and what the feed-forward part of
        each global block adds, (layers, 1, tokens, dim)."""
        context = _Context(self.is_first, (keys, values, bias))
        cameras = _Context(self.is_first, (camera_keys, camera_values, camera_bias))
        trunk = self.model.config.camera_trunk_depth
        features = self.model.aggregator(
            image[:, None],
            context.attend,
            self.model.feature_layers,
            start_frames=int(self.is_first),
            observe=context.observe,
        )
        pose = self.model.camera_head(
            features[self.model.config.depth - 1],
            lambda iteration, block, *qkv: cameras.attend(iteration * trunk + block, *qkv),
        )
        size = (image.shape[-2], image.shape[-1])
        depth, confidence = self.model.depth_head(features, size)
        new = (*context.stacked(), *cameras.stacked())
        return pose[:, 0], depth[:, 0, ..., 0], confidence[:, 0], *new, torch.stack(context.updates)


class _Context:
    """The memory as it comes into the graph, and what the frame adds to it."""

    def __init__(self, is_first: bool, held: tuple[Tensor, Tensor, Tensor]) -> None:
        self.is_first, self.held = is_first, held
        self.keys: list[Tensor] = []
        self.values: list[Tensor] = []
        self.updates: list[Tensor] = []

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        self.keys.append(k)
        self.values.append(v)
        if self.is_first:
            return scaled_dot_product_attention(q, k, v)
        keys, values, bias = self.held
        mask = torch.cat((bias, bias.new_zeros(1, 1, 1, k.shape[2])), dim=3)
        return scaled_dot_product_attention(
            q,
            torch.cat((keys[:, :, layer], k), dim=2),
            torch.cat((values[:, :, layer], v), dim=2),
            attn_mask=mask,
        )

    def observe(self, layer: int, updates: Tensor) -> None:
        self.updates.append(updates)

    def stacked(self) -> tuple[Tensor, Tensor]:
        return torch.stack(self.keys), torch.stack(self.values)


def empty_inputs(model: VGGT, sizes: GraphSizes) -> tuple[Tensor, ...]:
    """Return zeros in the shapes of INPUTS."""
    config = model.config
    head_dim = config.embed_dim // config.num_heads
    camera_dim = 2 * config.embed_dim // config.camera_num_heads
    held = (1, config.num_heads, config.depth, sizes.slots, head_dim)
    layers = ITERATIONS * config.camera_trunk_depth
    cameras = (1, config.camera_num_heads, layers, sizes.camera_slots, camera_dim)
    shapes: Sequence[tuple[int, ...]] = (
        (1, 3, sizes.height, sizes.width),
        held,
        held,
        (1, 1, 1, sizes.slots),
        cameras,
        cameras,
        (1, 1, 1, sizes.camera_slots),
    )
    return tuple(torch.zeros(shape) for shape in shapes)


def check_exportable(model: VGGT) -> None:
    """Raise ValueError, with the reason, for a network that has no ONNX graph."""
    if model.config.temporal_rotation:
        raise ValueError("a network with temporal positions cannot be exported")
    if model.dtype != torch.float32 or model.device.type != "cpu":
        raise ValueError("only a network in fp32 on the CPU can be exported")


@torch.no_grad()
def export(
    model: VGGT, sizes: GraphSizes, path: Path, *, is_first: bool = False, fixed: bool = False
) -> None:
    """Write the graph of one frame. fixed: the number of slots is that of `sizes` for good; else a
    memory of any size fits. Raises ValueError for a network that cannot be exported."""
    check_exportable(model)
    dynamic = None
    if not fixed:
        slots, cameras = torch.export.Dim("slots", min=2), torch.export.Dim("cameras", min=2)
        held, camera = {3: slots}, {3: cameras}
        dynamic = (None, held, held, held, camera, camera, camera)
    inputs = empty_inputs(model, sizes)
    model.decode(
        inputs[0][:, None], Clip(attend_all, 0, 1)
    )  # so that the constants of this size are cached
    program = torch.onnx.export(
        FrameGraph(model, is_first).eval(),
        inputs,
        input_names=list(INPUTS),
        output_names=list(OUTPUTS),
        opset_version=OPSET,
        dynamic_shapes=None if is_first else dynamic,
        dynamo=True,
        verbose=False,
    )
    assert program is not None
    program.save(str(path))
