# SPDX-License-Identifier: Apache-2.0
"""Surface of a world as points: the content of a perfect map."""

from collections.abc import Iterator
from typing import Protocol

import torch
from torch import Tensor

from infinitevggt_core.worlds.floor_plan import WALL_M, FloorPlan
from infinitevggt_core.worlds.hashed_rng import key_of, uniform_tensor
from infinitevggt_core.worlds.ray_caster import Rays, meet_box, meet_round
from infinitevggt_core.worlds.roadmap import Roadmap
from infinitevggt_core.worlds.solids import SHAPE_COLUMNS, Scene

_OFF_M = 0.005
"""A point is visible if the position this far above it is."""
_HEIGHTS_M = (1.5, 0.4, 0.9, 1.2)
_VIEWPOINTS = 10
_DRAWN_AT_ONCE = 3


class Mappable(Protocol):
    """Attributes of a world that its surface depends on."""

    seed: int
    plan: FloorPlan
    roadmap: Roadmap
    scene: Scene


def sample_surface(world: Mappable, points: int) -> tuple[Tensor, Tensor]:
    """Sample visible points of the surface, see `World.surface`."""
    found: list[tuple[Tensor, Tensor]] = []
    count = attempt = 0
    while count < points:
        place, normal, room = _candidates(world, points * _DRAWN_AT_ONCE, attempt)
        seen = _in_the_open(world.plan, place + _OFF_M * normal)
        place, normal, room = place[seen], normal[seen], room[seen]
        seen = _seen(world, place, normal, room)
        found.append((place[seen], normal[seen]))
        count += int(seen.sum())
        attempt += 1
    places, normals = (torch.cat(parts)[:points] for parts in zip(*found, strict=True))
    return places, normals


def _candidates(world: Mappable, count: int, attempt: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return points and normals (N, 3), uniform over all surfaces including hidden ones, and
    rooms (N,)."""
    scene = world.scene
    rows = torch.cat((scene.boxes, scene.rounds))[:, :SHAPE_COLUMNS]
    rooms = torch.cat((scene.box_rooms, scene.round_rooms))
    is_round = torch.arange(len(rows)) >= len(scene.boxes)
    areas = _areas(rows, is_round)
    counters = torch.arange(count) + attempt * count
    draws = [uniform_tensor(key_of(world.seed, "surface", k), counters) for k in range(4)]
    total = areas.reshape(-1).cumsum(0)
    part = torch.searchsorted(total, draws[0] * total[-1]).clamp(max=len(total) - 1)
    solid, face = part // 6, part % 6
    row = rows[solid]
    local, normal, share = _on_face(row, face, is_round[solid], draws[1], draws[2])
    cos, sin = row[:, 6], row[:, 7]
    place = torch.stack(_turned(cos, sin, local), -1) + row[:, :3]
    keep = draws[3] < share
    return place[keep], torch.stack(_turned(cos, sin, normal), -1)[keep], rooms[solid[keep]]


def _areas(rows: Tensor, is_round: Tensor) -> Tensor:
    """Return areas (N, 6) of the faces -x, +x, -y, +y, -z, +z; the side of round solids is the
    first."""
    hx, hy, hz = rows[:, 3:6].unbind(1)
    x, y, z = 4 * hy * hz, 4 * hx * hz, 4 * hx * hy
    boxes = torch.stack((x, x, y, y, z, z), 1)
    cap = torch.pi * hx * hx
    none = torch.zeros_like(cap)
    cylinders = torch.stack((4 * torch.pi * hx * hz, none, none, none, cap, cap), 1)
    # the largest possible area of a part of the ellipsoid
    widest = 4 * torch.pi * torch.maximum(hx * hx, hx * hz)
    balls = torch.stack((widest, none, none, none, none, none), 1)
    ball = (rows[:, 8] > 0)[:, None]
    return torch.where(is_round[:, None], torch.where(ball, balls, cylinders), boxes)


def _turned(cos: Tensor, sin: Tensor, local: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    x, y, z = local.unbind(1)
    return x * cos - y * sin, x * sin + y * cos, z


def _on_face(
    row: Tensor, face: Tensor, is_round: Tensor, a: Tensor, b: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return local points, local normals and acceptance probabilities; a, b uniform in [0, 1)."""
    half = row[:, 3:6]
    axis, sign = face // 2, (face % 2 * 2 - 1).double()
    normal = torch.nn.functional.one_hot(axis, 3).double() * sign[:, None]
    across = torch.stack((a, b), 1) * 2 - 1
    free = torch.stack(((axis + 1) % 3, (axis + 2) % 3), 1)
    local = normal.scatter(1, free, across) * half
    angle, radius = 2 * torch.pi * a, b.sqrt()
    circle = torch.stack((angle.cos(), angle.sin()), 1)
    cap = torch.cat((circle * radius[:, None] * half[:, :2], normal[:, 2:] * half[:, 2:]), 1)
    height = (2 * b - 1)[:, None]
    side = torch.cat((circle * half[:, :2], height * half[:, 2:]), 1)
    ball = torch.cat((circle * (1 - height**2).sqrt(), height), 1)
    is_ball = row[:, 8] > 0
    on_cap, on_side = is_round & (face >= 4), is_round & (face < 4) & ~is_ball
    local = torch.where(on_cap[:, None], cap, local)
    local = torch.where(on_side[:, None], side, local)
    local = torch.where(is_ball[:, None], ball * half, local)
    around = torch.cat((circle, torch.zeros_like(height)), 1)
    normal = torch.where(on_side[:, None], around, normal)
    slope = ball / half
    steepness = slope.norm(dim=1)
    normal = torch.where(is_ball[:, None], slope / steepness[:, None], normal)
    widest = torch.maximum(half[:, 0] * half[:, 0], half[:, 0] * half[:, 2])
    share = steepness * half.prod(1) / widest
    return local, normal, torch.where(is_ball, share, torch.ones_like(share))


def _in_the_open(plan: FloorPlan, places: Tensor) -> Tensor:
    """Return True for places (N, 3) within a room or a doorway."""
    found = torch.zeros(len(places), dtype=torch.bool)
    spaces = [(r.x0, r.y0, r.x1, r.y1, r.height) for r in plan.rooms]
    for door in plan.doors:
        low, high = door.middle - door.width / 2, door.middle + door.width / 2
        near, far = door.wall - WALL_M / 2, door.wall + WALL_M / 2
        flat = (near, low, far, high) if door.axis == 0 else (low, near, high, far)
        spaces.append((*flat, door.height))
    for x0, y0, x1, y1, top in spaces:
        low_end, high_end = places.new_tensor((x0, y0, 0)), places.new_tensor((x1, y1, top))
        found |= ((places > low_end) & (places < high_end)).all(1)
    return found


def _seen(world: Mappable, places: Tensor, normals: Tensor, rooms: Tensor) -> Tensor:
    """Return True for points that some walkable place sees; rooms are convex."""
    seen = torch.zeros(len(places), dtype=torch.bool)
    scene, targets = world.scene, (places + _OFF_M * normals).float()
    for room in range(len(world.plan.rooms)):
        boxes = scene.boxes[scene.box_rooms == room, :SHAPE_COLUMNS].float()
        rounds = scene.rounds[scene.round_rooms == room, :SHAPE_COLUMNS].float()
        for eye in _viewpoints(world, room):
            left = ((rooms == room) & ~seen).nonzero().squeeze(1)
            left = left[((eye - targets[left]) * normals[left]).sum(1) > 0]
            if len(left):
                seen[left] = _unblocked(boxes, rounds, eye, targets[left])
    return seen


def _viewpoints(world: Mappable, room: int) -> Iterator[Tensor]:
    """Yield some places (3,) of the room's roadmap at several heights."""
    places = world.roadmap.places_of(room)
    for k in range(_VIEWPOINTS):
        x, y = places[k % len(places)]
        yield torch.tensor((x, y, _HEIGHTS_M[k % len(_HEIGHTS_M)]))


def _unblocked(boxes: Tensor, rounds: Tensor, eye: Tensor, targets: Tensor) -> Tensor:
    """Return True for targets (N, 3) with a free line of sight from one eye (3,)."""
    x, y, z = (targets - eye).T[:, None].unbind(0)
    rays = Rays(x, y, z)
    free = torch.ones(len(targets), dtype=torch.bool)
    for solids, meet in ((boxes, meet_box), (rounds, meet_round)):
        if len(solids):
            free &= meet(solids, eye - solids[:, :3], rays).amin(0) >= 1
    return free
