# SPDX-License-Identifier: Apache-2.0
"""Depth image of one camera, in which points are tested for visibility."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True, slots=True)
class View:
    """Depth, pose and intrinsics of one camera: stream unit, OpenCV axes, in host memory."""

    depth: Tensor
    """[H, W] float32, along the optical axis; not finite if unknown."""
    camera_from_world: Tensor
    """[3, 4] float32."""
    intrinsics: Tensor
    """[3, 3] float32, px."""

    def sky(self, ratio: float) -> Tensor:
        """Return [H, W], True for pixels deeper than `ratio` times the median depth."""
        known = self.depth[self.depth.isfinite()]
        if not len(known):
            return torch.zeros_like(self.depth, dtype=torch.bool)
        deep: Tensor = self.depth > ratio * known.median()
        return deep

    def distances(self, points: Tensor) -> Tensor:
        """Return the distances [N] of world points [N, 3] from the camera."""
        lengths: Tensor = torch.linalg.vector_norm(self._in_camera(points), dim=1)
        return lengths

    def sees_through(self, points: Tensor, margin: float) -> Tensor:
        """Return [N], True for world points [N, 3] in free space: in front of the surface in their
        pixel and in the eight around it, by more than `margin` times its depth."""
        x, y, z = self._in_camera(points).unbind(1)
        in_front = z > 0
        z = torch.where(in_front, z, 1)
        k = self.intrinsics
        u = (x / z * k[0, 0] + k[0, 2]).round()
        v = (y / z * k[1, 1] + k[1, 2]).round()
        height, width = self.depth.shape
        inside = in_front & (u >= 0) & (u < width) & (v >= 0) & (v < height)
        pixels = torch.where(inside, v * width + u, 0).long()
        return inside & (z < (1 - margin) * self._nearest().reshape(-1)[pixels])

    def _nearest(self) -> Tensor:
        """Return [H, W] least depths of pixels and their neighbours; 0 if one of them is unknown,
        so that no point lies in front."""
        known = self.depth.nan_to_num(0, 0, 0).clamp(min=0)
        return -F.max_pool2d(-known[None], kernel_size=3, stride=1, padding=1)[0]

    def _in_camera(self, points: Tensor) -> Tensor:
        return torch.addmm(self.camera_from_world[:, 3], points, self.camera_from_world[:, :3].T)
