# SPDX-License-Identifier: Apache-2.0
"""Alternating attention within each frame and across all frames (docs/model.md, Aggregator)."""

from collections.abc import Callable, Collection, Sequence
from functools import partial

import torch
from einops import rearrange
from torch import Tensor, nn

from infinitevggt_core.config import REGISTERS, ModelConfig
from infinitevggt_core.model.attention import LayerAttend
from infinitevggt_core.model.constants import cached_constants
from infinitevggt_core.model.encoder import build_patch_embed
from infinitevggt_core.model.layers import Block, parameter_dtype
from infinitevggt_core.model.rope import Rotation, clip_rotation, frame_rotation

IMAGE_MEAN = (0.485, 0.456, 0.406)
IMAGE_STD = (0.229, 0.224, 0.225)


class Aggregator(nn.Module):
    """Images to tokens that have seen the other frames. Weights only: `attend` brings the past."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        dim = config.embed_dim
        self.patch_embed = build_patch_embed(config)
        # variant 0 marks the first frame of a stream, variant 1 every other
        self.camera_token = nn.Parameter(1e-6 * torch.randn(1, 2, 1, dim))
        self.register_token = nn.Parameter(1e-6 * torch.randn(1, 2, REGISTERS, dim))
        if config.scale_token:  # variant 0 marks the frames that start a stream together
            self.scale_token = nn.Parameter(1e-6 * torch.randn(1, 2, 1, dim))
        self.frame_blocks = self._blocks()
        self.global_blocks = self._blocks()

    def _blocks(self) -> nn.ModuleList:
        config = self.config
        return nn.ModuleList(
            Block(config.embed_dim, config.num_heads, qk_norm=True) for _ in range(config.depth)
        )

    def tokens_per_frame(self, height: int, width: int) -> int:
        """Return the tokens of a frame of height x width pixels: special tokens and patches."""
        patch = self.config.patch_size
        return self.config.special_tokens + (height // patch) * (width // patch)

    def forward(
        self,
        images: Tensor,
        attend: LayerAttend,
        layers: Collection[int],
        start_frames: int = 1,
        indices: Sequence[int] = (0,),
        observe: Callable[[int, Tensor], None] | None = None,
        position: Tensor | None = None,
    ) -> dict[int, Tensor]:
        """Return tokens (B, S, P, 2C) of the requested layers, frame half first.

        images: (B, S, 3, H, W) in [0, 1], H and W multiples of the patch size. attend: attention of
        the global blocks. start_frames: number of frames at the head of the clip that start their
        stream together; 0 if it has begun before. indices: temporal index of the first frame, one
        per stream of the batch. observe: called with the output of the feed-forward part of each
        global block, (B, S * P, C). position: (1,) integer on the device, the temporal index if all
        streams share it.
        """
        batch, frames = images.shape[:2]
        tokens = self._embed(images, start_frames)  # (B S) P C
        rotate, rotate_clip = self._rotations(images, indices, tokens.dtype, position)
        outputs: dict[int, Tensor] = {}
        for layer, (frame_block, global_block) in enumerate(
            zip(self.frame_blocks, self.global_blocks, strict=True)
        ):
            within = frame_block(tokens, rotate=rotate)
            across = rearrange(within, "(b s) p c -> b (s p) c", b=batch)
            across = global_block(
                across,
                attend=partial(attend, layer),
                rotate=rotate_clip,
                observe=observe and partial(observe, layer),
            )
            tokens = rearrange(across, "b (s p) c -> (b s) p c", s=frames)
            if layer in layers:
                both = torch.cat((within, tokens), dim=-1)
                outputs[layer] = rearrange(both, "(b s) p c -> b s p c", b=batch)
        return outputs

    def _rotations(
        self,
        images: Tensor,
        indices: Sequence[int],
        dtype: torch.dtype,
        position: Tensor | None,
    ) -> tuple[Rotation, Rotation]:
        """Return the rotations of the frame blocks and of the global blocks."""
        config, frames = self.config, images.shape[1]
        rows, cols = (side // config.patch_size for side in images.shape[-2:])
        head_dim, device = config.embed_dim // config.num_heads, images.device
        specials = config.special_tokens
        rotate = frame_rotation(rows, cols, head_dim, device, dtype, specials)
        if config.temporal_rotation:
            grid = (rows, cols)
            return rotate, clip_rotation(indices, frames, grid, specials, device, dtype, position)
        return rotate, rotate.repeat(frames) if frames > 1 else rotate

    def _embed(self, images: Tensor, start_frames: int) -> Tensor:
        """(B, S, 3, H, W) -> (B S, P, C): camera token, registers, scale token, patches."""
        batch, frames = images.shape[:2]
        dtype = parameter_dtype(self)
        mean, std = image_statistics(images.device)
        patches = self.patch_embed(((images.flatten(0, 1).float() - mean) / std).to(dtype))
        special = torch.stack([self._special_tokens(i, start_frames) for i in range(frames)])
        special = special.expand(batch, -1, -1, -1).flatten(0, 1)
        return torch.cat((special, patches), dim=1)

    def _special_tokens(self, frame: int, start_frames: int) -> Tensor:
        """Return the special tokens (specials, C) of a frame of the clip."""
        is_first, is_start = frame == 0 and start_frames > 0, frame < start_frames
        tokens = [self.camera_token[0, 1 - is_first], self.register_token[0, 1 - is_first]]
        if self.config.scale_token:
            tokens.append(self.scale_token[0, 1 - is_start])
        return torch.cat(tokens)


@cached_constants(8)
def image_statistics(device: torch.device) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation of image colours, (3, 1, 1) each."""
    shape = (3, 1, 1)
    with torch.inference_mode(False):  # cached: training may use it after a stream has
        return (
            torch.tensor(IMAGE_MEAN, device=device).view(shape),
            torch.tensor(IMAGE_STD, device=device).view(shape),
        )
