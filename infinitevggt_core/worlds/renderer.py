# SPDX-License-Identifier: Apache-2.0
"""Rendering of worlds: cameras, ray colours and image formation."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from infinitevggt_core.worlds.camera import develop, pinhole_matrices
from infinitevggt_core.worlds.config import WorldConfig
from infinitevggt_core.worlds.frames import WorldClips
from infinitevggt_core.worlds.hashed_rng import HashedRng
from infinitevggt_core.worlds.movers import Movers
from infinitevggt_core.worlds.optics import Optics, blurred, turn_per_frame
from infinitevggt_core.worlds.ray_caster import Cameras, Rays, Tiles, cast, rays_of
from infinitevggt_core.worlds.shading import shade
from infinitevggt_core.worlds.shadows import INDOOR_M, OUTDOOR_M, casters_of, lit_share
from infinitevggt_core.worlds.solids import Light, Scene
from infinitevggt_core.worlds.street import SEEN_M
from infinitevggt_core.worlds.trajectory import Trajectory

_RAYS_AT_ONCE = {"cpu": 150_000, "cuda": 6_000_000}
# pixels; the mean of the first one, three or five is the centre
_JITTER = ((0.0, 0.0), (0.3, 0.15), (-0.3, -0.15), (-0.15, 0.35), (0.15, -0.35))


class Renderable(Protocol):
    """Attributes of a world that the renderer reads."""

    seed: int
    config: WorldConfig
    scene: Scene
    movers: Movers
    trajectory: Trajectory
    lights: list[Light]


def frames_per_chunk(height: int, width: int, device: str) -> int:
    """Return the number of frames that fit into the memory of one chunk."""
    limit = _RAYS_AT_ONCE.get(torch.device(device).type, _RAYS_AT_ONCE["cuda"])
    return max(1, limit // (height * width))


def render(
    worlds: Sequence[Renderable], times: Tensor, height: int, width: int, device: str = "cpu"
) -> WorldClips:
    """Render frames at `times` [B, S] (in frames, float64) of B worlds, chunk by chunk."""
    if height < 8 or width < 8:
        raise ValueError(f"an image of {width}x{height} px: must be at least 8x8")
    total = times.numel()
    images = torch.empty(total, 3, height, width, device=device)
    depth = torch.empty(total, height, width, device=device)
    stage = Stage(worlds, device)
    which = torch.arange(len(worlds)).repeat_interleave(times.shape[1])
    cameras = _cameras(worlds, times, height, width)
    step = max(1, frames_per_chunk(height, width, device) // stage.rays_per_pixel)
    for first in range(0, total, step):
        part = slice(first, first + step)
        images[part], depth[part] = stage.render(
            which[part], times.reshape(-1)[part], height, width
        )
    return WorldClips(
        images.reshape(*times.shape, 3, height, width),
        depth.reshape(*times.shape, height, width),
        *(values.reshape(*times.shape, *values.shape[1:]).to(device) for values in cameras),
    )


def _cameras(
    worlds: Sequence[Renderable], times: Tensor, height: int, width: int
) -> tuple[Tensor, Tensor]:
    poses, matrices = [], []
    for world, row in zip(worlds, times, strict=True):
        poses.append(world.trajectory.camera_from_world(row))
        matrices.append(pinhole_matrices(world.trajectory.focal(row), height, width))
    return torch.cat(poses), torch.cat(matrices)


@dataclass(frozen=True, slots=True)
class _Rays:
    """Rays of one chunk: F frames times K sub-frames, flat."""

    cameras: Cameras
    light: Tensor
    table: Tensor
    boxes: Tensor
    rounds: Tensor
    turn: Tensor | None
    """(F, 3), rotation of each camera during a frame, rad; None if nothing depends on it."""


class Stage:
    """Worlds on a device, ready to be rendered."""

    def __init__(self, worlds: Sequence[Renderable], device: str) -> None:
        self.worlds = worlds
        self.device = torch.device(device)
        config = worlds[0].config
        self.rays_per_pixel = max(config.samples, 3 if config.motion_blur else 1)
        self._shutter = config.motion_blur
        tables, boxes, rounds, offset = [], [], [], 0
        for world in worlds:
            tables += [world.scene.boxes, world.scene.rounds]
            ends = offset + len(world.scene.boxes)
            boxes.append(torch.arange(offset, ends))
            offset = ends + len(world.scene.rounds)
            rounds.append(torch.arange(ends, offset))
        self._rows = torch.cat(tables).float().to(self.device)
        self._boxes, self._rounds = _padded(boxes), _padded(rounds)
        self._shadows = self._shadow_casters() if config.shadows else None

    def _shadow_casters(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return casters, lamps and darkness of the shadows of each world."""
        largest = OUTDOOR_M if self.worlds[0].config.outdoor else INDOOR_M
        casters = torch.stack([casters_of(world.scene, largest) for world in self.worlds])
        lamps = torch.tensor([world.lights[0].position for world in self.worlds])
        darkness = torch.tensor(
            [
                world.config.shadows * HashedRng(world.seed, "shadows").uniform(0.5, 1.0)
                for world in self.worlds
            ]
        )
        return casters.to(self.device), self._put(lamps), self._put(darkness)

    def render(
        self, which: Tensor, times: Tensor, height: int, width: int
    ) -> tuple[Tensor, Tensor]:
        """Return images (F, 3, H, W) and depth (F, H, W) of worlds `which` (F,) at `times` (F,)."""
        exposed = self._expose(which, times, height, width)
        tiles = Tiles.of(height, width)
        rays = rays_of(exposed.cameras, tiles)
        owners = which.repeat_interleave(self.rays_per_pixel).to(self.device)
        hits = cast(exposed.cameras, tiles, rays, exposed.table, exposed.boxes, exposed.rounds)
        per_frame = tiles.rows * tiles.columns * tiles.high * tiles.wide

        def each(values: Tensor) -> Tensor:
            return values.repeat_interleave(per_frame)

        light = each(exposed.light)
        if self._shadows is not None:
            casters, lamps, darkness = (part[owners] for part in self._shadows)
            share = lit_share(rays, hits.depth, exposed.cameras.eyes, casters, lamps, darkness)
            light = light * share.reshape(-1)
        eye_x, eye_y, eye_z = exposed.cameras.eyes.unbind(1)
        colors = shade(
            Rays(rays.x.reshape(-1), rays.y.reshape(-1), rays.z.reshape(-1)),
            (each(eye_x), each(eye_y), each(eye_z)),
            hits.depth.reshape(-1),
            hits.solid.reshape(-1),
            exposed.table.T.contiguous(),
            each(1 / exposed.cameras.focal),
            light,
            self.worlds[0].config.gloss > 0,
        )
        linear = torch.stack(
            [tiles.to_image(color, height, width) for color in colors], dim=1
        ).reshape(-1, self.rays_per_pixel, 3, height, width)
        linear = linear.mean(1)
        if exposed.turn is not None:
            focal = exposed.cameras.focal[:: self.rays_per_pixel]
            linear = blurred(linear, exposed.turn, focal, self._optics(which, "shutter"))
        seen = hits.depth
        if self.worlds[0].config.outdoor:  # the sky has no depth
            length = (rays.x**2 + rays.y**2 + rays.z**2).sqrt()
            seen = seen.masked_fill(seen * length > SEEN_M, 0.0)
        depth = tiles.to_image(seen, height, width)[:: self.rays_per_pixel]
        keys = [self.worlds[k].seed for k in which.tolist()]
        exposure = self._per_frame(which, times, "exposure")
        return develop(linear, exposure, keys, times, self.worlds[0].config), depth

    def _expose(self, which: Tensor, times: Tensor, height: int, width: int) -> _Rays:
        count = self.rays_per_pixel
        # the middle of the exposure comes first: it defines depth and pose
        moments = [0.0] + [s * k / max(1, count - 1) for k in range(1, count // 2 + 1)
                           for s in (-1.0, 1.0)]  # fmt: skip
        offsets = torch.tensor(moments[:count], dtype=torch.float64) * self._shutter
        every = (times[:, None] + offsets).reshape(-1)
        owner = which.repeat_interleave(count)
        poses = self._per_frame(owner, every, "camera_from_world")
        focal = self._per_frame(owner, every, "focal") * width
        jitter = torch.tensor(_JITTER[:count], dtype=torch.float64).repeat(len(times), 1)
        center = torch.tensor([width / 2, height / 2], dtype=torch.float64) - jitter
        light = self._per_frame(owner, every, "light")
        table, boxes, rounds = self._solids(owner, every, poses)
        put = self._put
        turn = self._turn(which, times)
        return _Rays(
            Cameras(
                put(poses), put(focal), put(center), height, width, *self._bending(owner, turn)
            ),
            put(light), table, boxes.to(self.device), rounds.to(self.device), turn,
        )  # fmt: skip

    def _turn(self, which: Tensor, times: Tensor) -> Tensor | None:
        config = self.worlds[0].config
        if not (config.rolling_shutter or config.turn_blur):
            return None

        def poses(moments: Tensor) -> Tensor:
            return self._per_frame(which, moments, "camera_from_world")

        return self._put(turn_per_frame(poses, times))

    def _bending(self, owner: Tensor, turn: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
        """Return distortion and sweep of the rays of worlds `owner`, None where there is none."""
        config = self.worlds[0].config
        distortion = self._optics(owner, "distortion") if config.distortion else None
        if not config.rolling_shutter or turn is None:
            return distortion, None
        readout = self._optics(owner, "readout")[:, None]
        return distortion, readout * turn.repeat_interleave(self.rays_per_pixel, 0)

    def _optics(self, which: Tensor, quantity: str) -> Tensor:
        """Return a quantity of the optics of worlds `which`."""
        each = [getattr(Optics.of(world.seed, world.config), quantity) for world in self.worlds]
        return self._put(torch.tensor(each)[which])

    def _put(self, values: Tensor) -> Tensor:
        return values.float().to(self.device)

    def _per_frame(self, which: Tensor, times: Tensor, quantity: str) -> Tensor:
        """Return a quantity of each frame's trajectory; `which` is ascending."""
        parts: list[Tensor] = []
        for k in sorted(set(which.tolist())):
            parts.append(getattr(self.worlds[k].trajectory, quantity)(times[which == k]))
        return torch.cat(parts)

    def _solids(self, which: Tensor, times: Tensor, poses: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the table of solids and the rows of it that each image looks at."""
        boxes, rounds = self._boxes[which], self._rounds[which]
        if not any(world.movers.boxes + world.movers.rounds for world in self.worlds):
            return self._rows, boxes, rounds
        tables, offset = [self._rows], len(self._rows)
        moving_boxes: list[Tensor] = []
        moving_rounds: list[Tensor] = []
        eyes = -(poses[..., :3].transpose(1, 2) @ poses[..., 3:]).squeeze(-1)
        for k in sorted(set(which.tolist())):
            movers, of_world = self.worlds[k].movers, which == k
            rows = movers.rows(times[of_world], eyes[of_world])
            numbers = torch.arange(offset, offset + rows.shape[:2].numel())
            moving_boxes += numbers.reshape(rows.shape[:2])[:, : movers.boxes].unbind(0)
            moving_rounds += numbers.reshape(rows.shape[:2])[:, movers.boxes :].unbind(0)
            tables.append(rows.flatten(0, 1).float().to(self.device))
            offset += len(numbers)
        return (
            torch.cat(tables),
            torch.cat((boxes, _padded(moving_boxes)), dim=1),
            torch.cat((rounds, _padded(moving_rounds)), dim=1),
        )


def _padded(rows: list[Tensor]) -> Tensor:
    """Stack lists of row numbers, padded with -1."""
    return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=-1)
