# SPDX-License-Identifier: Apache-2.0
"""Furniture of offices and kitchens with objects on it. Axes and units as in furniture.py."""

from infinitevggt_core.worlds import clutter, furniture, materials
from infinitevggt_core.worlds.furniture import Builder, Piece
from infinitevggt_core.worlds.hashed_rng import HashedRng
from infinitevggt_core.worlds.materials import Material
from infinitevggt_core.worlds.solids import Solid


def _box(
    x: tuple[float, float], y: tuple[float, float], z: tuple[float, float], material: Material
) -> Solid:
    low, high = (x[0], y[0], z[0]), (x[1], y[1], z[1])
    center = tuple((a + b) / 2 for a, b in zip(low, high, strict=True))
    half = tuple((b - a) / 2 for a, b in zip(low, high, strict=True))
    return Solid(center, half, material)  # type: ignore[arg-type]


def _objects(rng: HashedRng) -> int:
    """Return a number of objects on a table: a few or a crowd."""
    return 4 + rng.integer(7) if rng.chance(0.5) else 12 + rng.integer(30)


def _legs(rng: HashedRng, w: float, y0: float, y1: float, height: float) -> list[Solid]:
    """Return four round legs or two boards."""
    look = materials.plastic(rng)
    if rng.chance(0.3):
        return [_box((x - 0.02, x + 0.02), (y0, y1), (0, height), look) for x in (-w, w)]
    half, radius = height / 2, rng.uniform(0.015, 0.04)
    return [
        Solid((x, y, half), (radius, radius, half), look, round="cylinder")
        for x in (-w + 0.06, w - 0.06)
        for y in (y0 + 0.06, y1 - 0.06)
    ]


def desk(rng: HashedRng) -> Piece:
    """Return a desk with screens, a keyboard and other objects, often with a chair."""
    width, depth, height = rng.uniform(1.1, 1.9), rng.uniform(0.65, 0.9), rng.uniform(0.68, 0.78)
    w = width / 2
    solids = [_box((-w, w), (0.02, depth), (height - 0.03, height), materials.board(rng))]
    solids += _legs(rng, w, 0.02, depth, height - 0.03)
    x = rng.uniform(-0.3, 0.3) * w
    for k in range(rng.integer(3)):
        solids += clutter.monitor(rng, x + (0.55 if k else 0.0), rng.uniform(0.15, 0.3), height)
    if rng.chance(0.7):
        solids += clutter.keyboard(rng, x, depth - rng.uniform(0.15, 0.3), height)
    solids += clutter.scatter(
        rng, clutter.ON_TABLES, _objects(rng), (-w + 0.12, w - 0.12), (0.15, depth - 0.1),
        height,
    )  # fmt: skip
    if rng.chance(0.5):
        solids += chair_parts(rng, rng.uniform(-0.3, 0.3), depth + 0.2, 1.0)
        return Piece(tuple(solids), width, depth + 0.45)
    return Piece(tuple(solids), width, depth)


def counter(rng: HashedRng) -> Piece:
    """Return cupboards under a worktop, a tiled wall and a shelf above."""
    width, depth, height = rng.uniform(1.6, 2.6), rng.uniform(0.55, 0.65), rng.uniform(0.85, 0.95)
    w, front = width / 2, materials.plastic(rng)
    solids = [
        _box((-w, w), (0, depth - 0.02), (0.08, height - 0.04), materials.board(rng)),
        _box((-w - 0.01, w + 0.01), (0, depth + 0.02), (height - 0.04, height),
             materials.board(rng)),
        _box((-w, w), (0, 0.015), (height, height + 0.5), materials.tiles(rng)),
    ]  # fmt: skip
    doors = 3 + rng.integer(3)
    for k in range(doors):
        left = -w + width * k / doors
        right = left + width / doors - 0.008
        solids.append(_box((left + 0.008, right), (depth - 0.02, depth), (0.1, height - 0.06),
                           front))  # fmt: skip
        solids.append(_box((right - 0.05, right - 0.03), (depth, depth + 0.02),
                           (height - 0.3, height - 0.15), materials.plastic(rng)))  # fmt: skip
    solids += clutter.scatter(
        rng, clutter.ON_TABLES, _objects(rng), (-w + 0.1, w - 0.1), (0.1, depth - 0.08),
        height,
    )  # fmt: skip
    if rng.chance(0.7):
        shelf, thick = height + rng.uniform(0.5, 0.65), rng.uniform(0.2, 0.3)
        solids.append(_box((-w, w), (0, thick), (shelf, shelf + 0.025), materials.board(rng)))
        solids += clutter.scatter(rng, clutter.ON_SHELVES, 3 + rng.integer(5),
                                  (-w + 0.08, w - 0.08), (0.06, thick - 0.05),
                                  shelf + 0.025)  # fmt: skip
    return Piece(tuple(solids), width + 0.02, depth + 0.02)


def rack(rng: HashedRng) -> Piece:
    """Return open shelves on thin posts."""
    width, depth, height = rng.uniform(0.7, 1.2), rng.uniform(0.3, 0.45), rng.uniform(1.2, 2.1)
    w, metal, shelf = width / 2, materials.plastic(rng), materials.board(rng)
    posts = [(x, y) for x in (-w, w) for y in (0.02, depth - 0.02)]
    solids = [_box((x - 0.012, x + 0.012), (y - 0.012, y + 0.012), (0, height), metal)
              for x, y in posts]  # fmt: skip
    count = 3 + rng.integer(3)
    for k in range(count):
        z = 0.1 + (height - 0.15) * k / (count - 1)
        solids.append(_box((-w, w), (0.01, depth), (z - 0.02, z), shelf))
        solids += clutter.scatter(rng, clutter.ON_SHELVES, 1 + rng.integer(4),
                                  (-w + 0.1, w - 0.1), (0.1, depth - 0.08), z)  # fmt: skip
    return Piece(tuple(solids), width, depth)


def meeting_table(rng: HashedRng) -> Piece:
    """Return a table with objects, and chairs with slatted backs."""
    width, depth, height = rng.uniform(1.0, 1.8), rng.uniform(0.75, 1.0), rng.uniform(0.7, 0.76)
    w, y0 = width / 2, 0.35
    wood = materials.board(rng)
    solids = [_box((-w, w), (y0, y0 + depth), (height - 0.04, height), wood)]
    solids += _legs(rng, w, y0, y0 + depth, height - 0.04)
    solids += clutter.scatter(
        rng, clutter.ON_TABLES, _objects(rng), (-w + 0.12, w - 0.12),
        (y0 + 0.12, y0 + depth - 0.12), height,
    )  # fmt: skip
    for y, back in ((y0 - 0.05, -1.0), (y0 + depth + 0.05, 1.0)):
        for x in (-w / 2, w / 2):
            if rng.chance(0.6):
                solids += chair_parts(rng, x + rng.uniform(-0.1, 0.1), y, back)
    return Piece(tuple(solids), width, depth + 0.7)


def chair_parts(rng: HashedRng, x: float, y: float, back: float) -> list[Solid]:
    """Return a chair whose back is on the side `back` (-1 or 1) of its seat."""
    look, frame = materials.plastic(rng), materials.board(rng)
    edge, height = y + 0.2 * back, rng.uniform(0.8, 1.0)
    solids = [_box((x - 0.21, x + 0.21), (y - 0.2, y + 0.2), (0.42, 0.46), look)]
    near, far = sorted((edge, edge + 0.03 * back))
    for post in (x - 0.2, x + 0.18):
        solids.append(_box((post, post + 0.02), (near, far), (0.0, height), frame))
    if rng.chance(0.5):
        for k in range(4):
            z = 0.52 + (height - 0.52) * k / 4
            solids.append(_box((x - 0.19, x + 0.19), (near, far), (z, z + 0.05), frame))
    else:
        solids.append(_box((x - 0.2, x + 0.2), (near, far), (0.55, height), look))
    solids.append(Solid((x, y, 0.22), (0.03, 0.03, 0.2), frame, round="cylinder"))
    solids.append(Solid((x, y, 0.02), (0.24, 0.24, 0.02), frame, round="cylinder"))
    return solids


def office_chair(rng: HashedRng) -> Piece:
    return Piece(tuple(chair_parts(rng, 0.0, 0.3, rng.choice((-1.0, 1.0)))), 0.6, 0.6)


def screens(rng: HashedRng) -> Piece:
    """Return plain panels in a zigzag, as high as a person."""
    height, look = rng.uniform(1.2, 2.1), materials.plastic(rng)
    x, solids, step = -0.7, [], rng.uniform(0.3, 0.5)
    for k in range(3):
        turn = (0.8, 0.6) if k % 2 == 0 else (0.8, -0.6)
        y = 0.5 + (0.0 if k % 2 == 0 else 0.02)
        center = (x + 0.8 * step, y, height / 2)
        solids.append(Solid(center, (step, 0.012, height / 2), look, turn))
        x += 1.6 * step
    return Piece(tuple(solids), 2.0, 1.0)


def person(rng: HashedRng) -> Piece:
    """Return a standing person."""
    size, y = rng.uniform(0.88, 1.1), 0.25
    trousers, shirt = materials.fabric(rng), materials.fabric(rng)
    parts = [(0.0, 0.86, 0.075, 0.09, trousers), (0.0, 0.86, 0.075, -0.09, trousers)]
    solids = [
        Solid((dx * size, y, (low + high) / 2 * size),
              (r * size, r * size, (high - low) / 2 * size), look, round="cylinder")
        for low, high, r, dx, look in parts
    ]  # fmt: skip
    for z, half, radius, look, dx in (
        (1.15, 0.34, 0.19, shirt, 0.0), (1.6, 0.13, 0.095, materials.skin(rng), 0.0),
        (1.65, 0.1, 0.1, materials.plastic(rng), 0.0), (1.12, 0.3, 0.06, shirt, 0.2),
        (1.12, 0.3, 0.06, shirt, -0.2),
    ):  # fmt: skip
        solids.append(Solid((dx * size, y - (0.02 if half == 0.1 else 0.0), z * size),
                            (radius * size, radius * size, half * size), look,
                            round="ball"))  # fmt: skip
    return Piece(tuple(solids), 0.5, 0.5)


def heap(rng: HashedRng) -> Piece:
    """Return bags and boxes on the floor."""
    solids = clutter.scatter(rng, clutter.ON_FLOORS, 2 + rng.integer(4), (-0.35, 0.35),
                             (0.2, 0.7), 0.0)  # fmt: skip
    return Piece(tuple(solids), 0.9, 0.9)


AT_WALLS: tuple[Builder, ...] = (
    desk, desk, counter, counter, rack, furniture.bookcase, furniture.cabinet, screens, heap,
    furniture.sofa, furniture.bed, furniture.plant,
)  # fmt: skip
STANDING_FREE: tuple[Builder, ...] = (
    desk, meeting_table, meeting_table, office_chair, person, heap, screens, furniture.low_table,
)  # fmt: skip
