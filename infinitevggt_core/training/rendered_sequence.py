# SPDX-License-Identifier: Apache-2.0
"""Rendered frames of one world, reused for several clips because rendering is expensive."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from infinitevggt_core.training.clip import Clip
from infinitevggt_core.worlds import WorldClips

SWAPPED, BENT, INVERTED = 0.3, 0.5, 0.15
"""Shares of clips with other channels, another tone curve and inverted brightness."""
TONES = 4
"""Number of straight pieces of a tone curve."""
MIRROR = (-1.0, 1.0, 1.0)
"""Mirror image of the camera's axes."""


@dataclass(frozen=True, slots=True)
class RenderedSequence:
    """T frames of one world in compact form."""

    images: Tensor
    """[T, 3, H, W] uint8."""
    depth: Tensor
    """[T, H, W] half, metres."""
    camera_from_world: Tensor
    """[T, 3, 4], world to camera."""
    intrinsics: Tensor
    """[T, 3, 3], pixels."""
    stride: int
    """Number of frames of the trajectory from one frame to the next."""

    @classmethod
    def of(cls, clips: WorldClips, index: int, stride: int) -> "RenderedSequence":
        """Return the sequence of one world of a batch [B, T, ...]."""
        images = (clips.images[index].clamp(0, 1) * 255).round().to(torch.uint8)
        poses, intrinsics = clips.camera_from_world[index].float(), clips.intrinsics[index].float()
        return cls(images, clips.depth[index].half(), poses, intrinsics, stride)

    def cut(self, frames: int, stride: int, rng: np.random.Generator) -> Clip:
        """Cut a clip [1, frames, ...] at a random start, about `stride` frames of the trajectory
        apart.

        Half of the clips run backwards, half are mirrored, and all have other colours.
        """
        length = len(self.images)
        longest = (length - 1) // max(1, frames - 1)
        step = min(max(1, round(stride / self.stride)), longest)
        start = int(rng.integers(length - step * (frames - 1)))
        at = start + step * torch.arange(frames, device=self.images.device)
        if rng.random() < 0.5:
            at = at.flip(0)
        images = jittered(recolored(self.images[at].float() / 255, rng), rng)
        clip = Clip(
            images.clamp(0, 1)[None],
            self.depth[at].float()[None],
            self.camera_from_world[at][None],
            self.intrinsics[at][None],
        )
        return mirrored(clip) if rng.random() < 0.5 else clip


def recolored(images: Tensor, rng: np.random.Generator) -> Tensor:
    """Swap channels, bend the tone curve and invert the brightness, the same for all of (N, 3, H,
    W).

    Each happens to a share of the clips. Brightness and colour are cues to depth in generated
    images, and the network must not rely on them.
    """
    if rng.random() < SWAPPED:
        images = images[:, rng.permutation(3).tolist()]
    if rng.random() < BENT:
        rises = np.cumsum(rng.uniform(0.2, 1.0, TONES))
        knots = torch.as_tensor(np.concatenate(([0.0], rises / rises[-1])), dtype=images.dtype)
        at = images.clamp(0, 1) * TONES
        low = at.long().clamp(max=TONES - 1)
        images = torch.lerp(knots[low], knots[low + 1], at - low)
    return 1 - images if rng.random() < INVERTED else images


def jittered(images: Tensor, rng: np.random.Generator) -> Tensor:
    """Jitter brightness, contrast, white balance and saturation, the same for all of (N, 3, H,
    W)."""
    gains = torch.as_tensor(rng.uniform(0.8, 1.2) * rng.uniform(0.9, 1.1, 3), dtype=images.dtype)
    gamma = float(np.exp(rng.uniform(-0.3, 0.3)))
    saturation = 0.0 if rng.random() < 0.1 else float(rng.uniform(0.3, 1.2))
    images = (images * gains.view(3, 1, 1).to(images)).clamp(1e-4, 1) ** gamma
    grey = images.mean(1, keepdim=True)
    return grey + saturation * (images - grey)


def mirrored(clip: Clip) -> Clip:
    """Mirror images and world left to right.

    Column x moves to W - x, so that the principal point stays at W / 2. The first column has no
    source and no depth.
    """
    if clip.depth is None or clip.camera_from_world is None:
        raise ValueError("only clips with labels are mirrored")
    turn = clip.camera_from_world.new_tensor(MIRROR)
    poses = turn[:, None] * clip.camera_from_world * torch.cat((turn, turn.new_ones(1)))
    images, depth = clip.images.flip(-1), clip.depth.flip(-1)
    return Clip(
        torch.cat((images[..., :1], images[..., :-1]), dim=-1),
        torch.cat((torch.zeros_like(depth[..., :1]), depth[..., :-1]), dim=-1),
        poses,
        clip.intrinsics,
    )
