# SPDX-License-Identifier: Apache-2.0
"""Ray casting: the nearest solid of each pixel and its depth.

An image is divided into tiles. Each tile visits the solids that its frustum may touch from near to
far, and stops when the next one lies behind all its hits, so that the cost does not grow with the
number of rooms. All tiles of all frames visit their n-th solid together.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from infinitevggt_core.worlds.solids import SHAPE_COLUMNS

NEAR_M = 0.02
FAR_M = 1e4


@dataclass(frozen=True, slots=True)
class Cameras:
    """Pinhole cameras of F images of `height` x `width` pixels, each in one world."""

    camera_from_world: Tensor
    """(F, 3, 4), OpenCV axes, metres."""
    focal: Tensor
    """(F,), pixels."""
    center: Tensor
    """(F, 2), principal point in pixels. Pixel (0, 0) is the centre of the first pixel."""
    height: int
    width: int
    distortion: Tensor | None = None
    """(F,), radial: a ray at radius r of the pinhole has radius r (1 + distortion r^2)."""
    sweep: Tensor | None = None
    """(F, 3), rotation vector in camera axes, rad, by which the camera turns while the rows are
    read, from the first to the last; the middle one is that of the pose. None: all at once."""

    @property
    def eyes(self) -> Tensor:
        """(F, 3), camera centres in the world."""
        rotation, moved = self.camera_from_world[..., :3], self.camera_from_world[..., 3:]
        return -(rotation.transpose(1, 2) @ moved).squeeze(-1)


@dataclass(frozen=True, slots=True)
class Tiles:
    """Division of an image: (rows, columns) tiles of (high, wide) pixels."""

    rows: int
    columns: int
    high: int
    wide: int

    @classmethod
    def of(cls, height: int, width: int) -> "Tiles":
        high, wide = _tile_side(height), _tile_side(width)
        return cls(-(-height // high), -(-width // wide), high, wide)

    def to_image(self, values: Tensor, height: int, width: int) -> Tensor:
        """Rearrange (F * tiles, pixels) to (F, H, W) and crop the excess of the last tiles."""
        grid = values.reshape(-1, self.rows, self.columns, self.high, self.wide)
        full = grid.transpose(2, 3).reshape(-1, self.rows * self.high, self.columns * self.wide)
        return full[:, :height, :width]


def _tile_side(size: int) -> int:
    return min(range(8, 21), key=lambda side: (-(-size // side) * side - size, abs(side - 13)))


@dataclass(frozen=True, slots=True)
class Rays:
    """Directions in the world with camera depth 1: three tensors (F * tiles, pixels)."""

    x: Tensor
    y: Tensor
    z: Tensor

    def __getitem__(self, rows: Tensor) -> "Rays":
        return Rays(*(part.index_select(0, rows) for part in (self.x, self.y, self.z)))


@dataclass(frozen=True, slots=True)
class Hits:
    """Hits of the rays: two tensors (F * tiles, pixels)."""

    depth: Tensor
    """Metres along the optical axis, FAR_M without a hit."""
    solid: Tensor
    """int32 row in the table of solids."""


def rays_of(cameras: Cameras, tiles: Tiles) -> Rays:
    """Return one ray through the centre of each pixel."""
    rotation = cameras.camera_from_world[..., :3]
    device, dtype = rotation.device, rotation.dtype
    u = torch.arange(tiles.columns * tiles.wide, device=device, dtype=dtype)
    v = torch.arange(tiles.rows * tiles.high, device=device, dtype=dtype)
    x = (u - cameras.center[:, :1]) / cameras.focal[:, None]
    y = (v - cameras.center[:, 1:]) / cameras.focal[:, None]
    if cameras.distortion is not None or cameras.sweep is not None:
        return _bent(cameras, tiles, *bend(cameras, x[:, None], y[:, :, None]))
    parts = []
    for axis in range(3):
        right, down, forward = (rotation[:, k, axis, None] for k in range(3))
        across = (x * right + forward).reshape(-1, 1, tiles.columns, 1, tiles.wide)
        along = (y * down).reshape(-1, tiles.rows, 1, tiles.high, 1)
        parts.append((across + along).reshape(-1, tiles.high * tiles.wide))
    return Rays(*parts)


def bend(cameras: Cameras, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Return x and y at depth 1 (F, rows, columns) of the rays of pixels whose pinhole rays have x
    (F, 1, columns) and y (F, rows, 1)."""
    shape = (len(x), y.shape[1], x.shape[2])
    bent_x, bent_y = x.expand(shape), y.expand(shape)
    if cameras.distortion is not None:
        factor = 1 + cameras.distortion.view(-1, 1, 1) * (x * x + y * y)
        bent_x, bent_y = x * factor, y * factor
    if cameras.sweep is not None:  # rotation only, first order
        late = y * (cameras.focal / cameras.height).view(-1, 1, 1)  # -0.5 to 0.5
        turn_x, turn_y, turn_z = (part.view(-1, 1, 1) for part in cameras.sweep.unbind(1))
        bent_x, bent_y = (
            bent_x - late * (turn_y - turn_z * y),
            bent_y - late * (turn_z * x - turn_x),
        )
    return bent_x, bent_y


def _bent(cameras: Cameras, tiles: Tiles, x: Tensor, y: Tensor) -> Rays:
    rotation = cameras.camera_from_world[..., :3]
    parts = []
    for axis in range(3):
        right, down, forward = (rotation[:, k, axis].view(-1, 1, 1) for k in range(3))
        grid = (x * right + y * down + forward).reshape(
            -1, tiles.rows, tiles.high, tiles.columns, tiles.wide
        )
        parts.append(grid.transpose(2, 3).reshape(-1, tiles.high * tiles.wide))
    return Rays(*parts)


_Meet = Callable[[Tensor, Tensor, Rays], Tensor]


def cast(
    cameras: Cameras, tiles: Tiles, rays: Rays, table: Tensor, boxes: Tensor, rounds: Tensor
) -> Hits:
    """Return the nearest hits.

    boxes, rounds: (F, N) int64, rows of `table` visible to each image, or -1.
    """
    depth = torch.full_like(rays.x, FAR_M)
    hits = Hits(depth, torch.zeros_like(depth, dtype=torch.int32))
    for rows, meet in ((boxes, meet_box), (rounds, meet_round)):
        if rows.shape[1] == 0:
            continue
        queue = _queue(cameras, tiles, table, rows)
        _go_through(queue, cameras.eyes, tiles.rows * tiles.columns, rays, table, hits, meet)
    return hits


@dataclass(frozen=True, slots=True)
class _Queue:
    """Solids that each tile may see, from near to far, tile after tile."""

    solid: Tensor
    near: Tensor
    start: Tensor
    count: Tensor


def _queue(cameras: Cameras, tiles: Tiles, table: Tensor, rows: Tensor) -> _Queue:
    center, axes = _in_camera(cameras, table[rows.clamp(min=0)])
    reach = axes.abs().sum(2)  # half extent along the camera's axes
    near = center[..., 2] - reach[..., 2]
    seen = (rows >= 0) & (center[..., 2] + reach[..., 2] > NEAR_M)
    near, order = near.masked_fill(~seen, FAR_M).sort(1)
    seen, rows = seen.gather(1, order), rows.gather(1, order)
    center = center.gather(1, order[..., None].expand_as(center))
    axes = axes.gather(1, order[..., None, None].expand_as(axes))
    columns = _overlap(center, axes, 0, tiles.columns, tiles.wide, cameras)
    lines = _overlap(center, axes, 1, tiles.rows, tiles.high, cameras)
    # (F, rows, columns, N)
    touched = (lines & seen[:, None])[:, :, None] & columns[:, None]
    frame, _, _, number = touched.nonzero().unbind(1)
    count = touched.sum(-1).reshape(-1)
    return _Queue(rows[frame, number], near[frame, number], count.cumsum(0) - count, count)


def _in_camera(cameras: Cameras, solids: Tensor) -> tuple[Tensor, Tensor]:
    """Return centres (F, N, 3) and half axes (F, N, 3 axes, 3) of solids in camera coordinates."""
    rotation = cameras.camera_from_world[:, None, :, :3]
    center = (rotation @ solids[..., 0:3, None]).squeeze(-1)
    center = center + cameras.camera_from_world[:, None, :, 3]
    cos, sin = solids[..., 6:7], solids[..., 7:8]
    along = cos * rotation[..., 0] + sin * rotation[..., 1]
    across = cos * rotation[..., 1] - sin * rotation[..., 0]
    up = rotation[..., 2].expand_as(along)
    axes = torch.stack((along, across, up), dim=2) * solids[..., 3:6, None]
    return center, axes


def _overlap(
    center: Tensor, axes: Tensor, axis: int, count: int, side: int, cameras: Cameras
) -> Tensor:
    """Return (F, count, N), True if a solid reaches into the wedge of a column (or row) of
    tiles."""
    edges = torch.arange(count + 1, device=center.device, dtype=center.dtype) * side - 0.5
    slope = (edges - cameras.center[:, axis, None]) / cameras.focal[:, None]
    farthest = _farthest_bend(cameras, axis)
    # above the low edge and below the high one
    _, above = _sides(center, axes, axis, (slope - farthest)[:, :-1])
    below, _ = _sides(center, axes, axis, (slope + farthest)[:, 1:])
    return above & below


def _sides(center: Tensor, axes: Tensor, axis: int, slope: Tensor) -> tuple[Tensor, Tensor]:
    """Return (F, count, N) twice: True if a solid reaches below and above the planes through the
    camera with `slope` (F, count)."""
    slope = slope[:, :, None]
    middle = center[:, None, :, axis] - slope * center[:, None, :, 2]
    reach = (axes[:, None, :, :, axis] - slope[..., None] * axes[:, None, :, :, 2]).abs().sum(-1)
    return middle - reach < 0, middle + reach > 0


def _farthest_bend(cameras: Cameras, axis: int) -> Tensor | float:
    """Return (F, 1), the largest change of x (axis 0) or y (axis 1) at depth 1 by `bend`."""
    if cameras.distortion is None and cameras.sweep is None:
        return 0.0
    rim = torch.linspace(-0.5, 1.5, 9, device=cameras.focal.device)  # tiles go past the image
    x = (rim * cameras.width - cameras.center[:, :1]) / cameras.focal[:, None]
    y = (rim * cameras.height - cameras.center[:, 1:]) / cameras.focal[:, None]
    straight = (x[:, None], y[:, :, None])
    bent = bend(cameras, *straight)[axis]
    return (bent - straight[axis]).abs().amax((1, 2))[:, None]


def _go_through(
    queue: _Queue, eyes: Tensor, per_frame: int, rays: Rays, table: Tensor, hits: Hits, meet: _Meet
) -> None:
    """Improve `hits` in place."""
    farthest = hits.depth.amax(1)
    active = queue.count.nonzero().squeeze(1)
    turn = 0
    while len(active):
        entry = queue.start[active] + turn
        wanted = queue.near[entry] < farthest[active]
        active, entry = active[wanted], entry[wanted]
        if not len(active):
            break
        number = queue.solid[entry]
        solid = table[number, :SHAPE_COLUMNS]
        eye = eyes[torch.div(active, per_frame, rounding_mode="floor")] - solid[:, :3]
        depth, near = hits.depth.index_select(0, active), meet(solid, eye, rays[active])
        nearer = near < depth
        depth = torch.where(nearer, near, depth)
        hits.depth.index_copy_(0, active, depth)
        before = hits.solid.index_select(0, active)
        hits.solid.index_copy_(0, active, torch.where(nearer, number.int()[:, None], before))
        farthest[active] = depth.amax(1)
        turn += 1
        active = active[queue.count[active] > turn]


def _turned(solid: Tensor, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Return x and y in the solid's axes."""
    cos, sin = solid[:, 6:7], solid[:, 7:8]
    return torch.addcmul(x * cos, y, sin), torch.addcmul(y * cos, x, sin, value=-1)


def _slab(eye: Tensor, direction: Tensor, half: Tensor) -> tuple[Tensor, Tensor]:
    """Return the ray parameters at which |x| <= half begins and ends."""
    inverse = direction.reciprocal()
    a, b = inverse * (half - eye), inverse * (-half - eye)
    return torch.minimum(a, b), torch.maximum(a, b)


def meet_box(solid: Tensor, eye: Tensor, rays: Rays) -> Tensor:
    """Return the depth (tiles, pixels) at which rays enter boxes (tiles, SHAPE_COLUMNS), else
    FAR_M."""
    dx, dy = _turned(solid, rays.x, rays.y)
    ex, ey = _turned(solid, eye[:, 0:1], eye[:, 1:2])
    near, far = _slab(ex, dx, solid[:, 3:4])
    near_y, far_y = _slab(ey, dy, solid[:, 4:5])
    near_z, far_z = _slab(eye[:, 2:3], rays.z, solid[:, 5:6])
    near = torch.maximum(torch.maximum(near, near_y), near_z)
    far = torch.minimum(torch.minimum(far, far_y), far_z)
    return near.masked_fill_((near > far) | (near < NEAR_M), FAR_M)


def meet_round(solid: Tensor, eye: Tensor, rays: Rays) -> Tensor:
    """Return the depth at which rays enter cylinders and ellipsoids. Shapes as in `meet_box`."""
    bulge = solid[:, 8:9]
    ex, ey, ez = eye[:, 0:1], eye[:, 1:2], eye[:, 2:3]
    a = rays.x * rays.x + rays.y * rays.y + bulge * (rays.z * rays.z)
    b = rays.x * ex + rays.y * ey + rays.z * (bulge * ez)
    c = ex * ex + ey * ey + bulge * ez * ez - solid[:, 3:4] ** 2
    root = b * b - a * c
    spread = root.clamp(min=0).sqrt()
    near_z, far_z = _slab(ez, rays.z, solid[:, 5:6])
    near = torch.maximum((-b - spread) / a, near_z)
    far = torch.minimum((spread - b) / a, far_z)
    missed = (root < 0) | (near > far) | (near < NEAR_M)
    return near.masked_fill_(missed, FAR_M)
