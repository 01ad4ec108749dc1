# SPDX-License-Identifier: Apache-2.0
"""Control of the time per frame by the budget."""

import time
from statistics import median

import torch

from infinitevggt_core.config import UNLIMITED
from infinitevggt_core.memory import Budget

SETTLE = 5
"""Frames between two decisions, which use the median of their times: single slow frames do not
count."""
SLACK = 0.95
"""Share of the target that is aimed at, so that noise does not exceed the target."""
LEAST, MOST = 0.7, 1.25
"""Largest changes of the budget at a time."""


class LatencyController:
    """Moves a budget so that frames take a target time.

    The time of a frame is a fixed part and one that grows with the tokens held; neither is known.
    Above the target, the tokens held are cut by the ratio of the times. That is too little, because
    part of the time is fixed, and is repeated. Below the target they grow by the same ratio, which
    for the same reason never overshoots.
    """

    def __init__(self, target_ms: float, smallest: int, largest: int) -> None:
        """smallest, largest: bounds of the budget, tokens."""
        self.target_ms, self.smallest, self.largest = target_ms, smallest, largest
        self.budget = largest
        """Tokens to keep."""
        self._times_ms: list[float] = []

    def resume(self, budget: int) -> None:
        """Continue from the budget of another controller."""
        self.budget = min(max(budget, self.smallest), self.largest)

    def update(self, frame_ms: float, held: int) -> None:
        """Record that a frame took `frame_ms` with `held` tokens."""
        self._times_ms.append(frame_ms)
        if len(self._times_ms) < SETTLE:
            return
        ratio = SLACK * self.target_ms / median(self._times_ms)
        self._times_ms.clear()
        too_slow = ratio < SLACK
        full = held >= LEAST * self.budget  # else the time says nothing about the budget
        if too_slow or (ratio > 1 and full):
            budget = int(min(held, self.budget) * min(max(ratio, LEAST), MOST))
            self.budget = min(max(budget, self.smallest), self.largest)


class Pacing:
    """Measures the frames of a session and controls their time, if a target is set."""

    def __init__(self) -> None:
        self._controller: LatencyController | None = None
        self._started_s = 0.0

    @property
    def tokens(self) -> int:
        """Most tokens to keep; UNLIMITED without a target."""
        return UNLIMITED if self._controller is None else self._controller.budget

    def configure(self, target_ms: float, budget: Budget) -> None:
        """Set the target, 0 for none, and the bounds of the budget."""
        before = self._controller
        self._controller = None
        if target_ms:
            self._controller = LatencyController(target_ms, budget.minimum, budget.capacity)
            if before is not None:
                self._controller.resume(before.budget)

    def resume(self, tokens: int) -> None:
        """Continue from the budget of another session."""
        if self._controller is not None:
            self._controller.resume(tokens)

    def start(self) -> None:
        """Start the time of a frame."""
        self._started_s = time.perf_counter()

    def stop(self, device: torch.device, held: int) -> None:
        """Stop the time of a frame that left `held` tokens."""
        if self._controller is None:
            return
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        self._controller.update(1e3 * (time.perf_counter() - self._started_s), held)
