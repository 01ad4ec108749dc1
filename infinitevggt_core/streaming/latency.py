# SPDX-License-Identifier: Apache-2.0
"""Holds a time per frame by moving the budget."""

from statistics import median

SETTLE = 5
"""Frames between two decisions: the median of their times is what counts, so that single slow
frames do not."""
SLACK = 0.95
"""Part of the target that is aimed at, so that noise does not cross it."""
LEAST, MOST = 0.7, 1.25
"""Largest changes of the budget at a time."""


class LatencyController:
    """A frame's time is a fixed part and one that grows with the tokens held; neither is known.

    Above the target the tokens held are cut by the ratio of the times, which is too little, as part
    of the time is fixed, and so is done again. Below it they grow by the same ratio, which for the
    same reason never overshoots.
    """

    def __init__(self, target_ms: float, smallest: int, largest: int) -> None:
        """smallest, largest: bounds of the budget in tokens."""
        self.target_ms, self.smallest, self.largest = target_ms, smallest, largest
        self.budget = largest
        """Tokens to keep."""
        self._times_ms: list[float] = []

    def resume(self, budget: int) -> None:
        """Go on from another controller's budget."""
        self.budget = min(max(budget, self.smallest), self.largest)

    def update(self, frame_ms: float, held: int) -> None:
        """A frame took `frame_ms` with `held` tokens."""
        self._times_ms.append(frame_ms)
        if len(self._times_ms) < SETTLE:
            return
        ratio = SLACK * self.target_ms / median(self._times_ms)
        self._times_ms.clear()
        too_slow = ratio < SLACK
        full = held >= LEAST * self.budget  # else time cannot tell yet what the budget would cost
        if too_slow or (ratio > 1 and full):
            wanted = int(min(held, self.budget) * min(max(ratio, LEAST), MOST))
            self.budget = min(max(wanted, self.smallest), self.largest)
