# SPDX-License-Identifier: Apache-2.0
"""Output of the network for a frame or a clip."""

from dataclasses import dataclass

from torch import Tensor

from infinitevggt_core.model import geometry


@dataclass(frozen=True, slots=True, eq=False)
class Prediction:
    """Poses, depth and points, batch first: from `StreamSession.push` as below, from `VGGT.forward`
    with [B, S, ...].

    Lengths are in the stream's own unit: the network predicts no metric scale. The world frame is
    the camera of the first frame, in OpenCV axes (x right, y down, z forward).
    """

    pose_encoding: Tensor
    """[B, 9]: translation, quaternion xyzw (camera_from_world), vertical, horizontal FoV in rad."""
    depth: Tensor
    """[B, H, W], along the optical axis."""
    depth_confidence: Tensor
    """[B, H, W], above 1."""
    points: Tensor | None = None
    """[B, H, W, 3], world frame, from the point head."""
    points_confidence: Tensor | None = None
    """[B, H, W], above 1."""
    tracks: Tensor | None = None
    """[B, Q, 2], pixels (x, y)."""
    track_visibility: Tensor | None = None
    """[B, Q], in [0, 1]."""
    track_confidence: Tensor | None = None
    """[B, Q], in [0, 1]."""

    @property
    def camera_from_world(self) -> Tensor:
        """[B, 3, 4] transform of world points to camera points."""
        return geometry.camera_from_world(self.pose_encoding)

    @property
    def intrinsics(self) -> Tensor:
        """[B, 3, 3] pinhole matrix in pixels of the model's image."""
        height, width = self.depth.shape[-2:]
        return geometry.intrinsics_from_encoding(self.pose_encoding, height, width)

    def world_points(self, intrinsics: Tensor | None = None) -> Tensor:
        """Unproject depth with the pose and the given or predicted intrinsics: [B, H, W, 3], world
        frame."""
        matrix = self.intrinsics if intrinsics is None else intrinsics
        return geometry.world_points(self.depth, self.camera_from_world, matrix)

    def frame(self, index: int) -> "Prediction":
        """Return one frame [B, ...] of a clip [B, S, ...]."""
        return Prediction(**{name: value[:, index] for name, value in self.tensors().items()})

    def tensors(self) -> dict[str, Tensor]:
        """Return the fields that are not None, by name."""
        values = {name: getattr(self, name) for name in self.__slots__}
        return {name: value for name, value in values.items() if value is not None}
