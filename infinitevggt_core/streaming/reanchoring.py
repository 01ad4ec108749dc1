# SPDX-License-Identifier: Apache-2.0
"""A new stream in the world of the old one, aligned by frames that both have seen."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from infinitevggt_core.model import geometry
from infinitevggt_core.model.prediction import Prediction
from infinitevggt_core.streaming.segment import Segment

LEAST_DEPTH = 1.19e-7
SCALES = (1e-3, 1e3)
"""Bounds of the scale between two streams."""


@dataclass(frozen=True, slots=True, eq=False)
class Alignment:
    """Similarity transform of points: world = scale * rotation @ stream + translation."""

    scale: Tensor
    """[B]."""
    rotation: Tensor
    """[B, 3, 3]."""
    translation: Tensor
    """[B, 3]."""

    @classmethod
    def between(cls, stream: Prediction, world: Prediction) -> "Alignment":
        """Align two predictions for the same image: the scale by the depths of pixels that are
        confident in both, rotation and translation by the poses."""
        confident = _upper_half(stream.depth_confidence) & _upper_half(world.depth_confidence)
        ratio = (world.depth / stream.depth).masked_fill(~confident, torch.nan)
        scale = ratio.flatten(1).nanmedian(dim=1).values.nan_to_num(nan=1.0)
        return cls._by_pose(scale, stream, world)

    @classmethod
    def over(cls, stream: Sequence[Prediction], world: Sequence[Prediction]) -> "Alignment":
        """Align several predictions each: the scale by the median over the depths of all pixels,
        rotation and translation by the poses of the last image (docs/lingbot_map.md)."""
        depth, target = (torch.stack([p.depth for p in side], dim=1) for side in (stream, world))
        ratio = target / depth
        is_valid = ratio.isfinite() & (depth.abs() > LEAST_DEPTH)
        ratio = ratio.masked_fill(~is_valid, torch.nan)
        scale = ratio.flatten(1).nanmedian(dim=1).values.nan_to_num(nan=1.0).clamp(*SCALES)
        return cls._by_pose(scale, stream[-1], world[-1])

    @classmethod
    def _by_pose(cls, scale: Tensor, stream: Prediction, world: Prediction) -> "Alignment":
        from_stream, from_world = stream.camera_from_world, world.camera_from_world
        back = from_world[..., :3].transpose(-1, -2)
        shift = scale[:, None] * from_stream[..., 3] - from_world[..., 3]
        return cls(scale, back @ from_stream[..., :3], (back @ shift[..., None])[..., 0])

    def apply(self, prediction: Prediction) -> Prediction:
        """Transform a prediction from the stream to the world."""
        pose = prediction.camera_from_world
        rotation = pose[..., :3] @ self.rotation.transpose(-1, -2)
        offset = (rotation @ self.translation[..., None])[..., 0]
        translation = self.scale[:, None] * pose[..., 3] - offset
        quaternion = geometry.quaternion_from_rotation(rotation)
        fields_of_view = prediction.pose_encoding[..., 7:]
        moved = replace(
            prediction,
            pose_encoding=torch.cat((translation, quaternion, fields_of_view), dim=-1),
            depth=self.scale[:, None, None] * prediction.depth,
        )
        if prediction.points is None:
            return moved
        scaled = self.scale[:, None, None, None] * prediction.points
        points = torch.einsum("bij,bhwj->bhwi", self.rotation, scaled)
        return replace(moved, points=points + self.translation[:, None, None, :])

    def state_dict(self) -> dict[str, Tensor]:
        return {name: getattr(self, name) for name in self.__slots__}


class Overlap:
    """The frames that the old stream and a new one both see, and the new stream."""

    def __init__(self, segment: Segment, frames: int) -> None:
        """segment: the new stream. frames: length of the overlap."""
        self.segment, self.frames = segment, frames
        self._waiting: list[Tensor] = []  # images that start the new stream together
        self._old: list[Prediction] = []  # in the world
        self._new: list[Prediction] = []
        self._is_stored: list[bool] = []

    def add(
        self,
        images: Tensor,
        prediction: Prediction,
        is_stored: bool,
        decode: Callable[[Segment, Tensor], Prediction],
    ) -> None:
        """Show the new stream the images [B, 3, H, W] of the next frame.

        prediction: of the old stream, in the world. is_stored: True if the old stream's memory
        holds the frame. decode: decodes frames in the new stream.
        """
        self._waiting.append(images)
        self._old.append(prediction)
        self._is_stored.append(is_stored)
        segment = self.segment
        if segment.is_starting and len(self._waiting) < min(segment.start_frames, self.frames):
            return
        clip = segment.begin(*self._waiting)
        found = decode(segment, clip)
        segment.end()
        self._is_stored[-1] &= segment.latest_is_stored
        self._new += [found.frame(i) for i in range(-len(self._waiting), 0)]
        self._waiting.clear()

    @property
    def is_complete(self) -> bool:
        """True if both streams have seen all frames."""
        return len(self._new) == self.frames

    def align(self) -> tuple[Alignment, list[Prediction]]:
        """Return the alignment of the new stream to the world, and its predictions for the frames
        of the overlap, in the world."""
        if self.frames == 1:
            alignment = Alignment.between(self._new[0], self._old[0])
        else:
            common = [i for i, is_stored in enumerate(self._is_stored) if is_stored] or [0]
            new, old = ([side[i] for i in common] for side in (self._new, self._old))
            alignment = Alignment.over(new, old)
        return alignment, [alignment.apply(prediction) for prediction in self._new]

    @property
    def nbytes(self) -> int:
        """Bytes held by the new stream, its images and the predictions."""
        tensors = [t for side in (self._old, self._new) for p in side for t in p.tensors().values()]
        return self.segment.nbytes + sum(t.nbytes for t in (*self._waiting, *tensors))

    def state_dict(self) -> dict[str, Any]:
        """Return everything that `load_state_dict` needs to continue."""
        return {
            "frames": self.frames,
            "segment": self.segment.state_dict(),
            "waiting": list(self._waiting),
            "old": [prediction.tensors() for prediction in self._old],
            "new": [prediction.tensors() for prediction in self._new],
            "is_stored": list(self._is_stored),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore a state. Raises ValueError if it is of another memory."""
        device = self.segment.model.device
        self.segment.load_state_dict(state["segment"])
        self._waiting = [images.to(device) for images in state["waiting"]]
        self._old, self._new = (
            [Prediction(**{k: v.to(device) for k, v in p.items()}) for p in state[side]]
            for side in ("old", "new")
        )
        self._is_stored = list(state["is_stored"])


def _upper_half(confidence: Tensor) -> Tensor:
    """Return True for pixels (B, H, W) at least as confident as the median."""
    return confidence >= confidence.flatten(1).median(dim=1).values[:, None, None]
