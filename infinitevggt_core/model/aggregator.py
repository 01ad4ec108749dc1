# SPDX-License-Identifier: Apache-2.0
"""Alternating attention inside each frame and over all frames (model_spec.md section 3)."""

from collections.abc import Callable, Collection
from functools import lru_cache, partial

import torch
from einops import rearrange
from torch import Tensor, nn

from infinitevggt_core.config import ModelConfig
from infinitevggt_core.model.attention import LayerAttend
from infinitevggt_core.model.encoder import REGISTERS, build_patch_embed
from infinitevggt_core.model.layers import Block, parameter_dtype
from infinitevggt_core.model.rope import SPECIAL_TOKENS, frame_rotation

IMAGE_MEAN = (0.485, 0.456, 0.406)
IMAGE_STD = (0.229, 0.224, 0.225)


class Aggregator(nn.Module):
    """Images to tokens that know the other frames. Weights only: the past comes with `attend`."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        dim = config.embed_dim
        self.patch_embed = build_patch_embed(config)
        # variant 0 marks the first frame of a stream, variant 1 every other
        self.camera_token = nn.Parameter(1e-6 * torch.randn(1, 2, 1, dim))
        self.register_token = nn.Parameter(1e-6 * torch.randn(1, 2, REGISTERS, dim))
        self.frame_blocks = self._blocks()
        self.global_blocks = self._blocks()

    def _blocks(self) -> nn.ModuleList:
        config = self.config
        return nn.ModuleList(
            Block(config.embed_dim, config.num_heads, qk_norm=True) for _ in range(config.depth)
        )

    def tokens_per_frame(self, height: int, width: int) -> int:
        """Tokens of one frame of height x width pixels: patches, camera token, registers."""
        return SPECIAL_TOKENS + (height // self.config.patch_size) * (
            width // self.config.patch_size
        )

    def forward(
        self,
        images: Tensor,
        attend: LayerAttend,
        levels: Collection[int],
        starts: bool = True,
        observe: Callable[[int, Tensor], None] | None = None,
    ) -> dict[int, Tensor]:
        """Tokens (B, S, P, 2C) of the asked layers, frame half first.

        images: (B, S, 3, H, W) in [0, 1], H and W multiples of the patch size. attend: what the
        global blocks see. starts: the clip's first frame is the first of its stream. observe: is
        shown what the feed-forward part of each global block adds, (B, S * P, C).
        """
        batch, frames, _, height, width = images.shape
        tokens = self._embed(images, starts)  # (B S) P C
        patch = self.config.patch_size
        rotate = frame_rotation(
            height // patch,
            width // patch,
            self.config.embed_dim // self.config.num_heads,
            tokens.device,
            tokens.dtype,
        )
        rotate_clip = rotate.repeat(frames) if frames > 1 else rotate
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
            if layer in levels:
                both = torch.cat((within, tokens), dim=-1)
                outputs[layer] = rearrange(both, "(b s) p c -> b s p c", b=batch)
        return outputs

    def _embed(self, images: Tensor, starts: bool) -> Tensor:
        """(B, S, 3, H, W) -> (B S, P, C): camera token, registers, patches."""
        batch, frames = images.shape[:2]
        dtype = parameter_dtype(self)
        mean, std = _image_statistics(images.device)
        patches = self.patch_embed(((images.flatten(0, 1).float() - mean) / std).to(dtype))
        first, other = torch.cat((self.camera_token, self.register_token), dim=2)[0]
        special = torch.stack([first if starts and i == 0 else other for i in range(frames)])
        special = special.expand(batch, -1, -1, -1).flatten(0, 1)
        return torch.cat((special, patches), dim=1)


@lru_cache(maxsize=8)
def _image_statistics(device: torch.device) -> tuple[Tensor, Tensor]:
    shape = (3, 1, 1)
    with torch.inference_mode(False):  # remembered: training may use it after a stream has
        return (
            torch.tensor(IMAGE_MEAN, device=device).view(shape),
            torch.tensor(IMAGE_STD, device=device).view(shape),
        )
