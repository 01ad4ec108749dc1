# SPDX-License-Identifier: Apache-2.0
"""Correspondences between frames as a dense training signal for relative pose.

Relative pose is learned late where only nine numbers per frame ask for it. Two auxiliary losses
teach the matches that it is made of. Neither leaves anything in the saved network.

Patch tracks: linear heads on the intermediate features predict the shift of each patch since the
first image, and its position in the world and in its own camera.

Matching: in half of the heads of each global layer but the first, the attention of a patch to the
patches of a reference frame is trained towards the four patches around its true position, with
bilinear weights.
"""

from collections.abc import Mapping

import torch
from einops import rearrange
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
"""Points whose depth exceeds that of the reference by this factor - 1 are occluded."""
MARGIN = 0.25
"""Maximum distance of a projected patch from the first image, in widths and heights of it."""


class PatchTracks(nn.Module):
    """Linear heads on the intermediate features of each patch.

    Tokens (B, S, P, 2C) of each level -> (B, S, patches, 8): shift in image widths (2), position in
    the world (3) and in the camera (3) in units of the labels.
    """

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
    """Return a linear head that predicts zeros at first."""
    head = nn.Linear(dim, SHIFT + PLACES)
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    return head


def patch_shifts(targets: Targets, patch_size: int, reference: int = 0) -> tuple[Tensor, Tensor]:
    """Return the shift of each patch since the reference frame, and a mask of known shifts.

    Shifts (x, y) of the scene point in the middle of each patch are (B, S, patches, 2) in image
    widths. The mask (B, S, patches) is True if the point projects near the reference image and is
    not occluded there.
    """
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
    near = _is_near(pixels[..., 0], width) & _is_near(pixels[..., 1], height)
    hidden = depth > (1 + HIDDEN) * _depth_at(targets.depth[:, reference], pixels)
    rows, cols = pixels.shape[2:4]
    shifts = (middles(rows, cols, patch_size, pixels) - pixels) / width
    return shifts.flatten(2, 3), (valid & in_front & near & ~hidden).flatten(2, 3)


def _is_near(pixels: Tensor, size: int) -> Tensor:
    """Return True for coordinates in an image of `size` pixels, or just outside."""
    return (pixels > -MARGIN * size) & (pixels < (1 + MARGIN) * size)


def _depth_at(depth: Tensor, pixels: Tensor) -> Tensor:
    """Return depth (B, ...) at the nearest of pixels (B, S, rows, cols, 2); inf if outside or
    unknown."""
    height, width = depth.shape[-2:]
    x, y = pixels.round().long().unbind(-1)
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    index = y.clamp(0, height - 1) * width + x.clamp(0, width - 1)
    found = depth.flatten(1).gather(1, index.flatten(1)).view_as(index)
    return torch.where(inside & (found > 0), found, torch.inf)


def middles(rows: int, cols: int, patch_size: int, like: Tensor) -> Tensor:
    """Return (rows, cols, 2): pixel coordinates x, y of patch centres, with device and dtype of
    `like`."""
    y = torch.arange(rows, device=like.device) * patch_size + patch_size // 2
    x = torch.arange(cols, device=like.device) * patch_size + patch_size // 2
    return torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1).to(like.dtype)


def track_loss(tracks: tuple[Tensor, ...], targets: Targets, patch_size: int) -> Tensor:
    """Return the mean error of the shifts over levels and known patches, in image widths."""
    shifts, known = patch_shifts(targets, patch_size)
    return _mean_error([found[..., :SHIFT] for found in tracks], shifts, known, beta=0.01)


def place_loss(tracks: tuple[Tensor, ...], targets: Targets, patch_size: int) -> Tensor:
    """Return the mean error of both positions over levels and valid patches, in units of the
    labels."""
    places, valid = patch_places(targets, patch_size)
    return _mean_error([found[..., SHIFT:] for found in tracks], places, valid, beta=0.05)


def patch_places(targets: Targets, patch_size: int) -> tuple[Tensor, Tensor]:
    """Return the positions of patch centres and a mask of known ones.

    Positions in the world and in the camera are (B, S, patches, 6); the mask is (B, S, patches).
    """
    points, valid = _patch_points(targets, patch_size)
    pose = geometry.camera_from_world(targets.pose_encoding[:, :, None, None])
    before = (pose[..., :3] @ points[..., None] + pose[..., 3:])[..., 0]
    return torch.cat((points, before), dim=-1).flatten(2, 3), valid.flatten(2, 3)


def _patch_points(targets: Targets, patch_size: int) -> tuple[Tensor, Tensor]:
    """Return world points (B, S, rows, cols, 3) of the patch centres and a mask of valid ones."""
    middle = slice(patch_size // 2, None, patch_size)
    return targets.points[:, :, middle, middle], targets.valid[:, :, middle, middle]


def _mean_error(found: list[Tensor], wanted: Tensor, known: Tensor, beta: float) -> Tensor:
    """Return the mean over levels and known patches of an error that is quadratic below `beta`."""
    wanted = torch.where(known[..., None], wanted, 0.0)
    count = known.sum().clamp(min=1)
    errors = [F.smooth_l1_loss(x, wanted, reduction="none", beta=beta).sum(-1) for x in found]
    return torch.stack([(error * known).sum() / count for error in errors]).mean()


LEAST_SEEN = 0.5
"""Minimum share of the four patches around a position that lie in the reference."""


def match_scores(q: Tensor, k: Tensor, frames: int, reference: int = 0) -> Tensor:
    """Return attention logits between patches of later frames and of the reference frame.

    q, k (B, heads, S P, d) of a global layer -> (B, heads / 2, later frames, N, N).
    """
    heads = max(1, q.shape[1] // 2)
    tokens = q.shape[2] // frames
    by_frame = rearrange(q[:, :heads], "b h (s p) d -> b h s p d", p=tokens)
    queries = by_frame[:, :, reference + 1 :, SPECIAL_TOKENS:].float()
    first = reference * tokens
    keys = k[:, :heads, None, first + SPECIAL_TOKENS : first + tokens].float()
    scores: Tensor = queries @ keys.transpose(-1, -2) / q.shape[-1] ** 0.5
    return scores


def matching_loss(
    scores: tuple[Tensor, ...], targets: Targets, patch_size: int, reference: int = 0
) -> Tensor:
    """Return the KL divergence (nats) of attention from its target; mean over layers, heads,
    patches."""
    wanted, known = wanted_matches(targets, patch_size, reference)
    entropy = -torch.special.xlogy(wanted, wanted).sum(-1)
    count = known.sum().clamp(min=1)
    losses = []
    for layer in scores:
        cross = -(wanted[:, None] * layer.log_softmax(-1)).sum(-1).mean(1)
        losses.append(((cross - entropy) * known).sum() / count)
    return torch.stack(losses).mean()


def wanted_matches(targets: Targets, patch_size: int, reference: int = 0) -> tuple[Tensor, Tensor]:
    """Return target attention (B, later frames, N, N) over the reference's patches, and a mask
    (B, later frames, N) of the patches with a known target."""
    width = targets.depth.shape[-1]
    rows, cols = (side // patch_size for side in targets.depth.shape[-2:])
    shifts, known = patch_shifts(targets, patch_size, reference)
    middle = middles(rows, cols, patch_size, shifts).flatten(0, 1)
    places = middle - width * shifts[:, reference + 1 :]
    distance = (places[..., :, None, :] - middle).abs() / patch_size
    weights = (1 - distance).clamp(min=0).prod(-1)
    seen = weights.sum(-1)
    return weights / seen.clamp(min=1e-6)[..., None], known[:, reference + 1 :] & (
        seen > LEAST_SEEN
    )
