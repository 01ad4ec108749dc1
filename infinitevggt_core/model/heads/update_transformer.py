# SPDX-License-Identifier: Apache-2.0
"""The tracker's transformer over time and over tracks (model_spec.md section 7)."""

import torch
from torch import Tensor, nn

from infinitevggt_core.model.layers import Mlp

DEPTH = 6
HEADS = 8
VIRTUAL_TRACKS = 64


class SelfBlock(nn.Module):
    """Tokens attend each other. The residual is the normalised input."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.norm2 = nn.LayerNorm(dim)
        self.attn = nn.MultiheadAttention(dim, HEADS, batch_first=True)
        self.mlp = Mlp(dim, 4 * dim)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm1(x)
        x = x + self.attn(x, x, x)[0]
        out: Tensor = x + self.mlp(self.norm2(x))
        return out


class CrossBlock(nn.Module):
    """Tokens attend a context. The residual is the normalised input."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.norm_context = nn.LayerNorm(dim)
        self.norm2 = nn.LayerNorm(dim)
        self.cross_attn = nn.MultiheadAttention(dim, HEADS, batch_first=True)
        self.mlp = Mlp(dim, 4 * dim)

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        x, context = self.norm1(x), self.norm_context(context)
        x = x + self.cross_attn(x, context, context)[0]
        out: Tensor = x + self.mlp(self.norm2(x))
        return out


class UpdateTransformer(nn.Module):
    """(B, Q, S, input_dim) -> (B, Q, S, output_dim)."""

    def __init__(self, input_dim: int, hidden: int, output_dim: int) -> None:
        super().__init__()
        self.input_norm = nn.LayerNorm(input_dim)
        self.input_transform = nn.Linear(input_dim, hidden)
        # the checkpoints spell it so
        self.virual_tracks = nn.Parameter(torch.randn(1, VIRTUAL_TRACKS, 1, hidden))
        self.time_blocks = nn.ModuleList(SelfBlock(hidden) for _ in range(DEPTH))
        self.space_virtual_blocks = nn.ModuleList(SelfBlock(hidden) for _ in range(DEPTH))
        self.space_point2virtual_blocks = nn.ModuleList(CrossBlock(hidden) for _ in range(DEPTH))
        self.space_virtual2point_blocks = nn.ModuleList(CrossBlock(hidden) for _ in range(DEPTH))
        self.output_norm = nn.LayerNorm(hidden)
        self.flow_head = nn.Linear(hidden, output_dim)
        self._initialise()

    def _initialise(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
        nn.init.trunc_normal_(self.flow_head.weight, std=0.001)

    def forward(self, x: Tensor) -> Tensor:
        batch, queries, frames, _ = x.shape
        first = self.input_transform(self.input_norm(x))
        virtual = self.virual_tracks.expand(batch, -1, frames, -1)
        tracks = torch.cat((first, virtual), dim=1)  # (B, Q + V, S, C)
        for i in range(DEPTH):
            tracks = self.time_blocks[i](tracks.flatten(0, 1)).view(tracks.shape)
            tracks = self._across_tracks(i, tracks, queries)
        out: Tensor = self.flow_head(self.output_norm(tracks[:, :queries] + first))
        return out

    def _across_tracks(self, i: int, tracks: Tensor, queries: int) -> Tensor:
        """Query tracks exchange what they know through the virtual ones, at each time alone."""
        at_time = tracks.transpose(1, 2)  # (B, S, Q + V, C)
        flat = at_time.flatten(0, 1)
        points, virtual = flat[:, :queries], flat[:, queries:]
        virtual = self.space_virtual2point_blocks[i](virtual, points)
        virtual = self.space_virtual_blocks[i](virtual)
        points = self.space_point2virtual_blocks[i](points, virtual)
        return torch.cat((points, virtual), dim=1).view(at_time.shape).transpose(1, 2)
