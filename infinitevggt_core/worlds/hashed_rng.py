# SPDX-License-Identifier: Apache-2.0
"""Random numbers that are equal on every machine: integers hashed with 32-bit multiplications."""

from collections.abc import Sequence
from typing import TypeVar

import torch
from torch import Tensor

Item = TypeVar("Item")
_MASK = 0xFFFFFFFF


def scramble(number: int) -> int:
    """Return a 32-bit hash (lowbias32) of the low 32 bits of `number`."""
    number &= _MASK
    number = ((number ^ (number >> 16)) * 0x7FEB352D) & _MASK
    number = ((number ^ (number >> 15)) * 0x846CA68B) & _MASK
    return number ^ (number >> 16)


def key_of(*parts: int | str) -> int:
    """Return one 32-bit key of integers and names, which depends on their order."""
    key = 0x9E3779B9
    for part in parts:
        if isinstance(part, str):
            for byte in part.encode():
                key = scramble(key * 31 + byte)
        else:
            key = scramble(key ^ scramble(part + 0x632BE5AB))
            key = scramble(key + (part >> 32))
    return key


def scramble_tensor(numbers: Tensor) -> Tensor:
    """Return `scramble` of each element of an int64 tensor."""
    numbers = numbers & _MASK
    numbers = ((numbers ^ (numbers >> 16)) * 0x7FEB352D) & _MASK
    numbers = ((numbers ^ (numbers >> 15)) * 0x846CA68B) & _MASK
    return numbers ^ (numbers >> 16)


def uniform_tensor(key: int, counters: Tensor) -> Tensor:
    """Return float64 numbers in [0, 1), one for each int64 counter."""
    return scramble_tensor(scramble_tensor(counters + 0x51ED270B) ^ key).double() / 2**32


def smooth_noise(key: int, times: Tensor) -> Tensor:
    """Return a twice differentiable random curve in [-1, 1] at float64 `times`.

    The curve is a cubic B-spline over one hashed knot per unit of time, so that any time costs the
    same.
    """
    first = times.floor()
    f = times - first
    knots = first.long()
    weights = (
        (1 - f) ** 3 / 6,
        (3 * f**3 - 6 * f**2 + 4) / 6,
        (-3 * f**3 + 3 * f**2 + 3 * f + 1) / 6,
        f**3 / 6,
    )
    curve = torch.zeros_like(times)
    for offset, weight in enumerate(weights):
        curve = curve + weight * (2 * uniform_tensor(key, knots + offset - 1) - 1)
    return curve


class HashedRng:
    """Sequential draws from a key. Decisions use no transcendental function."""

    def __init__(self, *parts: int | str) -> None:
        self.key = key_of(*parts)
        self._count = 0

    def integer(self, count: int) -> int:
        """Return an integer from 0 to count - 1."""
        return self._draw() * count >> 32

    def uniform(self, low: float = 0.0, high: float = 1.0) -> float:
        """Return a number in [low, high)."""
        return low + (high - low) * (self._draw() / 2**32)

    def chance(self, probability: float) -> bool:
        return self._draw() < probability * 2**32

    def choice(self, items: Sequence[Item]) -> Item:
        return items[self.integer(len(items))]

    def shuffled(self, items: Sequence[Item]) -> list[Item]:
        rest = list(items)
        return [rest.pop(self.integer(len(rest))) for _ in range(len(rest))]

    def _draw(self) -> int:
        self._count += 1
        return scramble(scramble(self._count + 0x51ED270B) ^ self.key)
