# SPDX-License-Identifier: Apache-2.0
"""What one image saw: how far it is to the next surface, pixel by pixel."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True, slots=True)
class View:
    """Of one camera. Lengths in the stream's unit, OpenCV axes; host memory."""

    depth: Tensor
    """[H, W] float32, along the optical axis; not finite where not known."""
    camera_from_world: Tensor
    """[3, 4] float32."""
    intrinsics: Tensor
    """[3, 3] float32, px."""

    def sky(self, ratio: float) -> Tensor:
        """[H, W]: deeper than `ratio` times the median depth."""
        known = self.depth[self.depth.isfinite()]
        if not len(known):
            return torch.zeros_like(self.depth, dtype=torch.bool)
        deep: Tensor = self.depth > ratio * known.median()
        return deep

    def distances(self, points: Tensor) -> Tensor:
        """[N]: of points [N, 3] of the world from the camera."""
        lengths: Tensor = torch.linalg.vector_norm(self._in_camera(points), dim=1)
        return lengths

    def sees_through(self, points: Tensor, margin: float) -> Tensor:
        """[N]: whether points [N, 3] of the world stand in free space: before the surface in their
        pixel and the eight around it, by more than `margin` times its depth."""
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
        """[H, W]: least depth of a pixel and its neighbours; 0 where one of them is not known, so
        that nothing is seen through it."""
        known = self.depth.nan_to_num(0, 0, 0).clamp(min=0)
        return -F.max_pool2d(-known[None], kernel_size=3, stride=1, padding=1)[0]

    def _in_camera(self, points: Tensor) -> Tensor:
        return torch.addmm(self.camera_from_world[:, 3], points, self.camera_from_world[:, :3].T)
