# SPDX-License-Identifier: Apache-2.0
"""Appearance of surfaces: colours and the parameters of their patterns (see shading.py)."""

from dataclasses import dataclass, replace

from infinitevggt_core.worlds.hashed_rng import HashedRng

Color = tuple[float, float, float]
PLASTER, GRAIN, MARBLE, SPECKLE, WEAVE, STONES, SCRIBBLE, BLOBS, TEXT, PINK = range(10)
"""Layers of the detail textures of patterns.py."""


@dataclass(frozen=True, slots=True)
class Material:
    """Linear albedo from `first` over `second` to `third`, in cells with lines between them."""

    first: Color
    second: Color
    third: Color
    line: Color = (0.1, 0.1, 0.1)
    detail: int = PLASTER
    repeats: tuple[float, float] = (0.5, 0.5)
    """Detail textures per metre, horizontally and vertically."""
    contrast: float = 0.4
    stains: float = 0.2
    """Contrast of the same texture at five times the size."""
    cell: tuple[float, float] = (0.0, 0.0)
    """Size of a tile, brick, plank or book, metres; 0: no cells."""
    shift: float = 0.0
    """Offset of each row of cells, in cells."""
    gap: float = 0.0
    """Width of the line between cells, metres."""
    spread: float = 0.0
    """Variation of cells along the three colours."""
    hue: float = 0.0
    """Variation of the colour of cells."""
    checker: float = 0.0
    """1: cells alternate; 0: each is random."""
    glow: float = 0.0
    """Emitted light relative to a white wall."""
    gloss: float = 0.0
    """Brightness of the lamp's highlight relative to a white wall in its light."""

    def calmer(self, texture: float) -> "Material":
        """Return the material with all contrasts multiplied by `texture`."""
        return replace(
            self,
            contrast=self.contrast * texture,
            stains=self.stains * texture,
            spread=self.spread * texture,
            hue=self.hue * texture,
        )


def tint(hue: float, saturation: float, value: float) -> Color:
    """Return a colour; hue in turns. Exact on every machine because it uses no trigonometry."""

    def channel(offset: float) -> float:
        ramp = abs(((hue + offset) % 1.0) * 6 - 3) - 1
        return value * (1 - saturation + saturation * min(1.0, max(0.0, ramp)))

    return channel(0.0), channel(2 / 3), channel(1 / 3)


def _shades(rng: HashedRng, saturation: float, value: float) -> tuple[Color, Color, Color]:
    hue, away = rng.uniform(), rng.uniform(-0.12, 0.12)
    return (
        tint(hue, saturation, value * rng.uniform(0.45, 0.7)),
        tint(hue + away / 2, saturation * rng.uniform(0.7, 1.0), value),
        tint(hue + away, saturation * rng.uniform(0.5, 1.0), min(0.95, value * 1.25)),
    )


def wood(rng: HashedRng, *, plank: float = 0.0) -> Material:
    hue, value = rng.uniform(0.05, 0.11), rng.uniform(0.25, 0.6)
    return Material(
        tint(hue, 0.75, value * 0.5),
        tint(hue, 0.6, value),
        tint(hue + 0.02, 0.5, value * 1.2),
        line=tint(hue, 0.7, value * 0.25),
        detail=GRAIN,
        repeats=(0.45, rng.uniform(1.2, 2.2)),
        contrast=rng.uniform(0.5, 0.9),
        stains=0.15,
        cell=(plank * 7, plank),
        shift=0.37,
        gap=0.008 if plank else 0.0,
        spread=0.5 if plank else 0.0,
        hue=0.04,
    )


def floor(rng: HashedRng) -> Material:
    kind = rng.integer(4)
    if kind == 0:
        return wood(rng, plank=rng.uniform(0.1, 0.18))
    first, second, third = _shades(rng, rng.uniform(0.05, 0.5), rng.uniform(0.4, 0.75))
    if kind == 1:
        side = rng.uniform(0.25, 0.5)
        return Material(
            first, second, third, line=tint(0.1, 0.1, rng.uniform(0.15, 0.8)),
            detail=rng.choice((MARBLE, SPECKLE, STONES)), repeats=(0.7, 0.7), contrast=0.6,
            cell=(side, side), gap=0.012, spread=rng.uniform(0.2, 0.7),
            checker=float(rng.chance(0.4)),
        )  # fmt: skip
    if kind == 2:
        return Material(
            first, second, third, detail=rng.choice((WEAVE, SPECKLE)), repeats=(0.9, 0.9),
            contrast=0.7, stains=0.5, cell=(0.6, 0.6), gap=0.006, spread=0.35, line=first,
        )  # fmt: skip
    return Material(
        first, second, third, detail=rng.choice((STONES, MARBLE)), repeats=(0.4, 0.4),
        contrast=0.9, stains=0.5,
    )  # fmt: skip


def wall(rng: HashedRng) -> Material:
    kind = rng.integer(6)
    first, second, third = _shades(rng, rng.uniform(0.05, 0.45), rng.uniform(0.55, 0.85))
    if kind == 0:
        hue = rng.uniform(0.0, 0.08)
        return Material(
            tint(hue, 0.7, 0.3), tint(hue, 0.6, 0.5), tint(hue + 0.03, 0.5, 0.65),
            line=tint(0.1, 0.1, rng.uniform(0.4, 0.75)), detail=SPECKLE, repeats=(0.9, 0.9),
            contrast=0.6, cell=(0.26, 0.085), shift=0.5, gap=0.014, spread=0.8,
        )  # fmt: skip
    if kind == 1:
        width = rng.uniform(0.12, 0.4)
        return Material(
            first, second, third, detail=BLOBS, repeats=(0.8, 0.8), contrast=0.5, stains=0.2,
            cell=(width, 50.0), spread=rng.uniform(0.4, 0.9), checker=float(rng.chance(0.7)),
        )  # fmt: skip
    if kind == 2 and rng.chance(0.6):
        return wood(rng, plank=rng.uniform(0.14, 0.25))
    if kind in (2, 3):
        return Material(
            first, second, third, detail=rng.choice((BLOBS, SCRIBBLE, STONES)),
            repeats=(0.6, 0.6), contrast=rng.uniform(0.5, 0.9), stains=0.4,
        )  # fmt: skip
    return Material(
        first, second, third, detail=rng.choice((PLASTER, MARBLE)), repeats=(0.35, 0.35),
        contrast=0.7, stains=0.7,
    )  # fmt: skip


def ceiling(rng: HashedRng) -> Material:
    value = rng.uniform(0.7, 0.9)
    side = rng.choice((0.0, 0.6, 1.2))
    return Material(
        tint(0.1, 0.08, value * 0.7), tint(0.12, 0.05, value), tint(0.1, 0.03, 0.95),
        line=(0.3, 0.3, 0.32), detail=rng.choice((PLASTER, SPECKLE)), repeats=(0.5, 0.5),
        contrast=0.5, stains=0.4, cell=(side, side / 2), gap=0.015 if side else 0.0, spread=0.2,
    )  # fmt: skip


def fabric(rng: HashedRng) -> Material:
    first, second, third = _shades(rng, rng.uniform(0.2, 0.8), rng.uniform(0.3, 0.8))
    size = rng.choice((0.0, rng.uniform(0.06, 0.2)))
    return Material(
        first, second, third, line=third, detail=rng.choice((WEAVE, BLOBS, SPECKLE)),
        repeats=(1.2, 1.2), contrast=0.7, stains=0.3, cell=(size, size),
        gap=size * rng.uniform(0.0, 0.2), spread=0.7, checker=float(rng.chance(0.5)),
    )  # fmt: skip


def paint(rng: HashedRng) -> Material:
    first, second, third = _shades(rng, rng.uniform(0.3, 0.95), rng.uniform(0.4, 0.85))
    return Material(
        first, second, third, detail=rng.choice((BLOBS, MARBLE, STONES, SCRIBBLE)),
        repeats=(1.0, 1.0), contrast=0.7, stains=0.3,
    )  # fmt: skip


def picture(rng: HashedRng) -> Material:
    """Return a poster or painting with strong colours."""
    hue = rng.uniform()
    size = rng.uniform(0.1, 0.35)
    return Material(
        tint(hue, rng.uniform(0.4, 1.0), rng.uniform(0.08, 0.35)),
        tint(hue + rng.uniform(0.2, 0.5), rng.uniform(0.4, 0.9), rng.uniform(0.4, 0.7)),
        tint(hue + rng.uniform(0.4, 0.8), rng.uniform(0.1, 0.6), 0.9),
        detail=rng.choice((SCRIBBLE, BLOBS, STONES, MARBLE)), repeats=(0.9, 0.9),
        contrast=1.3, stains=0.7, cell=(size, size * rng.uniform(0.5, 1.5)),
        spread=rng.uniform(0.0, 0.9), hue=rng.uniform(0.0, 0.5),
    )  # fmt: skip


def books(rng: HashedRng) -> Material:
    return Material(
        (0.12, 0.1, 0.1), (0.45, 0.38, 0.33), (0.85, 0.8, 0.7), line=(0.03, 0.03, 0.03),
        detail=SCRIBBLE, repeats=(1.5, 1.5), contrast=0.5, stains=0.0,
        cell=(rng.uniform(0.035, 0.06), 5.0), gap=0.005, spread=0.9, hue=0.8,
    )  # fmt: skip


def lamp(rng: HashedRng) -> Material:
    color = tint(rng.uniform(0.08, 0.16), rng.uniform(0.0, 0.25), 0.95)
    return Material(color, color, color, contrast=0.0, stains=0.0, glow=1.0)


def leaves(rng: HashedRng) -> Material:
    hue = rng.uniform(0.22, 0.38)
    return Material(
        tint(hue, 0.9, 0.1), tint(hue, 0.8, 0.35), tint(hue - 0.05, 0.7, 0.7),
        detail=STONES, repeats=(1.6, 1.6), contrast=1.0, stains=0.5,
    )  # fmt: skip


def view(rng: HashedRng) -> Material:
    """Return the bright view through a window with the bars of its frame."""
    return Material(
        (0.35, 0.5, 0.4), (0.6, 0.75, 0.85), (0.9, 0.95, 1.0), line=(0.75, 0.72, 0.68),
        detail=BLOBS, repeats=(0.3, 0.3), contrast=0.9, stains=0.3,
        cell=(rng.uniform(0.35, 0.6), rng.uniform(0.5, 0.8)), gap=0.05, glow=0.6,
    )  # fmt: skip


def _even(rng: HashedRng, hue: float, saturation: float, value: float) -> Material:
    """Return almost one colour, with faint variations at all scales."""
    shade = rng.uniform(0.03, 0.25)
    return Material(
        tint(hue, saturation, value * (1 - shade)),
        tint(hue, saturation, value),
        tint(hue, saturation * 0.9, min(0.95, value * (1 + shade))),
        line=tint(hue, saturation, value * 0.4), detail=PINK,
        repeats=(rng.uniform(0.3, 1.5), rng.uniform(0.3, 1.5)), contrast=rng.uniform(0.1, 0.6),
        stains=rng.uniform(0.1, 0.6),
    )  # fmt: skip


def plastic(rng: HashedRng) -> Material:
    """Return paint, plastic or metal: black, grey or white more often than a colour."""
    kind = rng.integer(10)
    if kind < 3:
        return _even(rng, rng.uniform(), rng.uniform(0.0, 0.3), rng.uniform(0.02, 0.08))
    if kind < 6:
        return _even(rng, rng.uniform(0.05, 0.2), rng.uniform(0.0, 0.15), rng.uniform(0.55, 0.95))
    if kind < 7:
        return _even(rng, rng.uniform(), rng.uniform(0.0, 0.2), rng.uniform(0.15, 0.45))
    return _even(rng, rng.uniform(), rng.uniform(0.4, 1.0), rng.uniform(0.1, 0.7))


def board(rng: HashedRng) -> Material:
    """Return the material of a table top or shelf: wood or plain."""
    if rng.chance(0.45):
        hue, value = rng.uniform(0.05, 0.12), rng.uniform(0.12, 0.7)
        return Material(
            tint(hue, 0.65, value * 0.75), tint(hue, 0.55, value), tint(hue, 0.45, value * 1.15),
            detail=GRAIN, repeats=(rng.uniform(0.3, 0.6), rng.uniform(1.2, 2.6)),
            contrast=rng.uniform(0.2, 0.6), stains=rng.uniform(0.0, 0.2),
        )  # fmt: skip
    return plastic(rng)


def plain_wall(rng: HashedRng) -> Material:
    """Return painted plaster, mostly light."""
    value = rng.uniform(0.55, 0.95) if rng.chance(0.75) else rng.uniform(0.2, 0.55)
    saturation = rng.uniform(0.0, 0.15) if rng.chance(0.7) else rng.uniform(0.15, 0.5)
    return _even(rng, rng.uniform(), saturation, value)


def carpet(rng: HashedRng) -> Material:
    """Return a floor of an office: carpet, linoleum or stripes."""
    hue, saturation, value = rng.uniform(), rng.uniform(0.0, 0.35), rng.uniform(0.08, 0.6)
    stripes = rng.uniform(0.02, 0.12) if rng.chance(0.35) else 0.0
    return Material(
        tint(hue, saturation, value * 0.75), tint(hue, saturation, value),
        tint(hue, saturation, min(0.95, value * 1.25)), detail=rng.choice((PINK, SPECKLE, WEAVE)),
        repeats=(rng.uniform(0.5, 1.5), rng.uniform(0.5, 1.5)), contrast=rng.uniform(0.05, 0.6),
        stains=rng.uniform(0.1, 0.5), cell=(stripes, 50.0) if stripes else (0.0, 0.0),
        spread=rng.uniform(0.1, 0.6) if stripes else 0.0,
    )  # fmt: skip


def tiles(rng: HashedRng) -> Material:
    side, base = rng.uniform(0.05, 0.2), plastic(rng)
    return replace(
        base, cell=(side, side * rng.choice((1.0, 0.5))), gap=rng.uniform(0.003, 0.01),
        line=tint(0.1, 0.1, rng.uniform(0.3, 0.9)), spread=rng.uniform(0.0, 0.4),
    )  # fmt: skip


def printed(rng: HashedRng) -> Material:
    """Return white paper with text or a picture."""
    white, ink = rng.uniform(0.75, 0.95), rng.uniform(0.05, 0.4)
    if rng.chance(0.2):
        return cover(rng)
    return Material(
        (ink, ink, ink * rng.uniform(0.8, 1.6)), (white, white, white), (white, white, white),
        detail=TEXT, repeats=(rng.uniform(2.0, 5.0), rng.uniform(2.0, 5.0)),
        contrast=rng.uniform(0.2, 1.0), stains=0.0,
    )  # fmt: skip


def cover(rng: HashedRng) -> Material:
    """Return a book cover, parcel or poster: text and large shapes in one or two colours."""
    hue, other = rng.uniform(), rng.uniform()
    return Material(
        tint(other, rng.uniform(0.0, 0.9), rng.uniform(0.02, 0.6)),
        tint(hue, rng.uniform(0.0, 0.9), rng.uniform(0.1, 0.9)),
        tint(hue, rng.uniform(0.0, 0.4), 0.9),
        detail=rng.choice((TEXT, TEXT, BLOBS, PINK, SCRIBBLE)),
        repeats=(rng.uniform(1.0, 5.0), rng.uniform(1.0, 5.0)),
        contrast=rng.uniform(0.2, 1.2), stains=rng.uniform(0.0, 0.8),
    )  # fmt: skip


def keys(rng: HashedRng) -> Material:
    """Return a keyboard."""
    return replace(
        plastic(rng), cell=(0.019, 0.019), gap=0.004, line=tint(0.1, 0.0, rng.uniform(0.02, 0.4)),
        spread=0.2,
    )  # fmt: skip


def screen(rng: HashedRng) -> Material:
    """Return a monitor: off and black, or on and glowing."""
    if rng.chance(0.65):
        return _even(rng, rng.uniform(), 0.2, rng.uniform(0.02, 0.05))
    return replace(cover(rng), glow=rng.uniform(0.4, 1.0))


def skin(rng: HashedRng) -> Material:
    return _even(rng, rng.uniform(0.03, 0.08), rng.uniform(0.3, 0.6), rng.uniform(0.15, 0.75))
