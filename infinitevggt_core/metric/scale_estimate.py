# SPDX-License-Identifier: Apache-2.0
"""Robust estimate of metres per unit of a stream."""

import math
from collections import deque
from dataclasses import dataclass
from statistics import median

LATEST = 200
"""Number of measurements kept, the latest."""
SPREAD_OF_MAD = 1.4826
"""Standard deviation of normal noise, in median absolute deviations."""
MEDIAN_LOSS = math.sqrt(math.pi / 2)
"""Ratio of the standard error of a median to that of a mean."""


@dataclass(frozen=True, slots=True)
class MeasuredLength:
    """One length in both units."""

    metres: float
    units: float
    relative_std: float
    """Relative standard deviation, which it shares with all others of its kind."""


class ScaleEstimate:
    """Median of the latest ratios, as logarithms: half and double weigh the same, and up to half of
    the measurements may be outliers.

    A measurement may have a relative standard deviation that it shares with all others of its kind;
    more measurements do not reduce it."""

    def __init__(self, needed: int) -> None:
        """needed: number of measurements before the estimate is known."""
        self._needed = needed
        self._latest: deque[tuple[float, float]] = deque(
            maxlen=LATEST
        )  # logarithms and relative standard deviations

    def __len__(self) -> int:
        return len(self._latest)

    def add(self, metres: float, units: float, relative_sigma: float = 0.0) -> None:
        """Add one length in both units; values that are no lengths are ignored.

        relative_sigma: relative standard deviation.
        """
        if metres > 0 and units > 0 and all(map(math.isfinite, (metres, units, relative_sigma))):
            self._latest.append((math.log(metres / units), relative_sigma))

    def state(self) -> list[tuple[float, float]]:
        """Return the state for `restore`."""
        return list(self._latest)

    def restore(self, state: list[tuple[float, float]]) -> None:
        """Continue from a state."""
        latest = ((float(log), float(sigma)) for log, sigma in state)
        self._latest = deque(latest, maxlen=LATEST)

    @property
    def is_known(self) -> bool:
        """True if there are enough measurements."""
        return len(self._latest) >= self._needed

    @property
    def factor(self) -> float:
        """Metres per unit; NaN while unknown."""
        return math.exp(median(self._logs)) if self.is_known else math.nan

    @property
    def sigma(self) -> float:
        """Standard deviation of `factor`, metres per unit; NaN while unknown."""
        if not self.is_known:
            return math.nan
        logs = self._logs
        middle = median(logs)
        spread = SPREAD_OF_MAD * median(abs(value - middle) for value in logs)
        shared = median(sigma for _, sigma in self._latest)
        return self.factor * math.hypot(MEDIAN_LOSS * spread / math.sqrt(len(logs)), shared)

    @property
    def _logs(self) -> list[float]:
        return [log for log, _ in self._latest]
