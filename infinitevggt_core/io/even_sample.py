# SPDX-License-Identifier: Apache-2.0
"""Bounded sample of an endless series."""

from typing import Generic, TypeVar

T = TypeVar("T")


class EvenSample(Generic[T]):
    """Items spread evenly over a series: all of them, or every second, fourth, ... of a long one.

    Two samples with the same bound keep the items of the same numbers.
    """

    def __init__(self, most: int | None = None) -> None:
        """most: largest number of items, at least 2; None keeps all."""
        self.items: list[T] = []
        self._most, self._stride, self._count = most, 1, 0

    def add(self, item: T) -> None:
        """Take the next item of the series."""
        if self._count % self._stride == 0:
            self.items.append(item)
        self._count += 1
        if self._most is not None and len(self.items) > self._most:
            self._stride *= 2
            self.items = self.items[::2]
