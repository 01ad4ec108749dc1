# SPDX-License-Identifier: Apache-2.0
"""Stand-in for tf2_ros, only what infinitevggt_ros calls: the frames and the ways between them."""

from collections.abc import Iterator

from tf2_ros.exceptions import (
    ConnectivityException,
    ExtrapolationException,
    InvalidArgumentException,
    LookupException,
)
from tf2_ros.history import History, Sample, StaticHistory
from tf2_ros.pose import Pose


class FrameTree:
    """Each frame's samples in its parent. Not thread safe: Buffer holds the lock."""

    def __init__(self, keep_ns: int) -> None:
        self._keep_ns = keep_ns
        self._histories: dict[str, History | StaticHistory] = {}
        self._frames: set[str] = set()

    def insert(self, child: str, sample: Sample, is_static: bool) -> bool:
        """False if the sample is older than what is kept."""
        self._frames |= {child, sample.parent}
        if is_static:
            self._histories[child] = StaticHistory(sample)
            return True
        history = self._histories.get(child)
        if not isinstance(history, History):
            history = self._histories[child] = History(self._keep_ns)
        return history.insert(sample)

    def clear(self) -> None:
        """Drops every sample; static transforms stay, for they are sent only once."""
        self._histories = {c: h for c, h in self._histories.items() if h.is_static}

    def histories(self) -> dict[str, History | StaticHistory]:
        return dict(self._histories)

    def lookup(self, target: str, source: str, stamp_ns: int) -> tuple[Pose, int]:
        """target_from_source and its stamp; stamp 0 asks for the latest that all frames have."""
        if target == source:  # tf2 does not ask whether such a frame exists
            history = self._histories.get(source)
            newest_ns = 0 if history is None or history.is_static else history.newest.stamp_ns
            return Pose.identity(), stamp_ns or newest_ns
        self._require_frame("target_frame", target)
        self._require_frame("source_frame", source)
        stamp_ns = stamp_ns or self._latest_common(target, source)
        up_source, problem = self._ancestors(source, stamp_ns)
        up_target, other_problem = self._ancestors(target, stamp_ns)
        common = next((frame for frame in up_source if frame in up_target), None)
        if common is not None:
            return up_target[common].inverse() @ up_source[common], stamp_ns
        if problem := problem or other_problem:
            message = f"{problem}, when looking up transform from frame [{source}] to [{target}]"
            raise ExtrapolationException(message)
        raise unconnected(target, source)

    def _require_frame(self, argument: str, frame: str) -> None:
        if not frame or frame.startswith("/"):
            raise InvalidArgumentException(f'{argument} "{frame}" is empty or starts with a slash')
        if frame not in self._frames:
            raise LookupException(f'"{frame}" passed as {argument} does not exist')

    def _climb(self, frame: str, stamp_ns: int) -> Iterator[Sample]:
        """The frame's sample at that time, its parent's, and so on to the root."""
        seen = {frame}
        while (history := self._histories.get(frame)) is not None:
            sample = history.at(stamp_ns)
            yield sample
            frame = sample.parent
            if frame in seen:
                raise LookupException(f"the tree of frames has a loop at {frame}")
            seen.add(frame)

    def _ancestors(
        self, frame: str, stamp_ns: int
    ) -> tuple[dict[str, Pose], ExtrapolationException | None]:
        """ancestor_from_frame, nearest first, and what ended the climb before the root."""
        pose = Pose.identity()
        poses = {frame: pose}
        try:
            for sample in self._climb(frame, stamp_ns):
                pose = sample.pose @ pose
                poses[sample.parent] = pose
        except ExtrapolationException as problem:
            # no failure yet: the two frames may meet below this ancestor
            return poses, problem
        return poses, None

    def _latest_common(self, target: str, source: str) -> int:
        """Stamp of the oldest among the newest samples on the way; 0 if all are static."""
        up_target, up_source = (
            {frame, *(sample.parent for sample in self._climb(frame, 0))}
            for frame in (target, source)
        )
        if up_target.isdisjoint(up_source):
            raise unconnected(target, source)
        histories = [self._histories[frame] for frame in up_target ^ up_source]
        stamps = [h.newest.stamp_ns for h in histories if not h.is_static]
        return min(stamps, default=0)


def unconnected(target: str, source: str) -> ConnectivityException:
    return ConnectivityException(
        f"Could not find a connection between '{target}' and '{source}' because they are not "
        "part of the same tree. Tf has two or more unconnected trees."
    )
