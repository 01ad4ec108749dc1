# SPDX-License-Identifier: Apache-2.0
"""Stand-in for tf2_ros, only what infinitevggt_ros calls: the samples of one child frame."""

from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from operator import attrgetter

from tf2_ros.exceptions import ExtrapolationException
from tf2_ros.pose import Pose

MAX_SAMPLES = 10_000  # 1 kHz for the default 10 s; the oldest go first
STAMP = attrgetter("stamp_ns")


@dataclass(frozen=True, slots=True)
class Sample:
    stamp_ns: int
    parent: str
    authority: str
    pose: Pose
    """parent_from_child"""


class History:
    """Samples of the last `keep_ns`, sorted by stamp; never empty once used."""

    is_static = False

    def __init__(self, keep_ns: int) -> None:
        self._keep_ns = keep_ns
        self._samples: list[Sample] = []

    def __len__(self) -> int:
        return len(self._samples)

    @property
    def newest(self) -> Sample:
        return self._samples[-1]

    @property
    def oldest(self) -> Sample:
        return self._samples[0]

    def insert(self, sample: Sample) -> bool:
        """False if it is older than what is kept. A second one of one stamp replaces the first."""
        samples = self._samples
        if samples:  # as in tf2, before the new one: after a gap there is still a sample before it
            kept_ns = samples[-1].stamp_ns - self._keep_ns
            del samples[: bisect_left(samples, kept_ns, key=STAMP)]
            if sample.stamp_ns < kept_ns:
                return False
        index = bisect_left(samples, sample.stamp_ns, key=STAMP)
        same = index < len(samples) and samples[index].stamp_ns == sample.stamp_ns
        samples[index : index + same] = [sample]
        del samples[: max(0, len(samples) - MAX_SAMPLES)]
        return True

    def at(self, stamp_ns: int) -> Sample:
        """Interpolated sample; 0 means the newest. ExtrapolationException outside the samples."""
        if stamp_ns == 0:
            return self.newest
        self._require_inside(stamp_ns)
        index = bisect_right(self._samples, stamp_ns, key=STAMP)
        before = self._samples[index - 1]
        if before.stamp_ns == stamp_ns:
            return before
        after = self._samples[index]
        if before.parent != after.parent:  # there is no way between two parents
            return before
        fraction = (stamp_ns - before.stamp_ns) / (after.stamp_ns - before.stamp_ns)
        pose = before.pose.towards(after.pose, fraction)
        return Sample(stamp_ns, before.parent, before.authority, pose)

    def _require_inside(self, stamp_ns: int) -> None:
        late = stamp_ns > self.newest.stamp_ns
        if not late and stamp_ns >= self.oldest.stamp_ns:
            return
        where, end, known = ("past", "earliest", self.oldest)
        if late:
            where, end, known = ("future", "latest", self.newest)
        raise ExtrapolationException(
            f"Lookup would require extrapolation into the {where}. Requested time "
            f"{stamp_ns / 1e9:.6f} but the {end} data is at time {known.stamp_ns / 1e9:.6f}"
        )


class StaticHistory:
    """The one sample of a static transform; it holds at every time."""

    is_static = True

    def __init__(self, sample: Sample) -> None:
        self.newest = self.oldest = sample

    def __len__(self) -> int:
        return 1

    def at(self, stamp_ns: int) -> Sample:
        return self.newest
