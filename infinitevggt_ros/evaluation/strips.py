# SPDX-License-Identifier: Apache-2.0
"""A few frames of a run for the page: image, predicted depth, true depth."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from infinitevggt_ros.output.frame_result import FrameResult

SHOWN_FRAMES = 6


class Strips:
    """Frames evenly spread over the run, at the network's resolution."""

    def __init__(self, frames: int) -> None:
        self._wanted = {(2 * i + 1) * frames // (2 * SHOWN_FRAMES) for i in range(SHOWN_FRAMES)}
        self.shown: list[dict[str, NDArray[Any]]] = []
        """index: of the frame; image (H, W, 3) uint8; depth and truth (H, W), NaN where unknown."""

    def add(self, index: int, result: FrameResult, truth: NDArray[np.float32] | None) -> None:
        if index not in self._wanted:
            return
        image = (result.colors * 255).round().astype(np.uint8)
        unknown = np.full_like(result.depth, np.nan)
        true_depth = unknown if truth is None else np.where(truth > 0, truth, unknown)
        self.shown.append(
            {"index": np.array(index), "image": image, "depth": result.depth, "truth": true_depth}
        )

    def state_dict(self) -> list[dict[str, torch.Tensor]]:
        return [{k: torch.from_numpy(v) for k, v in shown.items()} for shown in self.shown]

    def load_state_dict(self, state: list[dict[str, torch.Tensor]]) -> None:
        self.shown = [{k: v.cpu().numpy() for k, v in shown.items()} for shown in state]
