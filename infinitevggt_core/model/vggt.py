# SPDX-License-Identifier: Apache-2.0
"""The network: weights only, no state of any stream (docs/model.md)."""

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from infinitevggt_core.config import ModelConfig
from infinitevggt_core.model.aggregator import Aggregator
from infinitevggt_core.model.attention import Clip, Context, batch_attention
from infinitevggt_core.model.decoder import Decoder
from infinitevggt_core.model.geometry import invert_pose_encoding
from infinitevggt_core.model.heads.camera_head import CameraHead
from infinitevggt_core.model.heads.dense_head import DenseHead
from infinitevggt_core.model.heads.track_head import TrackHead
from infinitevggt_core.model.layers import Block, check_compiler, parameter_dtype
from infinitevggt_core.model.prediction import Prediction
from infinitevggt_core.model.preprocess import PixelMap, preprocess
from infinitevggt_core.model.side_stream import beside


class VGGT(nn.Module):
    """VGGT, StreamVGGT, STream3R and LingBot-Map: one network with different attention.

    The keys of its state_dict are those of the published checkpoints.
    """

    def __init__(self, config: ModelConfig | None = None) -> None:
        super().__init__()
        self.config = config or ModelConfig()
        self.aggregator = Aggregator(self.config)
        self.camera_head = CameraHead(self.config)
        self.depth_head = DenseHead(self.config, output_dim=2, activation="exp")
        if self.config.point_head:
            self.point_head = DenseHead(self.config, output_dim=4, activation="inv_log")
        self.track_head = TrackHead(self.config) if self.config.track else None
        self.decoder: Decoder | None = None
        """Engine that decodes the frames of streams; None: this network by itself."""
        self.records_frames = True
        """True if a stream on CUDA records its frame as a graph once its memory is full."""

    @property
    def feature_layers(self) -> tuple[int, ...]:
        """Layers whose tokens the heads read."""
        return tuple(sorted({*self.config.dpt_layers, self.config.depth - 1}))

    @property
    def device(self) -> torch.device:
        """Device of the weights."""
        return next(self.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """Precision of the aggregator, which does nearly all of the work."""
        return parameter_dtype(self.aggregator)

    def cast(self, dtype: torch.dtype) -> "VGGT":
        """Compute in `dtype`, except for the camera and track heads: poses and pixels need more
        digits than bf16 has. Convolutions get the memory layout in which they are fast."""
        self.aggregator.to(dtype)
        heads = [self.depth_head, *([self.point_head] if self.config.point_head else [])]
        for head in heads:
            nn.utils.convert_conv2d_weight_memory_format(head.to(dtype), torch.channels_last)
        return self

    def compile_blocks(self) -> "VGGT":
        """Run the transformer blocks through torch.compile, which pays on a GPU, where launching
        many small operations takes longer than computing them. The first frame of each shape then
        takes up to minutes. Raises RuntimeError if nothing can be compiled."""
        check_compiler(self.device)
        for module in self.modules():
            if isinstance(module, Block):
                module.is_compiled = True
        return self

    def preprocess(self, picture: NDArray[np.uint8], mode: str = "crop") -> tuple[Tensor, PixelMap]:
        """Convert an 8-bit image (H, W), (H, W, 3) RGB or (H, W, 4) RGBA to an image [3, h, w] in
        [0, 1] of the size for which the network was trained, and return the map between their
        pixels. See `preprocess`."""
        return preprocess(picture, self.config.img_size, self.config.patch_size, mode)

    def forward(
        self,
        images: Tensor,
        attention: str = "full",
        *,
        window: int = 5,
        query_points: Tensor | None = None,
        points: bool = True,
    ) -> Prediction:
        """Decode a whole clip.

        images: (B, S, 3, H, W) float in [0, 1]. attention: "full" (VGGT), "causal" (StreamVGGT) or
        "window" (STream3R: frame 0 and the latest `window` frames, the current one included).
        query_points: (B, Q, 2) or (Q, 2), pixels (x, y) of frame 0. points: run the point head, if
        there is one. Raises ValueError for images of another shape, or queries without a track
        head.
        """
        self.check_images(images, dims=5)
        batch, frames = images.shape[:2]
        attend = batch_attention(attention, frames, window)
        context = Clip(attend, frames if attention == "full" else 1, batch)
        points = points and self.config.point_head
        return self.decode(images, context, points=points, query_points=query_points)

    def decode(
        self,
        images: Tensor,
        context: Context,
        *,
        points: bool = False,
        query_points: Tensor | None = None,
    ) -> Prediction:
        """Decode frames (B, S, 3, H, W) that see the frames of `context`, from the aggregator to
        the heads; fields of the result are [B, S, ...].

        points: run the point head. query_points: (B, Q, 2), pixels (x, y) of frame 0.
        """
        features = self.aggregator(
            images,
            context.attend,
            self.feature_layers,
            start_frames=context.start_frames,
            indices=context.indices,
            observe=context.observe if context.watches_updates else None,
            position=context.position(images.device),
        )
        size = (images.shape[-2], images.shape[-1])
        pose, (depth, depth_confidence) = beside(
            images.device,
            lambda: self._poses(features, context),
            lambda: self.depth_head(features, size),
        )
        prediction = Prediction(pose, depth[..., 0], depth_confidence)
        if points:
            prediction = replace(prediction, **self._points(features, size))
        if query_points is not None:
            prediction = replace(prediction, **self._tracks(features, size, query_points))
        return prediction

    def _poses(self, features: dict[int, Tensor], context: Context) -> Tensor:
        """Return pose encodings (B, S, 9), camera_from_world."""
        pose: Tensor = self.camera_head(features[self.config.depth - 1], context.attend_camera)
        return invert_pose_encoding(pose) if self.config.predicts_world_from_camera else pose

    def _points(self, features: dict[int, Tensor], size: tuple[int, int]) -> dict[str, Tensor]:
        self.check_point_head()
        points, confidence = self.point_head(features, size)
        return {"points": points, "points_confidence": confidence}

    def _tracks(
        self, features: dict[int, Tensor], size: tuple[int, int], query_points: Tensor
    ) -> dict[str, Tensor]:
        if self.track_head is None:
            raise ValueError("query_points need a model with ModelConfig(track=True)")
        batch = features[self.config.depth - 1].shape[0]
        queries = query_points.to(self.device).expand(batch, *query_points.shape[-2:])
        tracks, visibility, confidence = self.track_head(features, size, queries)
        return {"tracks": tracks, "track_visibility": visibility, "track_confidence": confidence}

    def check_point_head(self) -> None:
        """Raise ValueError if the network has no point head."""
        if not self.config.point_head:
            raise ValueError("this network has no point head: its points come from the depth")

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
