# SPDX-License-Identifier: Apache-2.0
"""Frames that are never evicted."""

from dataclasses import dataclass

from torch import Tensor


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

    def candidates(self, frames: Tensor) -> Tensor:
        """Return a bool tensor, True for tokens that may be evicted, given their frames."""
        free = frames >= self.first + self.count
        for frame in self.others:
            free &= frames != frame
        return free

    def with_others(self, frames: set[int]) -> "Anchors":
        """Return these anchors and some more frames; frames that are anchors already count once."""
        later = {frame for frame in frames if frame >= self.first + self.count}
        return Anchors(self.first, self.count, self.others | later)

    def nth_latest(self, latest: int, count: int) -> int:
        """Return the `count`-th latest frame that is no anchor, counted from frame `latest`."""
        frame = latest - count + 1
        for other in sorted(self.others, reverse=True):
            if frame <= other <= latest:
                frame -= 1
        return frame
