# SPDX-License-Identifier: Apache-2.0
"""Patch embedding: DINOv2 with registers, or one convolution (docs/model.md, Patch embedding)."""

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from infinitevggt_core.config import DINOV2_WIDTHS, REGISTERS, ModelConfig
from infinitevggt_core.model.layers import Block

DINOV2_DEPTHS = {384: 12, 768: 12, 1024: 24, 1536: 40}
DINOV2_HEADS = {384: 6, 768: 12, 1024: 16, 1536: 24}
EPS = 1e-6


class PatchProjection(nn.Module):
    """(N, 3, H, W) -> (N, patches, dim), patches row by row."""

    def __init__(self, patch_size: int, dim: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, dim, kernel_size=patch_size, stride=patch_size)

    def forward(self, images: Tensor) -> Tensor:
        out: Tensor = self.proj(images).flatten(2).transpose(1, 2)
        return out


class DinoV2(nn.Module):
    """Vision transformer with four registers. Returns the normalised patch tokens."""

    def __init__(self, img_size: int, patch_size: int, dim: int) -> None:
        super().__init__()
        self.grid = img_size // patch_size
        self.patch_size = patch_size
        self.patch_embed = PatchProjection(patch_size, dim)
        self.cls_token = nn.Parameter(1e-6 * torch.randn(1, 1, dim))
        self.pos_embed = nn.Parameter(
            nn.init.trunc_normal_(torch.empty(1, 1 + self.grid**2, dim), std=0.02)
        )
        self.register_tokens = nn.Parameter(1e-6 * torch.randn(1, REGISTERS, dim))
        # in every checkpoint, but never read: only pre-training masks patches
        self.mask_token = nn.Parameter(torch.zeros(1, dim), requires_grad=False)
        self.blocks = nn.ModuleList(
            Block(dim, DINOV2_HEADS[dim], eps=EPS, layer_scale=1.0)
            for _ in range(DINOV2_DEPTHS[dim])
        )
        self.norm = nn.LayerNorm(dim, eps=EPS)

    def forward(self, images: Tensor) -> Tensor:
        patches = self.patch_embed(images)
        rows, cols = (side // self.patch_size for side in images.shape[-2:])
        positions = self._positions(rows, cols).to(patches.dtype)
        tokens = (
            torch.cat((self.cls_token.expand(len(patches), -1, -1), patches), dim=1) + positions
        )
        registers = self.register_tokens.expand(len(patches), -1, -1)  # without position
        tokens = torch.cat((tokens[:, :1], registers, tokens[:, 1:]), dim=1)
        for block in self.blocks:
            tokens = block(tokens)
        out: Tensor = self.norm(tokens)[:, 1 + REGISTERS :]
        return out

    def _positions(self, rows: int, cols: int) -> Tensor:
        """Return the learned table, resampled to the grid, (1, 1 + rows * cols, dim)."""
        if rows == cols == self.grid:
            return self.pos_embed
        table = rearrange(self.pos_embed[:, 1:].float(), "n (h w) c -> n c h w", h=self.grid)
        resampled = F.interpolate(table, size=(rows, cols), mode="bicubic", antialias=True)
        return torch.cat(
            (self.pos_embed[:, :1].float(), resampled.flatten(2).transpose(1, 2)), dim=1
        )


def build_patch_embed(config: ModelConfig) -> nn.Module:
    """Return the patch embedding that the configuration names."""
    if "conv" in config.patch_embed:
        return PatchProjection(config.patch_size, config.embed_dim)
    width = DINOV2_WIDTHS[config.patch_embed]
    return DinoV2(config.img_size, config.patch_size, width)
