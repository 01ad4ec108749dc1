# SPDX-License-Identifier: Apache-2.0
"""A world filmed once, to be cut into many clips: filming takes as long as learning."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from infinitevggt_core.training.clip import Clip
from infinitevggt_core.worlds import WorldClips

MIRROR = (-1.0, 1.0, 1.0)
"""The camera's x axis turned round."""


@dataclass(frozen=True, slots=True)
class Take:
    """T frames of one world, kept small."""

    images: Tensor
    """[T, 3, H, W] uint8."""
    depth: Tensor
    """[T, H, W] half, metres."""
    camera_from_world: Tensor
    """[T, 3, 4]."""
    intrinsics: Tensor
    """[T, 3, 3]."""
    stride: int
    """Frames of the world's walk from one frame to the next."""

    @classmethod
    def of(cls, film: WorldClips, index: int, stride: int) -> "Take":
        """One world of a film [B, T, ...]."""
        images = (film.images[index].clamp(0, 1) * 255).round().to(torch.uint8)
        poses, intrinsics = film.camera_from_world[index].float(), film.intrinsics[index].float()
        return cls(images, film.depth[index].half(), poses, intrinsics, stride)

    def cut(self, frames: int, stride: int, rng: np.random.Generator) -> Clip:
        """A clip [1, frames, ...] from anywhere, about `stride` frames of the walk apart; every
        other one backwards, every other one mirrored, with other colours."""
        length = len(self.images)
        longest = (length - 1) // max(1, frames - 1)
        step = min(max(1, round(stride / self.stride)), longest)
        start = int(rng.integers(length - step * (frames - 1)))
        at = start + step * torch.arange(frames, device=self.images.device)
        if rng.random() < 0.5:
            at = at.flip(0)
        images = jittered(self.images[at].float() / 255, rng)
        clip = Clip(
            images.clamp(0, 1)[None],
            self.depth[at].float()[None],
            self.camera_from_world[at][None],
            self.intrinsics[at][None],
        )
        return mirrored(clip) if rng.random() < 0.5 else clip


def jittered(images: Tensor, rng: np.random.Generator) -> Tensor:
    """Other brightness, contrast, white balance and saturation, alike in all of (N, 3, H, W)."""
    gains = torch.as_tensor(rng.uniform(0.8, 1.2) * rng.uniform(0.9, 1.1, 3), dtype=images.dtype)
    gamma = float(np.exp(rng.uniform(-0.3, 0.3)))
    saturation = 0.0 if rng.random() < 0.1 else float(rng.uniform(0.3, 1.2))
    images = (images * gains.view(3, 1, 1).to(images)).clamp(1e-4, 1) ** gamma
    grey = images.mean(1, keepdim=True)
    return grey + saturation * (images - grey)


def mirrored(clip: Clip) -> Clip:
    """Left and right exchanged, in the image and in the world. Column x goes to W - x, so that the
    principal point stays in the middle, W / 2; the first column has no source and no depth."""
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
