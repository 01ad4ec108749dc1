# SPDX-License-Identifier: Apache-2.0
"""Log of a run, frame by frame, and its figures."""

import resource
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from infinitevggt_core.io.even_sample import EvenSample

COLUMNS = ("latency_ms", "memory_bytes", "process_bytes", "tokens", "map_points")
STATM = Path("/proc/self/statm")


class RunLog:
    """One row per image that was used, and counters."""

    def __init__(self, most: int | None = None) -> None:
        """most: largest number of rows, which are then spread over the run; None keeps all."""
        self.used = 0
        """Number of images that were used."""
        self.rejections: dict[str, int] = {}
        """Number of rejections by reason."""
        self.restarts = 0
        self._most = most
        self._rows: EvenSample[tuple[int, tuple[float, ...]]] = EvenSample(most)

    def add(
        self,
        stamp_ns: int,
        rejection: str,
        device: torch.device,
        *,
        latency_ms: float,
        memory_bytes: int,
        tokens: int,
        map_points: int,
    ) -> None:
        """Add one image. rejection: reason why it was not used; empty if it was."""
        if rejection:
            self.rejections[rejection] = self.rejections.get(rejection, 0) + 1
            return
        self.used += 1
        row = (latency_ms, memory_bytes, process_bytes(device), tokens, map_points)
        self._rows.add((stamp_ns, tuple(map(float, row))))

    def column(self, name: str) -> NDArray[np.float64]:
        """Return one column (N,)."""
        rows = np.array([row for _, row in self._rows.items]).reshape(-1, len(COLUMNS))
        return np.asarray(rows[:, COLUMNS.index(name)])

    def used_stamps_ns(self) -> list[int]:
        """Return the stamps (N,) of the rows."""
        return [stamp_ns for stamp_ns, _ in self._rows.items]

    def figures(self) -> dict[str, Any]:
        """Return the figures of the run. Latency is the time from the message of an image to its
        pose, depth and points in the map."""
        latency = self.column("latency_ms")
        used, rejected = self.used, sum(self.rejections.values())
        last = {name: int(self.column(name)[-1]) if used else 0 for name in COLUMNS[1:]}
        spent_s = float(latency.sum()) / 1e3
        return {
            "frames_in": used + rejected,
            "frames_used": used,
            "frames_rejected": rejected,
            "rejections": self.rejections,
            "restarts": self.restarts,
            "latency_ms": {
                "mean": float(latency.mean()) if used else None,
                "p50": float(np.percentile(latency, 50)) if used else None,
                "p95": float(np.percentile(latency, 95)) if used else None,
                "max": float(latency.max()) if used else None,
            },
            "frames_per_s": len(latency) / spent_s if spent_s else None,
            "peak_memory_mb": float(self.column("process_bytes").max(initial=0)) / 1e6,
            "stream_memory_mb": last["memory_bytes"] / 1e6,
            "tokens_kept": last["tokens"],
            "map_points": last["map_points"],
        }

    def state_dict(self) -> dict[str, Any]:
        return {
            "stamps_ns": self.used_stamps_ns(),
            "rows": torch.tensor([row for _, row in self._rows.items], dtype=torch.float64),
            "rejections": self.rejections,
            "restarts": self.restarts,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.rejections, self.restarts = state["rejections"], state["restarts"]
        self.used, self._rows = 0, EvenSample(self._most)
        for stamp_ns, row in zip(state["stamps_ns"], state["rows"].tolist(), strict=True):
            self.used += 1
            self._rows.add((stamp_ns, tuple(row)))


def process_bytes(device: torch.device) -> int:
    """Return the memory in use: peak of the GPU, or resident memory of this process."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    try:
        return int(STATM.read_text().split()[1]) * resource.getpagesize()
    except OSError:  # not Linux
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
