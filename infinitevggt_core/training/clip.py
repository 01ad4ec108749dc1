# SPDX-License-Identifier: Apache-2.0
"""What training learns from: batches of short videos, with labels where there are any."""

from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import torch
from torch import Tensor


class BadClipError(ValueError):
    """A clip that cannot be used; `reason` is a few words that are counted."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class ClipShape:
    """What a source is asked for."""

    batch: int
    frames: int
    stride: int
    """Frames of the video from one frame of the clip to the next."""
    height: int
    width: int


@dataclass(frozen=True, slots=True)
class Clip:
    """A batch of clips. The labels are all there, or none is."""

    images: Tensor
    """[B, S, 3, H, W] in [0, 1]."""
    depth: Tensor | None = None
    """[B, S, H, W] along the optical axis, metres; 0 or not finite: unknown."""
    camera_from_world: Tensor | None = None
    """[B, S, 3, 4], OpenCV axes, any world, metres."""
    intrinsics: Tensor | None = None
    """[B, S, 3, 3], pixels."""

    def to(self, device: torch.device) -> "Clip":
        return self._each(lambda tensor: tensor.to(device))

    def __getitem__(self, which: Tensor | slice) -> "Clip":
        """The clips of a batch that `which` selects."""
        return self._each(lambda tensor: tensor[which])

    def _each(self, change: "Change") -> "Clip":
        return replace(self, **{name: change(tensor) for name, tensor in self.tensors().items()})

    def tensors(self) -> dict[str, Tensor]:
        """The fields that are there."""
        fields = {name: getattr(self, name) for name in Clip.__slots__}
        return {name: tensor for name, tensor in fields.items() if tensor is not None}


class Change(Protocol):
    def __call__(self, tensor: Tensor, /) -> Tensor: ...


class ClipSource(Protocol):
    """Where clips come from."""

    def sample(self, shape: ClipShape, number: int, rng: np.random.Generator) -> Clip:
        """The `number`-th batch, on any device. It depends on the arguments alone: all that is
        random about it comes from `rng`, so that a run can be resumed.

        Raises BadClipError where the place that `rng` chose holds nothing usable; another is tried.
        """
        ...


def join(clips: list[Clip]) -> Clip:
    """One batch of several."""
    names = clips[0].tensors()
    return Clip(**{name: torch.cat([clip.tensors()[name] for clip in clips]) for name in names})


def faults(clip: Clip) -> list[str]:
    """Per clip of a batch, what makes it useless; an empty text if nothing does."""
    batch, frames = clip.images.shape[:2]
    if frames < 2:
        return ["one frame"] * batch
    checks = [("image not finite", _finite(clip.images))]
    if clip.camera_from_world is not None:
        checks.append(("pose not finite", _finite(clip.camera_from_world)))
    if clip.intrinsics is not None:
        focal = clip.intrinsics.diagonal(dim1=-2, dim2=-1)[..., :2]
        good = (focal > 0).flatten(1).all(1)
        checks.append(("no intrinsics", _finite(clip.intrinsics) & good))
    if clip.depth is not None:
        known = (known_depth(clip.depth)).flatten(2).any(2).all(1)
        checks.append(("no depth", known))
    reasons = [""] * batch
    for reason, passed in checks:
        for index, ok in enumerate(passed.tolist()):
            reasons[index] = reasons[index] or ("" if ok else reason)
    return reasons


def known_depth(depth: Tensor) -> Tensor:
    """Where a depth map says something, bool."""
    return depth.isfinite() & (depth > 0)


def _finite(tensor: Tensor) -> Tensor:
    """Per clip, [B] bool."""
    return tensor.isfinite().flatten(1).all(1)
