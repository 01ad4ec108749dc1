# SPDX-License-Identifier: Apache-2.0
"""What surfaces look like: colours and the parameters of their patterns (see shading.py)."""

from dataclasses import dataclass, replace

from infinitevggt_core.worlds.dice import Dice

Color = tuple[float, float, float]
PLASTER, GRAIN, MARBLE, SPECKLE, WEAVE, STONES, SCRIBBLE, BLOBS = range(8)
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
    """Detail textures per metre, along and up."""
    contrast: float = 0.4
    stains: float = 0.2
    """Contrast of the same texture, five times as large."""
    cell: tuple[float, float] = (0.0, 0.0)
    """Size of a tile, brick, plank or book, metres; 0: no cells."""
    shift: float = 0.0
    """How far each row of cells is moved, in cells."""
    gap: float = 0.0
    """Width of the line between cells, metres."""
    spread: float = 0.0
    """How far cells differ along the three colours."""
    hue: float = 0.0
    """How far cells differ in any colour."""
    checker: float = 0.0
    """1: cells alternate; 0: each is random."""
    glow: float = 0.0
    """Light of its own, relative to a white wall."""

    def calmer(self, texture: float) -> "Material":
        """With all contrasts times `texture`."""
        return replace(
            self,
            contrast=self.contrast * texture,
            stains=self.stains * texture,
            spread=self.spread * texture,
            hue=self.hue * texture,
        )


def tint(hue: float, saturation: float, value: float) -> Color:
    """Hue in turns; exact on every machine, as there is no trigonometry in it."""

    def channel(offset: float) -> float:
        ramp = abs(((hue + offset) % 1.0) * 6 - 3) - 1
        return value * (1 - saturation + saturation * min(1.0, max(0.0, ramp)))

    return channel(0.0), channel(2 / 3), channel(1 / 3)


def _shades(dice: Dice, saturation: float, value: float) -> tuple[Color, Color, Color]:
    hue, away = dice.uniform(), dice.uniform(-0.12, 0.12)
    return (
        tint(hue, saturation, value * dice.uniform(0.45, 0.7)),
        tint(hue + away / 2, saturation * dice.uniform(0.7, 1.0), value),
        tint(hue + away, saturation * dice.uniform(0.5, 1.0), min(0.95, value * 1.25)),
    )


def wood(dice: Dice, *, plank: float = 0.0) -> Material:
    hue, value = dice.uniform(0.05, 0.11), dice.uniform(0.25, 0.6)
    return Material(
        tint(hue, 0.75, value * 0.5),
        tint(hue, 0.6, value),
        tint(hue + 0.02, 0.5, value * 1.2),
        line=tint(hue, 0.7, value * 0.25),
        detail=GRAIN,
        repeats=(0.45, dice.uniform(1.2, 2.2)),
        contrast=dice.uniform(0.5, 0.9),
        stains=0.15,
        cell=(plank * 7, plank),
        shift=0.37,
        gap=0.008 if plank else 0.0,
        spread=0.5 if plank else 0.0,
        hue=0.04,
    )


def floor(dice: Dice) -> Material:
    kind = dice.integer(4)
    if kind == 0:
        return wood(dice, plank=dice.uniform(0.1, 0.18))
    first, second, third = _shades(dice, dice.uniform(0.05, 0.5), dice.uniform(0.4, 0.75))
    if kind == 1:
        side = dice.uniform(0.25, 0.5)
        return Material(
            first, second, third, line=tint(0.1, 0.1, dice.uniform(0.15, 0.8)),
            detail=dice.choice((MARBLE, SPECKLE, STONES)), repeats=(0.7, 0.7), contrast=0.6,
            cell=(side, side), gap=0.012, spread=dice.uniform(0.2, 0.7),
            checker=float(dice.chance(0.4)),
        )  # fmt: skip
    if kind == 2:
        return Material(
            first, second, third, detail=dice.choice((WEAVE, SPECKLE)), repeats=(0.9, 0.9),
            contrast=0.7, stains=0.5, cell=(0.6, 0.6), gap=0.006, spread=0.35, line=first,
        )  # fmt: skip
    return Material(
        first, second, third, detail=dice.choice((STONES, MARBLE)), repeats=(0.4, 0.4),
        contrast=0.9, stains=0.5,
    )  # fmt: skip


def wall(dice: Dice) -> Material:
    kind = dice.integer(6)
    first, second, third = _shades(dice, dice.uniform(0.05, 0.45), dice.uniform(0.55, 0.85))
    if kind == 0:
        hue = dice.uniform(0.0, 0.08)
        return Material(
            tint(hue, 0.7, 0.3), tint(hue, 0.6, 0.5), tint(hue + 0.03, 0.5, 0.65),
            line=tint(0.1, 0.1, dice.uniform(0.4, 0.75)), detail=SPECKLE, repeats=(0.9, 0.9),
            contrast=0.6, cell=(0.26, 0.085), shift=0.5, gap=0.014, spread=0.8,
        )  # fmt: skip
    if kind == 1:
        width = dice.uniform(0.12, 0.4)
        return Material(
            first, second, third, detail=BLOBS, repeats=(0.8, 0.8), contrast=0.5, stains=0.2,
            cell=(width, 50.0), spread=dice.uniform(0.4, 0.9), checker=float(dice.chance(0.7)),
        )  # fmt: skip
    if kind == 2 and dice.chance(0.6):
        return wood(dice, plank=dice.uniform(0.14, 0.25))
    if kind in (2, 3):
        return Material(
            first, second, third, detail=dice.choice((BLOBS, SCRIBBLE, STONES)),
            repeats=(0.6, 0.6), contrast=dice.uniform(0.5, 0.9), stains=0.4,
        )  # fmt: skip
    return Material(
        first, second, third, detail=dice.choice((PLASTER, MARBLE)), repeats=(0.35, 0.35),
        contrast=0.7, stains=0.7,
    )  # fmt: skip


def ceiling(dice: Dice) -> Material:
    value = dice.uniform(0.7, 0.9)
    side = dice.choice((0.0, 0.6, 1.2))
    return Material(
        tint(0.1, 0.08, value * 0.7), tint(0.12, 0.05, value), tint(0.1, 0.03, 0.95),
        line=(0.3, 0.3, 0.32), detail=dice.choice((PLASTER, SPECKLE)), repeats=(0.5, 0.5),
        contrast=0.5, stains=0.4, cell=(side, side / 2), gap=0.015 if side else 0.0, spread=0.2,
    )  # fmt: skip


def fabric(dice: Dice) -> Material:
    first, second, third = _shades(dice, dice.uniform(0.2, 0.8), dice.uniform(0.3, 0.8))
    size = dice.choice((0.0, dice.uniform(0.06, 0.2)))
    return Material(
        first, second, third, line=third, detail=dice.choice((WEAVE, BLOBS, SPECKLE)),
        repeats=(1.2, 1.2), contrast=0.7, stains=0.3, cell=(size, size),
        gap=size * dice.uniform(0.0, 0.2), spread=0.7, checker=float(dice.chance(0.5)),
    )  # fmt: skip


def paint(dice: Dice) -> Material:
    first, second, third = _shades(dice, dice.uniform(0.3, 0.95), dice.uniform(0.4, 0.85))
    return Material(
        first, second, third, detail=dice.choice((BLOBS, MARBLE, STONES, SCRIBBLE)),
        repeats=(1.0, 1.0), contrast=0.7, stains=0.3,
    )  # fmt: skip


def picture(dice: Dice) -> Material:
    """A poster or painting: strong colours, no two alike."""
    hue = dice.uniform()
    size = dice.uniform(0.1, 0.35)
    return Material(
        tint(hue, dice.uniform(0.4, 1.0), dice.uniform(0.08, 0.35)),
        tint(hue + dice.uniform(0.2, 0.5), dice.uniform(0.4, 0.9), dice.uniform(0.4, 0.7)),
        tint(hue + dice.uniform(0.4, 0.8), dice.uniform(0.1, 0.6), 0.9),
        detail=dice.choice((SCRIBBLE, BLOBS, STONES, MARBLE)), repeats=(0.9, 0.9),
        contrast=1.3, stains=0.7, cell=(size, size * dice.uniform(0.5, 1.5)),
        spread=dice.uniform(0.0, 0.9), hue=dice.uniform(0.0, 0.5),
    )  # fmt: skip


def books(dice: Dice) -> Material:
    return Material(
        (0.12, 0.1, 0.1), (0.45, 0.38, 0.33), (0.85, 0.8, 0.7), line=(0.03, 0.03, 0.03),
        detail=SCRIBBLE, repeats=(1.5, 1.5), contrast=0.5, stains=0.0,
        cell=(dice.uniform(0.035, 0.06), 5.0), gap=0.005, spread=0.9, hue=0.8,
    )  # fmt: skip


def lamp(dice: Dice) -> Material:
    color = tint(dice.uniform(0.08, 0.16), dice.uniform(0.0, 0.25), 0.95)
    return Material(color, color, color, contrast=0.0, stains=0.0, glow=1.0)


def leaves(dice: Dice) -> Material:
    hue = dice.uniform(0.22, 0.38)
    return Material(
        tint(hue, 0.9, 0.1), tint(hue, 0.8, 0.35), tint(hue - 0.05, 0.7, 0.7),
        detail=STONES, repeats=(1.6, 1.6), contrast=1.0, stains=0.5,
    )  # fmt: skip


def view(dice: Dice) -> Material:
    """What a window shows: bright, with the bars of its frame."""
    return Material(
        (0.35, 0.5, 0.4), (0.6, 0.75, 0.85), (0.9, 0.95, 1.0), line=(0.75, 0.72, 0.68),
        detail=BLOBS, repeats=(0.3, 0.3), contrast=0.9, stains=0.3,
        cell=(dice.uniform(0.35, 0.6), dice.uniform(0.5, 0.8)), gap=0.05, glow=0.6,
    )  # fmt: skip
