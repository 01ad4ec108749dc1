# SPDX-License-Identifier: Apache-2.0
"""Numbers of frames on the device."""

import torch
from torch import Tensor

from infinitevggt_core.memory.anchors import Anchors
from infinitevggt_core.memory.stored_tokens import FRAME_DTYPE

NO_FRAME = torch.iinfo(FRAME_DTYPE).min
MOST_FRAMES = torch.iinfo(FRAME_DTYPE).max // 2
"""Bound of differences between frames, so that none overflows."""


class FrameNumbers:
    """Numbers of the current frame and of the later anchors, as scalars on the device. What is
    computed with them is the same program in every frame, which a CUDA graph can hold: anchors that
    are not set yet take the place of a frame that does not exist."""

    def __init__(self, anchors: Anchors) -> None:
        self._anchors = anchors
        self._wanted = [anchors.first]  # current frame, later anchors, the latest first
        self._written: list[int] = []
        self._numbers: Tensor | None = None

    @property
    def layout(self) -> object:
        """Everything on which operations with these numbers depend, but for the numbers."""
        place = None if self._numbers is None else self._numbers.data_ptr()
        return self._anchors.first, self._anchors.count, len(self._wanted), place

    def begin_frame(self, frame: int, anchors: Anchors, room: int) -> None:
        """Set the current frame and the anchors; room: most later anchors."""
        later = sorted(anchors.others, reverse=True)
        self._anchors = anchors
        self._wanted = [frame, *later, *[NO_FRAME] * (room - len(later))]
        if self._numbers is None:
            return
        if len(self._written) != len(self._wanted):
            self._numbers = None
            return
        for place, number in enumerate(self._wanted):
            if number != self._written[place]:
                self._numbers[place].fill_(number)
        self._written = list(self._wanted)

    def on(self, device: torch.device) -> Tensor:
        """Return the numbers (1 + room,) int32 on the device, the current frame first."""
        if self._numbers is None or self._numbers.device != device:
            with torch.inference_mode(False):  # as the store
                self._numbers = torch.empty(len(self._wanted), dtype=FRAME_DTYPE, device=device)
            for place, number in enumerate(self._wanted):  # no copy from the host, which waits
                self._numbers[place].fill_(number)
            self._written = list(self._wanted)
        return self._numbers

    def now(self, device: torch.device) -> Tensor:
        """Return the number of the current frame as a scalar on the device."""
        return self.on(device)[0]

    def candidates(self, frames: Tensor) -> Tensor:
        """Return a bool tensor, True for tokens that may be evicted, given their frames."""
        free = frames >= self._anchors.first + self._anchors.count
        for anchor in self.on(frames.device)[1:].unbind():
            free &= frames != anchor
        return free

    def nth_latest(self, count: int, device: torch.device) -> Tensor:
        """Return the `count`-th latest frame that is no anchor, as a scalar on the device."""
        now, *later = self.on(device).unbind()
        frame = now - (min(count, MOST_FRAMES) - 1)
        for anchor in later:
            frame = frame - ((frame <= anchor) & (anchor <= now)).to(FRAME_DTYPE)
        return frame
