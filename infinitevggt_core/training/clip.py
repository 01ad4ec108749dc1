# SPDX-License-Identifier: Apache-2.0
"""Training clips: batches of short videos with optional labels, and images fitted to them."""

from dataclasses import dataclass, replace
from typing import Protocol

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from infinitevggt_core.model.late_tensors import moved
from infinitevggt_core.model.preprocess import PixelMap


class BadClipError(ValueError):
    """An unusable clip. `reason` is a short phrase by which such clips are counted."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class ClipShape:
    """Shape of the batch that a source returns."""

    batch: int
    frames: int
    stride: int
    """Number of video frames from one frame of the clip to the next."""
    height: int
    width: int


@dataclass(frozen=True, slots=True)
class Clip:
    """Batch of clips, with all labels or none."""

    images: Tensor
    """[B, S, 3, H, W], RGB in [0, 1]."""
    depth: Tensor | None = None
    """[B, S, H, W], metres along the optical axis; unknown where 0 or not finite."""
    camera_from_world: Tensor | None = None
    """[B, S, 3, 4], any world frame (metres) to OpenCV camera axes."""
    intrinsics: Tensor | None = None
    """[B, S, 3, 3], pixels."""

    def to(self, device: torch.device) -> "Clip":
        return self._each(lambda tensor: moved(tensor, device))

    def __getitem__(self, which: Tensor | slice) -> "Clip":
        """Return the clips selected by `which`."""
        return self._each(lambda tensor: tensor[which])

    def _each(self, change: "Change") -> "Clip":
        return replace(self, **{name: change(tensor) for name, tensor in self.tensors().items()})

    def tensors(self) -> dict[str, Tensor]:
        """Return the tensors that are not None, by name."""
        fields = {name: getattr(self, name) for name in Clip.__slots__}
        return {name: tensor for name, tensor in fields.items() if tensor is not None}


class Change(Protocol):
    def __call__(self, tensor: Tensor, /) -> Tensor: ...


class ClipSource(Protocol):
    """A source of training clips."""

    def sample(self, shape: ClipShape, number: int, rng: np.random.Generator) -> Clip:
        """Return batch `number`, on any device.

        The result depends on the arguments alone, and all randomness comes from `rng`, so that a
        run can be resumed. Raises BadClipError if the drawn clip is unusable; the caller then draws
        another.
        """
        ...


def join(clips: list[Clip]) -> Clip:
    """Concatenate clips along the batch dimension."""
    names = clips[0].tensors()
    return Clip(**{name: torch.cat([clip.tensors()[name] for clip in clips]) for name in names})


def faults(clip: Clip) -> list[str]:
    """Return for each clip of a batch the reason why it is unusable; "" if it is usable."""
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
    """Return a mask that is True where depth is known."""
    return depth.isfinite() & (depth > 0)


def _finite(tensor: Tensor) -> Tensor:
    """Return [B] bool, True for clips with finite values only."""
    return tensor.isfinite().flatten(1).all(1)


def fit_to(camera_size: tuple[int, int], height: int, width: int) -> PixelMap:
    """Return the map that scales an image to cover the clip and crops the rest evenly."""
    rows, cols = camera_size
    scale = max(height / rows, width / cols)
    scaled = (max(height, round(rows * scale)), max(width, round(cols * scale)))
    return PixelMap(
        camera_size=camera_size,
        model_size=(height, width),
        scale=(scaled[1] / cols, scaled[0] / rows),
        shift=(-((scaled[1] - width) // 2), -((scaled[0] - height) // 2)),
    )


def fit_image(image: NDArray[np.uint8], place: PixelMap) -> NDArray[np.float32]:
    """Scale and crop (H, W, 3) RGB to (3, height, width) in [0, 1]."""
    rows, cols = place.camera_size
    size = (round(cols * place.scale[0]), round(rows * place.scale[1]))
    method = cv2.INTER_AREA if size[0] < cols else cv2.INTER_LINEAR
    resized = _cut(np.asarray(cv2.resize(image, size, interpolation=method)), place)
    return np.ascontiguousarray(resized.transpose(2, 0, 1), dtype=np.float32) / np.float32(255)


def fit_depth(depth: NDArray[np.float32], place: PixelMap) -> NDArray[np.float32]:
    """Scale and crop (H, W) to (height, width)."""
    return place.to_model(depth)


def _cut(image: NDArray[np.uint8], place: PixelMap) -> NDArray[np.uint8]:
    top, left = -place.shift[1], -place.shift[0]
    height, width = place.model_size
    return image[top : top + height, left : left + width]
