"""Stamps in whole nanoseconds, in order."""

from bisect import bisect_left
from collections.abc import Sequence


def nearest(stamps_ns: Sequence[int], wanted_ns: int, tolerance_ns: int) -> int | None:
    """Index of the stamp nearest to `wanted_ns`; None if it is farther than the tolerance."""
    at = bisect_left(stamps_ns, wanted_ns)
    around = [i for i in (at - 1, at) if 0 <= i < len(stamps_ns)]
    best = min(around, key=lambda i: abs(stamps_ns[i] - wanted_ns), default=None)
    return best if best is not None and abs(stamps_ns[best] - wanted_ns) <= tolerance_ns else None
