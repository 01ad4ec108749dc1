# SPDX-License-Identifier: Apache-2.0
"""Metres per unit of a stream, from many doubtful measurements."""

import math
from collections import deque
from statistics import median

LATEST = 200
"""Measurements that count."""
SPREAD_OF_MAD = 1.4826
"""Standard deviation of normal noise, in median absolute deviations."""
MEDIAN_LOSS = math.sqrt(math.pi / 2)
"""How much wider than the mean's the error of a median is."""


class ScaleEstimate:
    """The median of the latest ratios, taken as logarithms: twice too long and twice too short
    weigh the same, and up to half of them may be anything.

    Each may have a doubt: the share by which it may be off and all others with it, in the same
    direction, so that no number of them makes it less."""

    def __init__(self, needed: int) -> None:
        """needed: measurements before it says anything."""
        self._needed = needed
        self._latest: deque[tuple[float, float]] = deque(maxlen=LATEST)  # logarithms and doubts

    def __len__(self) -> int:
        return len(self._latest)

    def add(self, metres: float, units: float, doubt: float = 0.0) -> None:
        """The same length in both; what is not a length is passed over."""
        if metres > 0 and units > 0 and all(map(math.isfinite, (metres, units, doubt))):
            self._latest.append((math.log(metres / units), doubt))

    def state(self) -> list[tuple[float, float]]:
        """What `restore` goes on from."""
        return list(self._latest)

    def restore(self, state: list[tuple[float, float]]) -> None:
        latest = ((float(log), float(doubt)) for log, doubt in state)
        self._latest = deque(latest, maxlen=LATEST)

    @property
    def is_known(self) -> bool:
        return len(self._latest) >= self._needed

    @property
    def factor(self) -> float:
        """Metres per unit; NaN while not known."""
        return math.exp(median(self._logs)) if self.is_known else math.nan

    @property
    def sigma(self) -> float:
        """Standard deviation of `factor`, metres per unit; NaN while not known."""
        if not self.is_known:
            return math.nan
        logs = self._logs
        middle = median(logs)
        spread = SPREAD_OF_MAD * median(abs(value - middle) for value in logs)
        doubt = median(doubt for _, doubt in self._latest)
        return self.factor * math.hypot(MEDIAN_LOSS * spread / math.sqrt(len(logs)), doubt)

    @property
    def _logs(self) -> list[float]:
        return [log for log, _ in self._latest]
