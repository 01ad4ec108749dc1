# SPDX-License-Identifier: Apache-2.0
"""Everyday looks: calm, toned and busy versions of materials, and walls and floors of offices."""

from collections.abc import Callable
from dataclasses import replace

from infinitevggt_core.worlds.hashed_rng import HashedRng
from infinitevggt_core.worlds.materials import (
    BLOBS,
    MARBLE,
    PINK,
    SCRIBBLE,
    SPECKLE,
    STONES,
    TEXT,
    WEAVE,
    Color,
    Material,
    board,
    carpet,
    cover,
    floor,
    plain_wall,
    plastic,
    tint,
    wall,
)

_PLAIN: tuple[Callable[[HashedRng], Material], ...] = (plastic, board, plain_wall, cover)


def everyday_look(rng: HashedRng, material: Material) -> Material:
    """Return a plain replacement, or the same material with less colour and contrast.

    Lamps and windows keep theirs, and may be bright enough to saturate a camera.
    """
    if material.glow:
        return replace(material, glow=material.glow * rng.uniform(0.7, 2.5))
    if material.detail in (TEXT, PINK):
        return material
    if rng.chance(0.45):
        return rng.choice(_PLAIN)(rng)
    grey, contrast = rng.uniform(0.0, 0.9), rng.uniform(0.1, 0.9)
    calm = material.calmer(contrast)
    colors = (_greyer(color, grey) for color in (calm.first, calm.second, calm.third, calm.line))
    first, second, third, line = colors
    return replace(calm, first=first, second=second, third=third, line=line)


def toned(rng: HashedRng, material: Material) -> Material:
    """Return the material with a random brightness, whatever the surface is.

    Lamps and windows keep theirs.
    """
    if material.glow:
        return material
    wanted = 0.03 + 0.87 * rng.uniform() * rng.uniform()
    gain = wanted / max(0.02, sum(material.second) / 3)

    def scaled(color: Color) -> Color:
        red, green, blue = (min(0.95, gain * channel) for channel in color)
        return red, green, blue

    first, second, third = (scaled(c) for c in (material.first, material.second, material.third))
    return replace(material, first=first, second=second, third=third, line=scaled(material.line))


_BUSY = (STONES, SCRIBBLE, TEXT, BLOBS, PINK, SPECKLE, MARBLE, WEAVE)


def busy(rng: HashedRng, material: Material) -> Material:
    """Return the material with a pattern of random size and contrast, so that near surfaces have
    as much detail as far ones.

    Lamps and windows keep theirs.
    """
    if material.glow:
        return material
    repeats = 0.3 + 9.7 * rng.uniform() * rng.uniform()
    result = replace(
        material, detail=rng.choice(_BUSY), repeats=(repeats * rng.uniform(0.5, 1.5), repeats),
        contrast=rng.uniform(0.2, 1.4), stains=rng.uniform(0.0, 0.9),
    )  # fmt: skip
    if rng.chance(0.5):
        result = replace(
            result,
            first=tint(rng.uniform(), rng.uniform(0.0, 0.8), rng.uniform(0.02, 0.4)),
            third=tint(rng.uniform(), rng.uniform(0.0, 0.8), rng.uniform(0.4, 0.95)),
        )
    if rng.chance(0.4):  # tiles, labels, things in a row
        side = 0.015 + 0.3 * rng.uniform() * rng.uniform()
        result = replace(
            result, cell=(side, side * rng.uniform(0.3, 1.5)), shift=rng.uniform(),
            gap=side * rng.uniform(0.0, 0.15), spread=rng.uniform(), hue=0.8 * rng.uniform(),
        )  # fmt: skip
    return result


def _greyer(color: Color, share: float) -> Color:
    mean = sum(color) / 3
    red, green, blue = ((1 - share) * channel + share * mean for channel in color)
    return red, green, blue


def office_wall(rng: HashedRng) -> Material:
    return plain_wall(rng) if rng.chance(0.7) else everyday_look(rng, wall(rng))


def office_floor(rng: HashedRng) -> Material:
    return carpet(rng) if rng.chance(0.6) else everyday_look(rng, floor(rng))
