# SPDX-License-Identifier: Apache-2.0
"""A few frames of a run for the page: image, predicted depth, true depth."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

SHOWN_FRAMES = 6


class Strips:
    """Frames evenly spread over the run."""

    def __init__(self, frames: int | None) -> None:
        """frames: number of frames; None if it is unknown, then the frames are thinned out."""
        self._wanted = frames and {
            (2 * i + 1) * frames // (2 * SHOWN_FRAMES) for i in range(SHOWN_FRAMES)
        }
        self._stride = 1
        self.shown: list[dict[str, NDArray[Any]]] = []
        """index: of the frame; image (H, W, 3) uint8; depth and truth (h, w), NaN where unknown."""

    def is_due(self, index: int) -> bool:
        """Return True if the frame is one of those to show."""
        return index in self._wanted if self._wanted else index % self._stride == 0

    def add(
        self,
        index: int,
        image: NDArray[np.uint8],
        depth: NDArray[np.float32],
        truth: NDArray[np.float32] | None = None,
    ) -> None:
        """Keep a frame if it is due. truth: (h, w), 0 or NaN where unknown."""
        if not self.is_due(index):
            return
        unknown = np.full_like(depth, np.nan)
        true_depth = unknown if truth is None else np.where(truth > 0, truth, unknown)
        self.shown.append(
            {"index": np.array(index), "image": image, "depth": depth, "truth": true_depth}
        )
        if len(self.shown) > SHOWN_FRAMES and not self._wanted:
            self._stride *= 2
            self.shown = [kept for kept in self.shown if int(kept["index"]) % self._stride == 0]

    def state_dict(self) -> list[dict[str, torch.Tensor]]:
        return [{k: torch.from_numpy(v) for k, v in shown.items()} for shown in self.shown]

    def load_state_dict(self, state: list[dict[str, torch.Tensor]]) -> None:
        self.shown = [{k: v.cpu().numpy() for k, v in shown.items()} for shown in state]
