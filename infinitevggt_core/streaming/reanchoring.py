# SPDX-License-Identifier: Apache-2.0
"""The same camera in two worlds tells how one world lies in the other."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from infinitevggt_core.model import geometry
from infinitevggt_core.model.prediction import Prediction


@dataclass(frozen=True, slots=True, eq=False)
class Alignment:
    """world = scale * rotation @ stream + translation, for points of B streams."""

    scale: Tensor
    """[B]."""
    rotation: Tensor
    """[B, 3, 3]."""
    translation: Tensor
    """[B, 3]."""

    @classmethod
    def between(cls, stream: Prediction, world: Prediction) -> "Alignment":
        """From two predictions for the same image: the scale from its depths, where both are
        confident, and the rest from its pose."""
        confident = _upper_half(stream.depth_confidence) & _upper_half(world.depth_confidence)
        ratio = (world.depth / stream.depth).masked_fill(~confident, torch.nan)
        scale = ratio.flatten(1).nanmedian(dim=1).values.nan_to_num(nan=1.0)
        from_stream, from_world = stream.camera_from_world, world.camera_from_world
        back = from_world[..., :3].transpose(-1, -2)
        shift = scale[:, None] * from_stream[..., 3] - from_world[..., 3]
        return cls(scale, back @ from_stream[..., :3], (back @ shift[..., None])[..., 0])

    def apply(self, prediction: Prediction) -> Prediction:
        """A prediction in the stream's world as it is in the other."""
        pose = prediction.camera_from_world
        rotation = pose[..., :3] @ self.rotation.transpose(-1, -2)
        turned = (rotation @ self.translation[..., None])[..., 0]
        translation = self.scale[:, None] * pose[..., 3] - turned
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


def _upper_half(confidence: Tensor) -> Tensor:
    """Which pixels (B, H, W) are at least as confident as the median."""
    return confidence >= confidence.flatten(1).median(dim=1).values[:, None, None]
