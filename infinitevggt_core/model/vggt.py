# SPDX-License-Identifier: Apache-2.0
"""The network: weights only, nothing about any stream (model_spec.md)."""

import torch
from torch import Tensor, nn

from infinitevggt_core.config import ModelConfig
from infinitevggt_core.model.aggregator import Aggregator
from infinitevggt_core.model.attention import batch_attention
from infinitevggt_core.model.heads.camera_head import CameraHead
from infinitevggt_core.model.heads.dense_head import DenseHead
from infinitevggt_core.model.heads.track_head import TrackHead
from infinitevggt_core.model.layers import Block, check_compiler, parameter_dtype
from infinitevggt_core.model.prediction import Prediction


class VGGT(nn.Module):
    """VGGT, StreamVGGT and STream3R: one network, other attention. Keys as in the checkpoints."""

    def __init__(self, config: ModelConfig | None = None) -> None:
        super().__init__()
        self.config = config or ModelConfig()
        self.aggregator = Aggregator(self.config)
        self.camera_head = CameraHead(self.config)
        self.depth_head = DenseHead(self.config, output_dim=2, activation="exp")
        self.point_head = DenseHead(self.config, output_dim=4, activation="inv_log")
        self.track_head = TrackHead(self.config) if self.config.track else None

    @property
    def levels(self) -> tuple[int, ...]:
        """Layers whose tokens the heads read."""
        return tuple(sorted({*self.config.dpt_layers, self.config.depth - 1}))

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """Precision of the aggregator, which is nearly all of the work."""
        return parameter_dtype(self.aggregator)

    def cast(self, dtype: torch.dtype) -> "VGGT":
        """Compute in `dtype`; camera and track head in fp32: poses and pixels need more digits than
        bf16 has. Convolutions are given the layout in which they are fast."""
        self.aggregator.to(dtype)
        for head in (self.depth_head, self.point_head):
            nn.utils.convert_conv2d_weight_memory_format(head.to(dtype), torch.channels_last)
        return self

    def compile_blocks(self) -> "VGGT":
        """Run the blocks as torch.compile makes them: for a GPU, where launching many small
        operations costs more than they do. The first frame of a shape then takes up to minutes.
        Raises RuntimeError where nothing can be compiled."""
        check_compiler(self.device)
        for module in self.modules():
            if isinstance(module, Block):
                module.is_compiled = True
        return self

    def forward(
        self,
        images: Tensor,
        attention: str = "full",
        *,
        window: int = 5,
        query_points: Tensor | None = None,
        points: bool = True,
    ) -> Prediction:
        """A whole clip at once.

        images: (B, S, 3, H, W) float in [0, 1]. attention: "full" (VGGT), "causal" (StreamVGGT) or
        "window" (STream3R: frame 0 and the latest `window` frames, the current one included).
        query_points: (B, Q, 2) or (Q, 2), pixels (x, y) of frame 0. points: run the point head.
        Raises ValueError for images of another shape, or queries without a track head.
        """
        self.check_images(images, dims=5)
        frames, size = images.shape[1], (images.shape[-2], images.shape[-1])
        attend = batch_attention(attention, frames, window)
        levels = self.aggregator(images, lambda _, q, k, v: attend(q, k, v), self.levels)
        pose = self.camera_head(
            levels[self.config.depth - 1], lambda _iteration, _block, q, k, v: attend(q, k, v)
        )
        depth, depth_confidence = self.depth_head(levels, size)
        point_map, point_confidence = self.point_head(levels, size) if points else (None, None)
        tracks = self._tracks(levels, size, query_points)
        return Prediction(
            pose, depth[..., 0], depth_confidence, point_map, point_confidence, *tracks
        )

    def _tracks(
        self, levels: dict[int, Tensor], size: tuple[int, int], query_points: Tensor | None
    ) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        if query_points is None:
            return None, None, None
        if self.track_head is None:
            raise ValueError("query_points need a model with ModelConfig(track=True)")
        batch = levels[self.config.depth - 1].shape[0]
        queries = query_points.to(self.device).expand(batch, *query_points.shape[-2:])
        tracks: tuple[Tensor, Tensor, Tensor] = self.track_head(levels, size, queries)
        return tracks

    def check_images(self, images: Tensor, dims: int) -> None:
        """Raise ValueError unless images are float (..., 3, H, W), sides multiples of the patch."""
        patch = self.config.patch_size
        fits = images.ndim == dims and images.shape[-3] == 3 and images.is_floating_point()
        if not fits or images.numel() == 0 or any(s % patch for s in images.shape[-2:]):
            names = "(B, S, 3, H, W)" if dims == 5 else "(B, 3, H, W)"
            raise ValueError(
                f"expected float images {names} with H and W multiples of {patch}; "
                f"got {images.dtype} {tuple(images.shape)}"
            )
