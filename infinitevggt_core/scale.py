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
    weigh the same, and up to half of them may be anything."""

    def __init__(self, needed: int) -> None:
        """needed: measurements before it says anything."""
        self._needed = needed
        self._logs: deque[float] = deque(maxlen=LATEST)

    def __len__(self) -> int:
        return len(self._logs)

    def add(self, metres: float, units: float) -> None:
        """The same length in both; what is not a length is passed over."""
        if metres > 0 and units > 0 and math.isfinite(metres) and math.isfinite(units):
            self._logs.append(math.log(metres / units))

    def state(self) -> list[float]:
        """What `restore` goes on from."""
        return list(self._logs)

    def restore(self, state: list[float]) -> None:
        self._logs = deque(map(float, state), maxlen=LATEST)

    @property
    def is_known(self) -> bool:
        return len(self._logs) >= self._needed

    @property
    def factor(self) -> float:
        """Metres per unit; NaN while not known."""
        return math.exp(median(self._logs)) if self.is_known else math.nan

    @property
    def sigma(self) -> float:
        """Standard deviation of `factor`, metres per unit; NaN while not known."""
        if not self.is_known:
            return math.nan
        middle = median(self._logs)
        spread = SPREAD_OF_MAD * median(abs(value - middle) for value in self._logs)
        return self.factor * MEDIAN_LOSS * spread / math.sqrt(len(self._logs))
