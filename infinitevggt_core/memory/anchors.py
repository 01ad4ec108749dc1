# SPDX-License-Identifier: Apache-2.0
"""Frames that are never evicted."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Anchors:
    """The first frames of a stream, and single later frames."""

    first: int = 0
    """First frame of the stream."""
    count: int = 1
    """Number of anchor frames from the first one on."""
    others: frozenset[int] = frozenset()
    """Later anchor frames."""

    def __len__(self) -> int:
        return self.count + len(self.others)

    def __contains__(self, frame: int) -> bool:
        return frame < self.first + self.count or frame in self.others

    def with_others(self, frames: set[int]) -> "Anchors":
        """Return these anchors and some more frames; frames that are anchors already count once."""
        later = {frame for frame in frames if frame >= self.first + self.count}
        return Anchors(self.first, self.count, self.others | later)
