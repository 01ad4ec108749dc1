# SPDX-License-Identifier: Apache-2.0
"""Data of the curves on the page."""

from collections import deque

import numpy as np
from numpy.typing import NDArray


class Curves:
    """Memory and time of the latest frames that were used."""

    COLUMNS = (
        "seconds",
        "memory_mb",
        "kilotokens",
        "kilotokens_budget",
        "latency_ms",
        "inference_ms",
    )

    def __init__(self, capacity: int) -> None:
        """capacity: number of frames kept; the oldest are dropped."""
        self._rows: deque[tuple[float, ...]] = deque(maxlen=capacity)
        self.frames = 0
        """Number of frames added so far."""

    def add(
        self,
        seconds: float,
        *,
        memory_bytes: int,
        tokens: int,
        budget: int,
        latency_ms: float,
        inference_ms: float,
    ) -> None:
        """Add one frame. seconds: on any monotonic clock."""
        row = memory_bytes / 1e6, tokens / 1e3, budget / 1e3, latency_ms, inference_ms
        self._rows.append((seconds, *row))
        self.frames += 1

    def columns(self) -> dict[str, NDArray[np.float64]]:
        """Return each column (frames,), oldest first."""
        table = np.array(self._rows, dtype=float).reshape(-1, len(self.COLUMNS))
        return dict(zip(self.COLUMNS, table.T.copy(), strict=True))
