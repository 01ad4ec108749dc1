# SPDX-License-Identifier: Apache-2.0
"""Point tracks over a clip (docs/model.md, Track head)."""

from collections.abc import Mapping

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from infinitevggt_core.config import ModelConfig
from infinitevggt_core.model.heads.dense_head import DptTrunk
from infinitevggt_core.model.layers import Mlp, parameter_dtype

ITERATIONS = 4
STRIDE = 2
PYRAMID_LEVELS = 7
RADIUS = 4
FLOW_SCALE = 518.0
SMALLEST_IMAGE = 2 ** (PYRAMID_LEVELS - 1) * STRIDE
UPDATE_DEPTH = 6
UPDATE_HEADS = 8
VIRTUAL_TRACKS = 64


class TrackHead(nn.Module):
    """Feature maps at half resolution, and an iterative tracker."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.feature_extractor = DptTrunk(
            config, config.track_features, positional=False, half=False
        )
        self.tracker = Tracker(config.track_features, config.track_hidden)

    def forward(
        self, features: Mapping[int, Tensor], size: tuple[int, int], queries: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return tracks (B, S, Q, 2) in pixels, visibility and confidence (B, S, Q).

        queries: (B, Q, 2), pixels (x, y) of frame 0. Raises ValueError if the image is too small
        for the correlation pyramid.
        """
        if min(size) < SMALLEST_IMAGE:
            raise ValueError(f"tracks need images of {SMALLEST_IMAGE} px or more; got {size}")
        return self.tracker(self.feature_maps(features, size), queries)  # type: ignore[no-any-return]

    def feature_maps(self, features: Mapping[int, Tensor], size: tuple[int, int]) -> Tensor:
        """Return (B, S, channels, H / 2, W / 2) for tokens (B, S, P, 2C) per layer."""
        batch = next(iter(features.values())).shape[0]
        flat = {layer: tokens.flatten(0, 1) for layer, tokens in features.items()}
        half = (size[0] // STRIDE, size[1] // STRIDE)
        maps = F.interpolate(
            self.feature_extractor.fuse(flat, size), size=half, mode="bilinear", align_corners=True
        )
        return rearrange(maps, "(b s) c h w -> b s c h w", b=batch)


class SelfBlock(nn.Module):
    """Self-attention block whose residual is the normalised input."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.norm2 = nn.LayerNorm(dim)
        self.attn = nn.MultiheadAttention(dim, UPDATE_HEADS, batch_first=True)
        self.mlp = Mlp(dim, 4 * dim)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm1(x)
        x = x + self.attn(x, x, x)[0]
        out: Tensor = x + self.mlp(self.norm2(x))
        return out


class CrossBlock(nn.Module):
    """Cross-attention block whose residual is the normalised input."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.norm_context = nn.LayerNorm(dim)
        self.norm2 = nn.LayerNorm(dim)
        self.cross_attn = nn.MultiheadAttention(dim, UPDATE_HEADS, batch_first=True)
        self.mlp = Mlp(dim, 4 * dim)

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        x, context = self.norm1(x), self.norm_context(context)
        x = x + self.cross_attn(x, context, context)[0]
        out: Tensor = x + self.mlp(self.norm2(x))
        return out


class UpdateTransformer(nn.Module):
    """Transformer over time and over tracks: (B, Q, S, input_dim) to (B, Q, S, output_dim)."""

    def __init__(self, input_dim: int, hidden: int, output_dim: int) -> None:
        super().__init__()
        self.input_norm = nn.LayerNorm(input_dim)
        self.input_transform = nn.Linear(input_dim, hidden)
        # spelt as in the checkpoints
        self.virual_tracks = nn.Parameter(torch.randn(1, VIRTUAL_TRACKS, 1, hidden))
        self.time_blocks = nn.ModuleList(SelfBlock(hidden) for _ in range(UPDATE_DEPTH))
        self.space_virtual_blocks = nn.ModuleList(SelfBlock(hidden) for _ in range(UPDATE_DEPTH))
        self.space_point2virtual_blocks = nn.ModuleList(
            CrossBlock(hidden) for _ in range(UPDATE_DEPTH)
        )
        self.space_virtual2point_blocks = nn.ModuleList(
            CrossBlock(hidden) for _ in range(UPDATE_DEPTH)
        )
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
        for i in range(UPDATE_DEPTH):
            tracks = self.time_blocks[i](tracks.flatten(0, 1)).view(tracks.shape)
            tracks = self._across_tracks(i, tracks, queries)
        out: Tensor = self.flow_head(self.output_norm(tracks[:, :queries] + first))
        return out

    def _across_tracks(self, i: int, tracks: Tensor, queries: int) -> Tensor:
        """Exchange information between query tracks through virtual ones, at each time alone."""
        at_time = tracks.transpose(1, 2)  # (B, S, Q + V, C)
        flat = at_time.flatten(0, 1)
        points, virtual = flat[:, :queries], flat[:, queries:]
        virtual = self.space_virtual2point_blocks[i](virtual, points)
        virtual = self.space_virtual_blocks[i](virtual)
        points = self.space_point2virtual_blocks[i](points, virtual)
        return torch.cat((points, virtual), dim=1).view(at_time.shape).transpose(1, 2)


class Tracker(nn.Module):
    """Iterative refinement of tracks by correlation with the feature maps."""

    def __init__(self, features: int, hidden: int) -> None:
        super().__init__()
        self.features = features
        token_dim = 3 * features + 4
        correlations = PYRAMID_LEVELS * (2 * RADIUS + 1) ** 2
        self.query_ref_token = nn.Parameter(torch.randn(1, 2, token_dim))
        self.corr_mlp = Mlp(correlations, hidden, features)
        self.updateformer = UpdateTransformer(token_dim, hidden, features + 2)
        self.fmap_norm = nn.LayerNorm(features)
        self.ffeat_norm = nn.GroupNorm(1, features)
        self.ffeat_updater = nn.Sequential(nn.Linear(features, features), nn.GELU())
        self.vis_predictor = nn.Sequential(nn.Linear(features, 1))
        self.conf_predictor = nn.Sequential(nn.Linear(features, 1))

    def forward(self, maps: Tensor, queries: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Track queries (B, Q, 2), image pixels of frame 0, over maps (B, S, C, h, w)."""
        maps = maps.to(parameter_dtype(self))
        maps = self.fmap_norm(maps.movedim(2, -1)).movedim(-1, 2)
        frames = maps.shape[1]
        start = (queries / STRIDE).to(maps.dtype)
        coords = start[:, None].repeat(1, frames, 1, 1)  # (B, S, Q, 2)
        feature = sample(maps[:, 0], start[:, None], "border")[:, :, 0].transpose(1, 2)  # (B, Q, C)
        feature = feature[:, None].repeat(1, frames, 1, 1)  # (B, S, Q, C)
        place = self._place(maps.shape[-2:], start)
        pyramid = build_pyramid(maps)
        for _ in range(ITERATIONS):
            tokens = self._tokens(pyramid, coords, feature) + place + self._reference(frames)
            update = self.updateformer(tokens.transpose(1, 2).contiguous()).transpose(1, 2)
            shift, change = update[..., :2], update[..., 2:]
            feature = feature + self.ffeat_updater(self._normalise(change))
            coords = coords + shift
            coords = torch.cat((start[:, None], coords[:, 1:]), dim=1)  # frame 0 stays the query
        visibility = self.vis_predictor(feature)[..., 0].sigmoid()
        confidence = self.conf_predictor(feature)[..., 0].sigmoid()
        return (coords * STRIDE).float(), visibility.float(), confidence.float()

    def _tokens(self, pyramid: list[Tensor], coords: Tensor, feature: Tensor) -> Tensor:
        """Return (B, S, Q, 3 features + 4): displacement, correlation and feature of each track."""
        correlation = self.corr_mlp(correlate(pyramid, coords, feature))
        flow = coords - coords[:, :1]
        scaled = flow / FLOW_SCALE
        embedded = flow_embedding(flow, self.features // 2)
        return torch.cat((embedded, scaled, scaled, correlation, feature), dim=-1)

    def _reference(self, frames: int) -> Tensor:
        """Return (1, S, 1, token_dim), which marks the query's frame."""
        return self.query_ref_token[:, [0] + [1] * (frames - 1), None]

    def _place(self, size: torch.Size, start: Tensor) -> Tensor:
        """Return (B, 1, Q, token_dim), the positional vector at the query's place."""
        table = position_table(size[0], size[1], self.query_ref_token.shape[-1])
        table = table.to(start.device, start.dtype).expand(len(start), -1, -1, -1)
        return sample(table, start[:, None], "border").permute(0, 2, 3, 1)

    def _normalise(self, change: Tensor) -> Tensor:
        flat: Tensor = self.ffeat_norm(change.flatten(0, 2))
        return flat.view(change.shape)


def build_pyramid(maps: Tensor) -> list[Tensor]:
    """Return maps (B, S, C, h, w) at PYRAMID_LEVELS scales, each half the one before."""
    levels = [maps]
    for _ in range(PYRAMID_LEVELS - 1):
        pooled = F.avg_pool2d(levels[-1].flatten(0, 1), 2, stride=2)
        levels.append(pooled.view(*maps.shape[:3], *pooled.shape[2:]))
    return levels


def correlate(pyramid: list[Tensor], coords: Tensor, feature: Tensor) -> Tensor:
    """Correlate tracks with their surroundings: (B, S, Q, levels * (2 radius + 1)^2)."""
    steps = torch.arange(-RADIUS, RADIUS + 1, device=coords.device, dtype=coords.dtype)
    dx, dy = torch.meshgrid(steps, steps, indexing="ij")  # x on the slow axis
    offsets = torch.stack((dx, dy), dim=-1).reshape(1, 1, -1, 2)
    batch, frames, queries, channels = feature.shape
    rows = []
    for level, maps in enumerate(pyramid):
        volume = torch.einsum("bsqc,bschw->bsqhw", feature, maps) / channels**0.5
        places = (coords / 2**level).reshape(-1, 1, 1, 2) + offsets
        found = sample(volume.reshape(-1, 1, *volume.shape[-2:]), places, "zeros")
        rows.append(found.reshape(batch, frames, queries, -1))
    return torch.cat(rows, dim=-1)


def sample(maps: Tensor, places: Tensor, padding: str) -> Tensor:
    """Sample maps (N, C, h, w) bilinearly at pixels (N, i, j, 2): (N, C, i, j)."""
    scale = [2 / max(side - 1, 1) for side in maps.shape[:-3:-1]]  # of x, of y
    grid = places * torch.tensor(scale, device=maps.device, dtype=maps.dtype) - 1
    return F.grid_sample(maps, grid, mode="bilinear", padding_mode=padding, align_corners=True)


def flow_embedding(flow: Tensor, dim: int) -> Tensor:
    """Embed (..., 2) as (..., 2 dim): interleaved sines and cosines of x, then of y."""
    frequencies = torch.arange(0, dim, 2, device=flow.device, dtype=torch.float32) * (1000.0 / dim)
    angles = flow.float()[..., None] * frequencies
    return torch.stack((angles.sin(), angles.cos()), dim=-1).flatten(-3).to(flow.dtype)


def position_table(rows: int, cols: int, dim: int) -> Tensor:
    """Return (1, dim, rows, cols): sin and cos of x in half of the channels, of y in the other."""
    quarter = dim // 4
    omega = 10000.0 ** (-torch.arange(quarter, dtype=torch.float64) / quarter)
    angle_x = (omega[:, None] * torch.arange(cols))[:, None, :].expand(-1, rows, -1)
    angle_y = (omega[:, None] * torch.arange(rows))[:, :, None].expand(-1, -1, cols)
    return torch.cat((angle_x.sin(), angle_x.cos(), angle_y.sin(), angle_y.cos())).float()[None]
