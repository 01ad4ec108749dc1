# SPDX-License-Identifier: Apache-2.0
"""What the curves are drawn from."""

from collections import deque

import numpy as np
from numpy.typing import NDArray

from infinitevggt_ros.msg import StreamStatus


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
        """capacity: frames; the oldest go."""
        self._rows: deque[tuple[float, ...]] = deque(maxlen=capacity)
        self.frames = 0
        """Added so far."""

    def add(self, status: StreamStatus, seconds: float) -> None:
        """seconds: on any clock that does not go back."""
        if status.outcome != StreamStatus.PROCESSED:
            return
        tokens = sum(status.stored_tokens) / 1e3, status.total_budget / 1e3
        times = status.latency_ms, status.inference_ms
        self._rows.append((seconds, status.memory_bytes / 1e6, *tokens, *times))
        self.frames += 1

    def columns(self) -> dict[str, NDArray[np.float64]]:
        """(frames,) each, oldest first."""
        table = np.array(self._rows, dtype=float).reshape(-1, len(self.COLUMNS))
        return dict(zip(self.COLUMNS, table.T.copy(), strict=True))
