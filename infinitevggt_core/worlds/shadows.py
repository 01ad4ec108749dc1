# SPDX-License-Identifier: Apache-2.0
"""Soft shadows of the largest solids of a world.

A hit is in shadow if the segment to its lamp crosses the bounding box of a caster; the longer the
crossing, the darker. The number of casters is limited, so that shadows cost less than ray casting.
"""

import torch
from torch import Tensor

from infinitevggt_core.worlds.ray_caster import Rays
from infinitevggt_core.worlds.solids import SHAPE_COLUMNS, Scene

CASTERS = 20
_START_M = 0.01
"""Distance from the surface at which the segment to the lamp starts."""
_SOFT_M = 0.06
"""Length of a crossing that is completely dark."""
INDOOR_M, OUTDOOR_M = 1.6, 30.0
"""Maximum half side of casters; larger solids are walls, floors and ceilings, or ground and sky."""


def casters_of(scene: Scene, largest_m: float = INDOOR_M) -> Tensor:
    """Return (CASTERS, SHAPE_COLUMNS) float32, the solids with the largest faces, padded with
    zeros. largest_m: maximum half side."""
    rows = torch.cat((scene.boxes, scene.rounds))[:, :SHAPE_COLUMNS]
    half = rows[:, 3:6].sort(dim=1).values
    # flat objects on walls and floors cast hardly any shadow
    face = torch.where((half[:, 2] < largest_m) & (half[:, 0] > 0.006), half[:, 1:].prod(1), 0.0)
    count = min(CASTERS, len(rows))
    chosen = rows[face.topk(count).indices]
    padding = rows.new_zeros(CASTERS - count, SHAPE_COLUMNS)
    return torch.cat((chosen, padding)).float()


def lit_share(
    rays: Rays, depth: Tensor, eyes: Tensor, casters: Tensor, lamps: Tensor, darkness: Tensor
) -> Tensor:
    """Return the share (F, N) of the lamp's light that reaches each hit.

    rays, depth: N rays of each of F images. eyes, lamps: (F, 3). casters: (F, CASTERS,
    SHAPE_COLUMNS). darkness: (F,), 1 for black shadows.
    """
    shape = (len(eyes), -1)
    axes = [part.reshape(shape) for part in (rays.x, rays.y, rays.z)]
    depth = depth.reshape(shape)
    points = [eyes[:, k, None] + depth * axes[k] for k in range(3)]
    ways = [lamps[:, k, None] - points[k] for k in range(3)]
    length = (ways[0] ** 2 + ways[1] ** 2 + ways[2] ** 2).sqrt()
    shade = torch.zeros_like(depth)
    for caster in casters.unbind(1):
        cx, cy, cz, hx, hy, hz, cos, sin, _ = caster.T[..., None].unbind(0)
        px, py, pz = points[0] - cx, points[1] - cy, points[2] - cz
        inside = _overlap(px * cos + py * sin, ways[0] * cos + ways[1] * sin, hx)
        for other in (
            _overlap(py * cos - px * sin, ways[1] * cos - ways[0] * sin, hy),
            _overlap(pz, ways[2], hz),
        ):
            inside = (torch.maximum(inside[0], other[0]), torch.minimum(inside[1], other[1]))
        near = torch.maximum(inside[0], _START_M / length)
        through = (inside[1].clamp(max=1) - near) * length / _SOFT_M
        shade = torch.maximum(shade, through)
    return 1 - darkness[:, None] * shade.clamp(0, 1)


def _overlap(start: Tensor, way: Tensor, half: Tensor) -> tuple[Tensor, Tensor]:
    """Return the parameters t at which start + t way enters and leaves [-half, half]."""
    inverse = way.reciprocal()
    a, b = (half - start) * inverse, (-half - start) * inverse
    return torch.minimum(a, b), torch.maximum(a, b)
