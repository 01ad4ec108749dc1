# SPDX-License-Identifier: Apache-2.0
"""A dense signal for pose: where each patch was in the clip's first image, and where it is in the
first camera's world and before its own camera.

Relative pose is learned late where only nine numbers a frame ask for it. The shift of every patch
needs the same matches between frames and neither depth nor scale; between the two places of every
patch lies the pose. The heads are linear, sit on the levels that the network's own heads read, and
are dropped after training.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from infinitevggt_core.config import ModelConfig
from infinitevggt_core.model import geometry
from infinitevggt_core.model.rope import SPECIAL_TOKENS
from infinitevggt_core.training.targets import Targets

SHIFT, PLACES = 2, 6
LEAST_DEPTH = 0.05
"""Points nearer to the first camera's plane are not projected, in units of the labels."""
HIDDEN = 0.1
"""A point this much farther than what the reference saw in its place, relative, was hidden."""
MARGIN = 0.25
"""How far outside the first image a patch may have been, in widths and heights of it."""


class PatchTracks(nn.Module):
    """Tokens (B, S, P, 2C) of each level -> (B, S, patches, 8): the shift in widths of the image
    (2), the place in the world (3) and before the camera (3) in units of the labels."""

    def __init__(self, config: ModelConfig, levels: tuple[int, ...]) -> None:
        super().__init__()
        dim = 2 * config.embed_dim
        self.heads = nn.ModuleDict(
            {str(level): nn.Sequential(nn.LayerNorm(dim), _still(dim)) for level in levels}
        )

    def forward(self, levels: Mapping[int, Tensor]) -> tuple[Tensor, ...]:
        return tuple(
            self.heads[str(level)](tokens[:, :, SPECIAL_TOKENS:].float())
            for level, tokens in levels.items()
        )


def _still(dim: int) -> nn.Linear:
    """Nothing moves and all is in one place, to begin with."""
    head = nn.Linear(dim, SHIFT + PLACES)
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    return head


def patch_shifts(targets: Targets, patch_size: int, reference: int = 0) -> tuple[Tensor, Tensor]:
    """Shifts (x, y) from the reference frame's image to each frame's (B, S, patches, 2), in widths
    of the image, of what is seen in the middle of each patch; and which of them are known, bool:
    those that were near the image and not hidden."""
    height, width = targets.depth.shape[-2:]
    points, valid = _patch_points(targets, patch_size)
    encoding = targets.pose_encoding[:, reference, None, None, None]
    pose = geometry.camera_from_world(encoding)
    points = (pose[..., :3] @ points[..., None] + pose[..., 3:])[..., 0]
    matrix = geometry.intrinsics_from_encoding(encoding, height, width)
    depth = points[..., 2]
    in_front = depth > LEAST_DEPTH
    pixels = points[..., :2] / depth.clamp(min=LEAST_DEPTH)[..., None]
    pixels = pixels * matrix.diagonal(dim1=-2, dim2=-1)[..., :2] + matrix[..., :2, 2]
    size = pixels.new_tensor((width, height))
    near = ((pixels > -MARGIN * size) & (pixels < (1 + MARGIN) * size)).all(-1)
    hidden = depth > (1 + HIDDEN) * _depth_at(targets.depth[:, reference], pixels)
    rows, cols = pixels.shape[2:4]
    shifts = (middles(rows, cols, patch_size, pixels) - pixels) / width
    return shifts.flatten(2, 3), (valid & in_front & near & ~hidden).flatten(2, 3)


def _depth_at(depth: Tensor, pixels: Tensor) -> Tensor:
    """(B, H, W) at the nearest of pixels (B, S, rows, cols, 2): inf outside, and where unknown."""
    height, width = depth.shape[-2:]
    x, y = pixels.round().long().unbind(-1)
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    index = y.clamp(0, height - 1) * width + x.clamp(0, width - 1)
    found = depth.flatten(1).gather(1, index.flatten(1)).view_as(index)
    return torch.where(inside & (found > 0), found, torch.inf)


def middles(rows: int, cols: int, patch_size: int, like: Tensor) -> Tensor:
    """(rows, cols, 2): x, y of the middle of each patch, px; device and dtype those of `like`."""
    y = torch.arange(rows, device=like.device) * patch_size + patch_size // 2
    x = torch.arange(cols, device=like.device) * patch_size + patch_size // 2
    return torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1).to(like.dtype)


def track_loss(tracks: tuple[Tensor, ...], targets: Targets, patch_size: int) -> Tensor:
    """Mean over levels and known patches, in widths of the image."""
    shifts, known = patch_shifts(targets, patch_size)
    return _mean_error([found[..., :SHIFT] for found in tracks], shifts, known, beta=0.01)


def place_loss(tracks: tuple[Tensor, ...], targets: Targets, patch_size: int) -> Tensor:
    """Mean over levels and valid patches of the errors of both places, in units of the labels."""
    places, valid = patch_places(targets, patch_size)
    return _mean_error([found[..., SHIFT:] for found in tracks], places, valid, beta=0.05)


def patch_places(targets: Targets, patch_size: int) -> tuple[Tensor, Tensor]:
    """Places (B, S, patches, 6) of what is seen in the middle of each patch, in the world and
    before its camera; and which of them are known, bool."""
    points, valid = _patch_points(targets, patch_size)
    pose = geometry.camera_from_world(targets.pose_encoding[:, :, None, None])
    before = (pose[..., :3] @ points[..., None] + pose[..., 3:])[..., 0]
    return torch.cat((points, before), dim=-1).flatten(2, 3), valid.flatten(2, 3)


def _patch_points(targets: Targets, patch_size: int) -> tuple[Tensor, Tensor]:
    """World points (B, S, rows, cols, 3) of the patches' middles, and which are valid."""
    middle = slice(patch_size // 2, None, patch_size)
    return targets.points[:, :, middle, middle], targets.valid[:, :, middle, middle]


def _mean_error(found: list[Tensor], wanted: Tensor, known: Tensor, beta: float) -> Tensor:
    """Over levels and known patches; quadratic below `beta`."""
    wanted = torch.where(known[..., None], wanted, 0.0)
    count = known.sum().clamp(min=1)
    errors = [F.smooth_l1_loss(x, wanted, reduction="none", beta=beta).sum(-1) for x in found]
    return torch.stack([(error * known).sum() / count for error in errors]).mean()
