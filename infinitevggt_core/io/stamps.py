# SPDX-License-Identifier: Apache-2.0
"""Search by time stamps in whole nanoseconds."""

from bisect import bisect_left
from collections import deque
from collections.abc import Sequence
from typing import Generic, TypeVar

T = TypeVar("T")


def nearest(stamps_ns: Sequence[int], wanted_ns: int, tolerance_ns: int) -> int | None:
    """Return the index of the stamp nearest to `wanted_ns` in a sorted sequence; None if it is
    farther than the tolerance."""
    at = bisect_left(stamps_ns, wanted_ns)
    around = [i for i in (at - 1, at) if 0 <= i < len(stamps_ns)]
    best = min(around, key=lambda i: abs(stamps_ns[i] - wanted_ns), default=None)
    return best if best is not None and abs(stamps_ns[best] - wanted_ns) <= tolerance_ns else None


class Recent(Generic[T]):
    """Latest values, searched by stamp. Values may arrive in any order and from another thread."""

    def __init__(self, most: int) -> None:
        """most: number of values kept, the latest to arrive, whatever their stamps."""
        self._kept: deque[tuple[int, T]] = deque(maxlen=most)

    def __len__(self) -> int:
        return len(self._kept)

    def add(self, stamp_ns: int, value: T) -> None:
        """Add a value; the one that arrived first is removed if there are too many."""
        self._kept.append((stamp_ns, value))

    def nearest(self, wanted_ns: int, tolerance_ns: int) -> T | None:
        """Return the value nearest to a stamp; None if it is farther than the tolerance."""
        kept = self._in_order()
        found = nearest([stamp_ns for stamp_ns, _ in kept], wanted_ns, tolerance_ns)
        return None if found is None else kept[found][1]

    def between(self, first_ns: int, last_ns: int) -> list[T]:
        """Return the values from the first stamp to the last, both included, in order of time."""
        return [value for stamp_ns, value in self._in_order() if first_ns <= stamp_ns <= last_ns]

    def _in_order(self) -> list[tuple[int, T]]:
        return sorted(self._kept.copy(), key=lambda kept: kept[0])
