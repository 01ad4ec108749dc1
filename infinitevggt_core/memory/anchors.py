# SPDX-License-Identifier: Apache-2.0
"""The frames that are never forgotten."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, slots=True)
class Anchors:
    """The first frames of a stream, and single ones after them."""

    first: int = 0
    """The first frame of the stream."""
    count: int = 1
    """Frames from the first on."""
    others: frozenset[int] = frozenset()
    """Later frames."""

    def __len__(self) -> int:
        return self.count + len(self.others)

    def __contains__(self, frame: int) -> bool:
        return frame < self.first + self.count or frame in self.others

    def candidates(self, frames: Tensor) -> Tensor:
        """Which tokens may be forgotten, by the frames they are from."""
        free = frames >= self.first + self.count
        for frame in self.others:
            free &= frames != frame
        return free

    def with_others(self, frames: set[int]) -> "Anchors":
        """Some more frames; those that are anchors anyway count once."""
        later = {frame for frame in frames if frame >= self.first + self.count}
        return Anchors(self.first, self.count, self.others | later)
