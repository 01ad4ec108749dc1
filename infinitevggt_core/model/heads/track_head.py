# SPDX-License-Identifier: Apache-2.0
"""Point tracks over a clip (model_spec.md section 7)."""

from collections.abc import Mapping

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from infinitevggt_core.config import ModelConfig
from infinitevggt_core.model.heads.dense_head import DptTrunk
from infinitevggt_core.model.heads.update_transformer import UpdateTransformer
from infinitevggt_core.model.layers import Mlp, parameter_dtype

ITERATIONS = 4
STRIDE = 2
PYRAMID_LEVELS = 7
RADIUS = 4
FLOW_SCALE = 518.0
SMALLEST_IMAGE = 2 ** (PYRAMID_LEVELS - 1) * STRIDE


class TrackHead(nn.Module):
    """Features at half resolution, then an iterative tracker."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.feature_extractor = DptTrunk(
            config, config.track_features, positional=False, half=False
        )
        self.tracker = Tracker(config.track_features, config.track_hidden)

    def forward(
        self, levels: Mapping[int, Tensor], size: tuple[int, int], queries: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Tracks (B, S, Q, 2), visibility and confidence (B, S, Q).

        queries: (B, Q, 2), pixels (x, y) of frame 0. Raises ValueError where the image is too small
        for the correlation pyramid.
        """
        if min(size) < SMALLEST_IMAGE:
            raise ValueError(f"tracks need images of {SMALLEST_IMAGE} px or more; got {size}")
        return self.tracker(self.features(levels, size), queries)  # type: ignore[no-any-return]

    def features(self, levels: Mapping[int, Tensor], size: tuple[int, int]) -> Tensor:
        """(B, S, features, H / 2, W / 2)."""
        batch = next(iter(levels.values())).shape[0]
        flat = {layer: tokens.flatten(0, 1) for layer, tokens in levels.items()}
        half = (size[0] // STRIDE, size[1] // STRIDE)
        maps = F.interpolate(
            self.feature_extractor.fuse(flat, size), size=half, mode="bilinear", align_corners=True
        )
        return rearrange(maps, "(b s) c h w -> b s c h w", b=batch)


class Tracker(nn.Module):
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
        """maps (B, S, C, h, w), queries (B, Q, 2) image pixels."""
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
        """(B, S, Q, 3 features + 4): how far each track has come, what it sees, what it is."""
        correlation = self.corr_mlp(correlate(pyramid, coords, feature))
        flow = coords - coords[:, :1]
        scaled = flow / FLOW_SCALE
        embedded = flow_embedding(flow, self.features // 2)
        return torch.cat((embedded, scaled, scaled, correlation, feature), dim=-1)

    def _reference(self, frames: int) -> Tensor:
        """(1, S, 1, token_dim): marks the query's frame."""
        return self.query_ref_token[:, [0] + [1] * (frames - 1), None]

    def _place(self, size: torch.Size, start: Tensor) -> Tensor:
        """(B, 1, Q, token_dim): the positional vector at the query's place."""
        table = position_table(size[0], size[1], self.query_ref_token.shape[-1])
        table = table.to(start.device, start.dtype).expand(len(start), -1, -1, -1)
        return sample(table, start[:, None], "border").permute(0, 2, 3, 1)

    def _normalise(self, change: Tensor) -> Tensor:
        flat: Tensor = self.ffeat_norm(change.flatten(0, 2))
        return flat.view(change.shape)


def build_pyramid(maps: Tensor) -> list[Tensor]:
    """Maps (B, S, C, h, w), each level half the one before."""
    levels = [maps]
    for _ in range(PYRAMID_LEVELS - 1):
        pooled = F.avg_pool2d(levels[-1].flatten(0, 1), 2, stride=2)
        levels.append(pooled.view(*maps.shape[:3], *pooled.shape[2:]))
    return levels


def correlate(pyramid: list[Tensor], coords: Tensor, feature: Tensor) -> Tensor:
    """(B, S, Q, levels * (2 radius + 1)^2): similarity of each track with its surroundings."""
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
    """Bilinear values of maps (N, C, h, w) at pixel places (N, i, j, 2) -> (N, C, i, j)."""
    scale = [2 / max(side - 1, 1) for side in maps.shape[:-3:-1]]  # of x, of y
    grid = places * torch.tensor(scale, device=maps.device, dtype=maps.dtype) - 1
    return F.grid_sample(maps, grid, mode="bilinear", padding_mode=padding, align_corners=True)


def flow_embedding(flow: Tensor, dim: int) -> Tensor:
    """(..., 2) -> (..., 2 dim): for x, then y, interleaved sines and cosines."""
    frequencies = torch.arange(0, dim, 2, device=flow.device, dtype=torch.float32) * (1000.0 / dim)
    angles = flow.float()[..., None] * frequencies
    return torch.stack((angles.sin(), angles.cos()), dim=-1).flatten(-3).to(flow.dtype)


def position_table(rows: int, cols: int, dim: int) -> Tensor:
    """(1, dim, rows, cols): sin and cos of x in half of the channels, of y in the other."""
    quarter = dim // 4
    omega = 10000.0 ** (-torch.arange(quarter, dtype=torch.float64) / quarter)
    angle_x = (omega[:, None] * torch.arange(cols))[:, None, :].expand(-1, rows, -1)
    angle_y = (omega[:, None] * torch.arange(rows))[:, :, None].expand(-1, -1, cols)
    return torch.cat((angle_x.sin(), angle_x.cos(), angle_y.sin(), angle_y.cos())).float()[None]
