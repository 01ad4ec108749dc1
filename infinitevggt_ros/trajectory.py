"""The poses so far, bounded: a full path keeps every second one."""

from geometry_msgs.msg import PoseStamped


class Trajectory:
    """From the first pose to the latest, evenly thinned."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Start again."""
        self._kept: list[PoseStamped] = []  # every stride-th
        self._latest: list[PoseStamped] = []
        self._stride, self._added = 1, 0

    @property
    def poses(self) -> list[PoseStamped]:
        """Oldest first."""
        return self._kept + self._latest

    def add(self, pose: PoseStamped, most: int) -> None:
        """Add the latest pose; never keep more than `most`, which is 2 or above."""
        is_kept = self._added % self._stride == 0
        if is_kept:
            self._kept.append(pose)
        self._latest = [] if is_kept else [pose]
        self._added += 1
        while len(self.poses) > most:
            self._kept = self._kept[::2]
            self._stride *= 2
            self._latest = [] if self._kept[-1] is pose else [pose]
