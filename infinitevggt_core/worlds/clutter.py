# SPDX-License-Identifier: Apache-2.0
"""Small objects on tables, shelves and floors.

Local coordinates as in furniture.py: x along the back edge, y towards the front, z up, metres.
"""

from collections.abc import Callable, Sequence

from infinitevggt_core.worlds import materials
from infinitevggt_core.worlds.hashed_rng import HashedRng
from infinitevggt_core.worlds.materials import Material
from infinitevggt_core.worlds.solids import Solid, turn_of

Item = Callable[[HashedRng, float, float, float], list[Solid]]
"""Function that builds an object standing at (x, y, z)."""


def _block(
    rng: HashedRng, x: float, y: float, bottom: float, half: tuple[float, float, float],
    material: Material, turn: float = 0.5,
) -> Solid:  # fmt: skip
    """Return a box on `bottom`, rotated about z by up to 2 atan(turn)."""
    center = (x, y, bottom + half[2])
    return Solid(center, half, material, turn_of(rng.uniform(-turn, turn)))


def _upright(
    kind: str, x: float, y: float, bottom: float, radius: float, half: float, material: Material
) -> Solid:
    return Solid((x, y, bottom + half), (radius, radius, half), material, round=kind)


def paper(rng: HashedRng, x: float, y: float, z: float) -> list[Solid]:
    """Return overlapping printed sheets."""
    sheets = []
    for k in range(1 + rng.integer(3)):
        dx, dy = rng.uniform(-0.06, 0.06), rng.uniform(-0.06, 0.06)
        size = (0.105, 0.148) if rng.chance(0.7) else (0.074, 0.105)
        half = (*size, 0.0015 * (k + 1))
        sheets.append(_block(rng, x + dx, y + dy, z, half, materials.printed(rng)))
    return sheets


def book_stack(rng: HashedRng, x: float, y: float, z: float) -> list[Solid]:
    solids = []
    for _ in range(1 + rng.integer(4)):
        half = (rng.uniform(0.07, 0.12), rng.uniform(0.1, 0.16), rng.uniform(0.006, 0.025))
        solids.append(_block(rng, x, y, z, half, materials.cover(rng), 0.2))
        z += 2 * half[2]
    return solids


def mug(rng: HashedRng, x: float, y: float, z: float) -> list[Solid]:
    radius, half = rng.uniform(0.032, 0.045), rng.uniform(0.04, 0.055)
    look = materials.plastic(rng)
    angle = turn_of(rng.uniform(-1, 1))
    handle = Solid(
        (x + angle[0] * radius, y + angle[1] * radius, z + half), (0.025, 0.006, half * 0.5),
        look, angle,
    )  # fmt: skip
    return [_upright("cylinder", x, y, z, radius, half, look), handle]


def bottle(rng: HashedRng, x: float, y: float, z: float) -> list[Solid]:
    radius, half = rng.uniform(0.03, 0.045), rng.uniform(0.07, 0.12)
    look = materials.plastic(rng)
    return [
        _upright("cylinder", x, y, z, radius, half, look),
        _upright("ball", x, y, z + 2 * half - radius, radius, radius, look),
        _upright("cylinder", x, y, z + 2 * half, radius * 0.4, 0.03, materials.plastic(rng)),
    ]


def carton(rng: HashedRng, x: float, y: float, z: float) -> list[Solid]:
    half = (rng.uniform(0.03, 0.13), rng.uniform(0.03, 0.1), rng.uniform(0.02, 0.12))
    return [_block(rng, x, y, z, half, materials.cover(rng))]


def keyboard(rng: HashedRng, x: float, y: float, z: float) -> list[Solid]:
    keys = _block(rng, x, y, z, (0.22, 0.075, 0.012), materials.keys(rng), 0.1)
    mouse_at = (x + 0.3, y + rng.uniform(-0.04, 0.04))
    return [keys, _upright("ball", *mouse_at, z - 0.015, 0.035, 0.025, materials.plastic(rng))]


def monitor(rng: HashedRng, x: float, y: float, z: float) -> list[Solid]:
    """Return a screen on a stand that faces the front."""
    half_w, half_h = rng.uniform(0.19, 0.31), rng.uniform(0.13, 0.19)
    case, turn = materials.plastic(rng), turn_of(rng.uniform(-0.25, 0.25))
    base = z + rng.uniform(0.06, 0.14)
    middle = base + half_h
    front = (x - turn[1] * 0.022, y + turn[0] * 0.022, middle)
    return [
        _upright("cylinder", x, y, z, 0.11, 0.01, case),
        Solid((x, y, (z + middle) / 2), (0.03, 0.015, (middle - z) / 2), case, turn),
        Solid((x, y, middle), (half_w, 0.022, half_h), case, turn),
        Solid(front, (half_w - 0.015, 0.003, half_h - 0.015), materials.screen(rng), turn),
    ]


def laptop(rng: HashedRng, x: float, y: float, z: float) -> list[Solid]:
    case = materials.plastic(rng)
    return [
        Solid((x, y, z + 0.01), (0.17, 0.12, 0.01), materials.keys(rng)),
        Solid((x, y - 0.12, z + 0.13), (0.17, 0.006, 0.11), case),
        Solid((x, y - 0.113, z + 0.13), (0.155, 0.002, 0.095), materials.screen(rng)),
    ]


def cable(rng: HashedRng, x: float, y: float, z: float) -> list[Solid]:
    """Return a chain of thin straight pieces."""
    look, solids = materials.plastic(rng), []
    for _ in range(2 + rng.integer(3)):
        half, turn = rng.uniform(0.04, 0.12), turn_of(rng.uniform(-1, 1))
        x, y = x + turn[0] * half, y + turn[1] * half
        solids.append(Solid((x, y, z + 0.004), (half, 0.004, 0.004), look, turn))
        x, y = x + turn[0] * half, y + turn[1] * half
    return solids


def desk_lamp(rng: HashedRng, x: float, y: float, z: float) -> list[Solid]:
    metal, half = materials.plastic(rng), rng.uniform(0.15, 0.25)
    return [
        _upright("cylinder", x, y, z, 0.07, 0.01, metal),
        _upright("cylinder", x, y, z, 0.008, half, metal),
        _upright("ball", x, y, z + 2 * half, 0.07, 0.05, metal),
    ]


def pot_plant(rng: HashedRng, x: float, y: float, z: float) -> list[Solid]:
    radius, green = rng.uniform(0.04, 0.08), materials.leaves(rng)
    solids = [_upright("cylinder", x, y, z, radius, radius, materials.plastic(rng))]
    for _ in range(3):
        dx, dy = rng.uniform(-0.06, 0.06), rng.uniform(-0.06, 0.06)
        half = rng.uniform(0.04, 0.1)
        top = z + 2 * radius + rng.uniform(-0.03, 0.05)
        solids.append(_upright("ball", x + dx, y + dy, top, rng.uniform(0.02, 0.06), half, green))
    return solids


def toy(rng: HashedRng, x: float, y: float, z: float) -> list[Solid]:
    """Return overlapping balls and blocks."""
    solids, look = [], materials.plastic(rng)
    for _ in range(2 + rng.integer(3)):
        dx, dy = rng.uniform(-0.05, 0.05), rng.uniform(-0.05, 0.05)
        size = rng.uniform(0.02, 0.06)
        if rng.chance(0.6):
            solids.append(_upright("ball", x + dx, y + dy, z, size, size, look))
        else:
            solids.append(_block(rng, x + dx, y + dy, z, (size, size * 0.6, size * 0.7), look))
        look = look if rng.chance(0.6) else materials.plastic(rng)
    return solids


def bag(rng: HashedRng, x: float, y: float, z: float) -> list[Solid]:
    radius = rng.uniform(0.12, 0.2)
    cloth = materials.fabric(rng)
    return [
        _upright("ball", x, y, z - 0.04, radius, rng.uniform(0.12, 0.25), cloth),
        _upright("ball", x + radius * 0.5, y, z - 0.02, radius * 0.7, 0.1, cloth),
    ]


def bin_(rng: HashedRng, x: float, y: float, z: float) -> list[Solid]:
    return [_upright("cylinder", x, y, z, rng.uniform(0.1, 0.16), rng.uniform(0.12, 0.2),
                     materials.plastic(rng))]  # fmt: skip


def parcel(rng: HashedRng, x: float, y: float, z: float) -> list[Solid]:
    half = (rng.uniform(0.1, 0.25), rng.uniform(0.1, 0.2), rng.uniform(0.06, 0.2))
    return [_block(rng, x, y, z, half, materials.cover(rng))]


ON_TABLES: tuple[Item, ...] = (
    paper, paper, book_stack, mug, mug, bottle, carton, carton, cable, toy, pot_plant, desk_lamp,
    laptop,
)  # fmt: skip
ON_SHELVES: tuple[Item, ...] = (book_stack, mug, bottle, carton, carton, toy, pot_plant)
ON_FLOORS: tuple[Item, ...] = (bag, bin_, parcel, parcel, paper, cable, toy)


def scatter(
    rng: HashedRng, items: Sequence[Item], count: int, x: tuple[float, float],
    y: tuple[float, float], z: float,
) -> list[Solid]:  # fmt: skip
    """Return `count` objects at random positions of a horizontal rectangle. They may overlap."""
    solids: list[Solid] = []
    for _ in range(count):
        solids += rng.choice(items)(rng, rng.uniform(*x), rng.uniform(*y), z)
    return solids
