# SPDX-License-Identifier: Apache-2.0
"""DPT heads: per-pixel maps from patch tokens of four layers (docs/model.md, Dense heads)."""

import math
from collections.abc import Mapping
from typing import cast

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from infinitevggt_core.config import ModelConfig
from infinitevggt_core.model.constants import cached_constants
from infinitevggt_core.model.layers import parameter_dtype

FRAMES_AT_ONCE = 8


class ResidualConvUnit(nn.Module):
    """Two convolutions with a skip connection."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(features, features, 3, padding=1)
        self.conv2 = nn.Conv2d(features, features, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        active = F.relu(x)  # the skip carries relu(x), not x
        out: Tensor = active + self.conv2(F.relu(self.conv1(active)))
        return out


class FusionBlock(nn.Module):
    """Adds a finer map to a coarser one and resizes the sum."""

    def __init__(self, features: int, has_skip: bool) -> None:
        super().__init__()
        if has_skip:
            self.resConfUnit1 = ResidualConvUnit(features)
        self.resConfUnit2 = ResidualConvUnit(features)
        self.out_conv = nn.Conv2d(features, features, 1)

    def forward(self, x: Tensor, skip: Tensor | None, size: tuple[int, int]) -> Tensor:
        if skip is not None:
            x = x + self.resConfUnit1(skip)
        out: Tensor = self.out_conv(_resize(self.resConfUnit2(x), size))
        return out


class Scratch(nn.Module):
    """Part of a DPT that works on maps of equal width."""

    def __init__(self, features: int, channels: tuple[int, ...], half: bool) -> None:
        super().__init__()
        for level, width in enumerate(channels, start=1):
            conv = nn.Conv2d(width, features, 3, padding=1, bias=False)
            setattr(self, f"layer{level}_rn", conv)
            setattr(self, f"refinenet{level}", FusionBlock(features, has_skip=level < 4))
        out = features // 2 if half else features
        self.output_conv1 = nn.Conv2d(features, out, 3, padding=1)

    def forward(self, maps: list[Tensor]) -> Tensor:
        """Fuse four maps, fine to coarse (4h, 2h, h, h/2 rows), to (N, out, 8h, 8w)."""
        fine_to_coarse = [getattr(self, f"layer{i}_rn")(m) for i, m in enumerate(maps, start=1)]
        rows, cols = fine_to_coarse[0].shape[-2:]
        sizes = [(2 * rows, 2 * cols), *(tuple(m.shape[-2:]) for m in fine_to_coarse[:-1])]
        x = fine_to_coarse[3]
        for level in (3, 2, 1, 0):
            skip = fine_to_coarse[level] if level < 3 else None
            x = getattr(self, f"refinenet{level + 1}")(x, skip, sizes[level])
        out: Tensor = self.output_conv1(x)
        return out


class DptTrunk(nn.Module):
    """Features at an eighth of the patch pitch from tokens (B, S, P, 2C) of four layers."""

    def __init__(self, config: ModelConfig, features: int, positional: bool, half: bool) -> None:
        super().__init__()
        self.config, self.positional = config, positional
        dim, channels = 2 * config.embed_dim, config.dpt_out_channels
        self.norm = nn.LayerNorm(dim)
        self.projects = nn.ModuleList(nn.Conv2d(dim, width, 1) for width in channels)
        self.resize_layers = nn.ModuleList(
            (
                nn.ConvTranspose2d(channels[0], channels[0], 4, stride=4),
                nn.ConvTranspose2d(channels[1], channels[1], 2, stride=2),
                nn.Identity(),
                nn.Conv2d(channels[3], channels[3], 3, stride=2, padding=1),
            )
        )
        self.scratch = Scratch(features, channels, half)

    def fuse(self, features: Mapping[int, Tensor], size: tuple[int, int]) -> Tensor:
        """Return (N, channels, 8h, 8w) for tokens (N, P, 2C) of images of `size` (H, W) pixels."""
        rows, cols = (side // self.config.patch_size for side in size)
        maps = []
        for index, layer in enumerate(self.config.dpt_layers):
            patches = self.norm(
                features[layer][:, self.config.special_tokens :].to(parameter_dtype(self))
            )
            x = self.projects[index](rearrange(patches, "n (h w) c -> n c h w", h=rows, w=cols))
            if self.positional:
                x = _placed(x, size)
            maps.append(self.resize_layers[index](x))
        return cast(Tensor, self.scratch(maps))


class DenseHead(DptTrunk):
    """Depth (output_dim 2, activation "exp") or points (4, "inv_log"), with confidence."""

    def __init__(self, config: ModelConfig, output_dim: int, activation: str) -> None:
        super().__init__(config, config.dpt_features, positional=True, half=True)
        self.activation = activation
        self.scratch.add_module(
            "output_conv2",
            nn.Sequential(
                nn.Conv2d(config.dpt_features // 2, 32, 3, padding=1),
                nn.ReLU(),
                nn.Conv2d(32, output_dim, 1),
            ),
        )

    def forward(
        self, features: Mapping[int, Tensor], size: tuple[int, int]
    ) -> tuple[Tensor, Tensor]:
        """Return values (B, S, H, W, output_dim - 1) and confidence (B, S, H, W) above 1 for tokens
        (B, S, P, 2C) per layer."""
        batch, frames = next(iter(features.values())).shape[:2]
        flat = {layer: tokens.flatten(0, 1) for layer, tokens in features.items()}
        chunks = [
            self._maps({k: v[i : i + FRAMES_AT_ONCE] for k, v in flat.items()}, size)
            for i in range(0, batch * frames, FRAMES_AT_ONCE)
        ]
        maps = rearrange(torch.cat(chunks), "(b s) c h w -> b s h w c", b=batch)
        raw, confidence = maps[..., :-1], maps[..., -1]
        values = raw.exp() if self.activation == "exp" else raw.sign() * raw.abs().expm1()
        return values, 1 + confidence.exp()

    def _maps(self, features: Mapping[int, Tensor], size: tuple[int, int]) -> Tensor:
        """Return (N, output_dim, H, W) fp32 before activation."""
        x = _placed(_resize(self.fuse(features, size), size), size)
        return cast(Tensor, self.scratch.get_submodule("output_conv2")(x)).float()


def _resize(x: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(x, size=size, mode="bilinear", align_corners=True)


def _placed(x: Tensor, image_size: tuple[int, int]) -> Tensor:
    """Add the positional features of the pixels to (N, C, rows, cols), in place."""
    channels, rows, cols = x.shape[1:]
    across, down = position_parts(rows, cols, channels, image_size, x.device, x.dtype)
    x[:, : channels // 2] += across
    x[:, channels // 2 :] += down
    return x


@cached_constants(64)
def position_parts(
    rows: int,
    cols: int,
    channels: int,
    image_size: tuple[int, int],
    device: torch.device,
    dtype: torch.dtype,
) -> tuple[Tensor, Tensor]:
    """Return the scaled features of `position_features` on a device."""
    with torch.inference_mode(False):  # cached: training may use it after a stream has
        across, down = position_features(rows, cols, channels, image_size)
        return (0.1 * across).to(device, dtype), (0.1 * down).to(device, dtype)


def position_features(
    rows: int, cols: int, channels: int, image_size: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """Return the half of the channels that encodes the column, (channels / 2, 1, cols), and the
    half that encodes the row, (channels / 2, rows, 1), fp32: a quarter each of sines and cosines.
    """
    aspect = image_size[1] / image_size[0]
    span_x = aspect / math.sqrt(aspect**2 + 1)
    span_y = 1 / math.sqrt(aspect**2 + 1)
    across = _waves(span_x, cols, channels // 4)[:, None, :]
    down = _waves(span_y, rows, channels // 4)[:, :, None]
    return across, down


def _waves(span: float, count: int, frequencies: int) -> Tensor:
    """Return sines and cosines (2 * frequencies, count) at places from -span to span."""
    places = torch.linspace(-span * (count - 1) / count, span * (count - 1) / count, count)
    omega = 100.0 ** (-torch.arange(frequencies, dtype=torch.float64) / frequencies)
    angles = omega[:, None] * places.double()
    return torch.cat((angles.sin(), angles.cos())).float()
