# SPDX-License-Identifier: Apache-2.0
"""Streets: facades on both sides, parked cars, trees, signs and people, under an open sky.

The street runs along x. It is one room of the plan, so that the renderer lights it as one.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace

from infinitevggt_core.worlds import materials
from infinitevggt_core.worlds.floor_plan import FloorPlan, Room
from infinitevggt_core.worlds.furnishing import Placed, place
from infinitevggt_core.worlds.furniture import Piece
from infinitevggt_core.worlds.hashed_rng import HashedRng
from infinitevggt_core.worlds.materials import Material
from infinitevggt_core.worlds.roadmap import CLEARANCE_M, Roadmap
from infinitevggt_core.worlds.shell import box
from infinitevggt_core.worlds.site import Site
from infinitevggt_core.worlds.solids import Light, Solid

SEEN_M = 150.0
"""Distance up to which depth is known; what is farther counts as sky."""
_SKY_M = 1000.0
"""Distance of the sky from the middle of the street."""
_SUN_M, _FALLOFF_M2 = 2000.0, 10.0
"""A lamp so far away, brighter by as much as light fades on the way."""
_KERB_M = 0.12
_STEP_M = 4.0
"""Distance between the places of the roadmap."""


def build_street(seed: int) -> Site:
    """Return a street of 50 to 90 m between facades 11 to 22 m apart."""
    rng = HashedRng(seed, "street")
    length, width = rng.uniform(50.0, 90.0), rng.uniform(11.0, 22.0)
    room = Room(0.0, 0.0, length, width, 20.0, corridor=True)
    walk = rng.uniform(1.6, 3.0)
    placed = [*_row(rng, room, walk, 0), *_row(rng, room, walk, 1)]
    solids = [*_sky(rng, room), *_ground(rng, room, walk)]
    for side in (0, 1):
        solids += _facades(rng, room, side)
    solids += _ends(rng, room)
    solids += [solid for piece in placed for solid in piece.solids]
    light, lane = sunlight(HashedRng(seed, "sun"), room), _lane(rng, room, walk)
    return Site(FloorPlan((room,), ()), [light], [placed], lane, solids)


def sunlight(rng: HashedRng, room: Room) -> Light:
    """Return the sun at 15 to 70 degrees above the ground, or a cloudy sky."""
    x, y, z = rng.uniform(-1, 1), rng.uniform(-1, 1), rng.uniform(0.4, 2.0)
    scale = _SUN_M / (x * x + y * y + z * z) ** 0.5
    warmth, cloudy = rng.uniform(0.0, 0.2), rng.chance(0.35)
    strength = rng.uniform(0.1, 0.4) if cloudy else rng.uniform(0.9, 1.8)
    strength *= 1 + _SUN_M * _SUN_M / _FALLOFF_M2
    share = rng.uniform(0.6, 1.0) if cloudy else rng.uniform(0.25, 0.6)
    (cx, cy), blue = room.center, rng.uniform(0.0, 0.25)
    return Light(
        (cx + x * scale, cy + y * scale, z * scale),
        (strength * (1 + warmth), strength, strength * (1 - warmth)),
        (share * (1 - blue), share, share * (1 + blue)),
    )


def _lane(rng: HashedRng, room: Room, walk: float) -> Roadmap:
    """Return places along a lane, or along the pavement."""
    roadmap, middle = Roadmap(), (room.y0 + room.y1) / 2
    free = (room.y1 - room.y0) / 2 - walk - _PARKING_M - CLEARANCE_M
    center = middle + rng.uniform(-0.5, 0.5) * free
    count = int((room.x1 - room.x0 - 6.0) / _STEP_M)
    for k in range(count):
        y = min(max(center + rng.uniform(-0.3, 0.3), middle - free), middle + free)
        roadmap.add((room.x0 + 3.0 + k * _STEP_M, y), 0)
        if k:
            roadmap.join(k - 1, k)
    return roadmap


def _sky(rng: HashedRng, room: Room) -> Iterator[Solid]:
    x, y = room.center
    hue, pale = rng.uniform(0.54, 0.62), rng.uniform(0.0, 1.0)
    cloud = materials.tint(hue, 0.1 * pale, 0.93)
    material = Material(
        materials.tint(hue, 0.6 - 0.5 * pale, rng.uniform(0.5, 0.9)), cloud, cloud,
        detail=materials.PINK, repeats=(0.0008, 0.0012), contrast=rng.uniform(0.1, 0.9),
        stains=rng.uniform(0.0, 0.5), glow=rng.uniform(0.7, 1.6),
    )  # fmt: skip
    far = _SKY_M
    yield box((x - far, y - far, far), (x + far, y + far, far + 1), material, 0)
    for sign in (-1, 1):
        across, along = x + sign * far, y + sign * far
        low, high = -2.0, far + 1
        yield box((across - 0.5, y - far, low), (across + 0.5, y + far, high), material, 0)
        yield box((x - far, along - 0.5, low), (x + far, along + 0.5, high), material, 0)


def _ground(rng: HashedRng, room: Room, walk: float) -> Iterator[Solid]:
    x, y = room.center
    field = _rough(rng, rng.uniform(0.1, 0.35), (0.25, 0.6)) if rng.chance(0.5) else None
    asphalt = _rough(rng, 0.05, (0.08, 0.35))
    yield box((x - _SKY_M, y - _SKY_M, -1.0), (x + _SKY_M, y + _SKY_M, -0.03), field or asphalt, 0)
    x0, x1 = room.x0 - 60.0, room.x1 + 60.0
    yield box((x0, room.y0, -1.0), (x1, room.y1, 0.0), asphalt, 0)
    slab = rng.uniform(0.3, 0.6)
    paving = replace(
        _rough(rng, 0.1, (0.3, 0.6)), cell=(slab, slab), gap=0.012, spread=rng.uniform(0.0, 0.4)
    )
    yield box((x0, room.y0 - 0.1, -0.5), (x1, room.y0 + walk, _KERB_M), paving, 0)
    yield box((x0, room.y1 - walk, -0.5), (x1, room.y1 + 0.1, _KERB_M), paving, 0)
    if rng.chance(0.7):
        paint = materials.plain_wall(rng)
        for k in range(int((room.x1 - room.x0) / 5)):
            start = room.x0 + 5.0 * k
            yield box((start, y - 0.07, -0.1), (start + 2.5, y + 0.07, 0.004), paint, 0)


def _rough(rng: HashedRng, saturation: float, values: tuple[float, float]) -> Material:
    """Return asphalt, concrete or soil."""
    hue, value = rng.uniform(0.06, 0.3), rng.uniform(*values)
    return Material(
        materials.tint(hue, saturation, value * 0.7), materials.tint(hue, saturation, value),
        materials.tint(hue, saturation, value * 1.3),
        detail=rng.choice((materials.PINK, materials.SPECKLE, materials.STONES)),
        repeats=(rng.uniform(0.2, 0.6), rng.uniform(0.2, 0.6)), contrast=rng.uniform(0.2, 0.7),
        stains=rng.uniform(0.3, 0.9),
    )  # fmt: skip


def _facades(rng: HashedRng, room: Room, side: int) -> Iterator[Solid]:
    """Yield the buildings along y0 (side 0) or y1, with gaps."""
    x = room.x0 - rng.uniform(5.0, 12.0)
    while x < room.x1 + 5.0:
        wide = rng.uniform(6.0, 16.0)
        if rng.chance(0.88):
            yield from _building(rng, room, side, x, x + wide)
        x += wide


def _building(rng: HashedRng, room: Room, side: int, x0: float, x1: float) -> Iterator[Solid]:
    floors, storey = 1 + rng.integer(5), rng.uniform(2.7, 3.4)
    back, height = rng.uniform(0.0, 1.2), floors * storey + rng.uniform(0.3, 1.5)
    wall = materials.plain_wall(rng) if rng.chance(0.5) else materials.wall(rng)

    def layer(out: float, left: float, right: float, low: float, high: float,
              material: Material) -> Solid:  # fmt: skip
        """Return a box whose front stands `out` metres before the wall."""
        if side == 0:
            return box((left, room.y0 - 8.0, low), (right, room.y0 - back + out, high), material, 0)
        return box((left, room.y1 + back - out, low), (right, room.y1 + 8.0, high), material, 0)

    yield layer(0.0, x0, x1, -0.5, height, wall)
    glass = _windows(rng, wall)
    edge = rng.uniform(0.4, 1.2)
    for floor in range(floors):
        low = floor * storey + rng.uniform(0.7, 1.0)
        yield layer(0.03, x0 + edge, x1 - edge, low, low + rng.uniform(1.2, 1.7), glass)
    if rng.chance(0.6):
        yield layer(0.25, x0, x1, height - 0.3, height, materials.plastic(rng))
    door = x0 + edge + rng.uniform(0.0, 0.6) * (x1 - x0 - 2 * edge)
    yield layer(0.06, door, door + rng.uniform(0.9, 1.6), -0.1, 2.2, materials.plastic(rng))
    if rng.chance(0.4):
        yield layer(rng.uniform(0.6, 1.3), x0 + 0.5, x1 - 0.5, 2.5, 2.8, materials.fabric(rng))


def _windows(rng: HashedRng, wall: Material) -> Material:
    """Return a strip of dark panes with pieces of the wall between them."""
    width, dark = rng.uniform(1.2, 3.0), rng.uniform(0.03, 0.25)
    hue = rng.uniform(0.5, 0.65)
    return Material(
        materials.tint(hue, 0.3, dark), materials.tint(hue, 0.3, dark * 1.5),
        materials.tint(hue, 0.2, 0.6), line=wall.second, detail=materials.BLOBS,
        repeats=(0.2, 0.2), contrast=0.5, stains=0.2, cell=(width, 20.0),
        gap=width * rng.uniform(0.1, 0.5), spread=0.6, gloss=rng.uniform(0.0, 2.0),
    )  # fmt: skip


def _ends(rng: HashedRng, room: Room) -> Iterator[Solid]:
    """Yield what closes the street, where it is closed."""
    for across, sign in ((room.x0, -1), (room.x1, 1)):
        if rng.chance(0.6):
            near = across + sign * rng.uniform(8.0, 50.0)
            low, high = min(near, near + sign * 10.0), max(near, near + sign * 10.0)
            wide, height = rng.uniform(10.0, 60.0), rng.uniform(3.0, 18.0)
            middle = room.center[1] + rng.uniform(-8.0, 8.0)
            wall = materials.wall(rng)
            yield box((low, middle - wide, -0.5), (high, middle + wide, height), wall, 0)


_PARKING_M = 2.2
"""Width of the strip of parked cars."""


def _row(rng: HashedRng, room: Room, walk: float, side: int) -> Iterator[Placed]:
    """Yield cars at the kerb, and trees, lamps, signs and people on the pavement."""
    turn = (1.0, 0.0) if side == 0 else (-1.0, 0.0)

    def put(piece: Piece, x: float, out: float) -> Placed:
        y = room.y0 + out if side == 0 else room.y1 - out
        return place(rng, piece, x, y, turn, 0, False)

    x, share = room.x0 - 2.0, rng.uniform(0.1, 0.8)
    while x < room.x1 + 2.0:
        if rng.chance(share):
            yield put(car(rng), x, walk + rng.uniform(0.05, 0.25))
        x += rng.uniform(5.2, 7.0)
    x = room.x0 + rng.uniform(0.0, 6.0)
    spacing = rng.uniform(3.0, 9.0)
    while x < room.x1:
        yield put(rng.choice(_ON_PAVEMENT)(rng), x, rng.uniform(0.2, walk - 0.6))
        x += spacing * rng.uniform(0.5, 1.5)


def _part(x: tuple[float, float], y: tuple[float, float], z: tuple[float, float],
          material: Material) -> Solid:  # fmt: skip
    return box((x[0], y[0], z[0]), (x[1], y[1], z[1]), material, 0)


def _upright(x: float, y: float, radius: float, low: float, high: float,
             material: Material, kind: str = "cylinder") -> Solid:  # fmt: skip
    half = (radius, radius, (high - low) / 2)
    return Solid((x, y, (low + high) / 2), half, material, round=kind)


def car(rng: HashedRng) -> Piece:
    """Return a car or van, its side to the kerb."""
    van = rng.chance(0.25)
    long, wide = rng.uniform(3.7, 4.9) / 2, rng.uniform(1.65, 1.9)
    waist, roof = rng.uniform(0.8, 1.0), rng.uniform(1.9, 2.3) if van else rng.uniform(1.4, 1.6)
    body = replace(materials.plastic(rng), gloss=rng.uniform(0.3, 2.5))
    glass = replace(materials.screen(rng), glow=0.0, gloss=1.5)
    tyre = materials.tint(0.1, 0.0, 0.04)
    rubber = Material(tyre, tyre, tyre, contrast=0.1)
    front, rear = (-0.95 * long if van else -0.45 * long), long * rng.uniform(0.6, 0.98)
    parts = [
        _part((-long, long), (0, wide), (0.25, waist), body),
        _part((front, rear), (0.08, wide - 0.08), (waist - 0.01, roof - 0.06), glass),
        _part((front + 0.1, rear - 0.1), (0.1, wide - 0.1), (roof - 0.08, roof), body),
    ]
    for x in (-0.62 * long, 0.62 * long):
        parts.append(_part((x - 0.3, x + 0.3), (-0.02, wide + 0.02), (0.0, 0.6), rubber))
    lamp = materials.lamp(rng)
    shine = replace(lamp, glow=rng.uniform(0.0, 0.8))
    for end in (-long, long):
        parts.append(_part((end - 0.02, end + 0.02), (0.1, wide - 0.1), (0.6, 0.72), shine))
    return Piece(tuple(parts), 2 * long, wide)


def tree(rng: HashedRng) -> Piece:
    """Return a tree of a trunk and two or three crowns."""
    trunk, leaves = materials.wood(rng), materials.leaves(rng)
    high, radius = rng.uniform(2.0, 3.5), rng.uniform(0.1, 0.25)
    parts = [_upright(0, 0, radius, -0.1, high + 1.0, trunk)]
    for _ in range(2 + rng.integer(2)):
        crown = rng.uniform(0.8, 1.8)
        x, y = rng.uniform(-0.6, 0.6), rng.uniform(-0.6, 0.6)
        low = high + rng.uniform(-0.3, 1.0)
        parts.append(
            _upright(x, y, crown, low, low + crown * rng.uniform(1.4, 2.4), leaves, "ball")
        )
    return Piece(tuple(parts), 2 * radius, 2 * radius)


def lamp_post(rng: HashedRng) -> Piece:
    """Return a street lamp or a pole of a traffic sign."""
    metal, high = materials.plastic(rng), rng.uniform(2.2, 6.0)
    parts = [_upright(0, 0, rng.uniform(0.03, 0.08), -0.1, high, metal)]
    if high > 4:
        parts.append(_part((-0.1, 0.1), (0.0, 1.4), (high - 0.1, high), metal))
    else:
        side = rng.uniform(0.2, 0.4)
        parts.append(
            _part((-0.02, 0.0), (-side, side), (high - 2 * side, high), materials.cover(rng))
        )
    return Piece(tuple(parts), 0.2, 0.2)


def person(rng: HashedRng) -> Piece:
    """Return a figure of 1.5 to 1.9 m."""
    tall = rng.uniform(1.5, 1.9)
    trousers, coat = materials.fabric(rng).calmer(0.4), materials.fabric(rng).calmer(0.5)
    parts = [
        _upright(0, 0, 0.16, 0.0, 0.5 * tall, trousers),
        _upright(0, 0, 0.22, 0.45 * tall, 0.86 * tall, coat, "ball"),
        _upright(0, 0, 0.11, 0.85 * tall, tall, materials.skin(rng), "ball"),
    ]
    return Piece(tuple(parts), 0.4, 0.4)


def bin_or_box(rng: HashedRng) -> Piece:
    """Return a bin, a cabinet or a bench."""
    material, high = materials.plastic(rng), rng.uniform(0.45, 1.3)
    if rng.chance(0.5):
        return Piece((_upright(0, 0.3, rng.uniform(0.2, 0.35), 0.0, high, material),), 0.6, 0.6)
    wide, deep = rng.uniform(0.3, 0.9), rng.uniform(0.3, 0.5)
    parts = (_part((-wide, wide), (0, deep), (0.0, high), material),)
    return Piece(parts, 2 * wide, deep)


_ON_PAVEMENT: tuple[Callable[[HashedRng], Piece], ...] = (
    tree, tree, lamp_post, lamp_post, person, bin_or_box,
)  # fmt: skip
