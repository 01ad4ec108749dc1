"""The poses so far, bounded: a full path keeps every second one."""

from geometry_msgs.msg import PoseStamped


class Trajectory:
    """From the first pose to the latest, evenly thinned, never more than `most` poses."""

    def __init__(self) -> None:
        self.poses: list[PoseStamped] = []
        self._stride = 1
        self._skipped = 0

    def add(self, pose: PoseStamped, most: int) -> None:
        """Add the latest pose; of older ones only every stride-th stays."""
        if self._skipped:  # the last one was there only for being the latest
            self.poses.pop()
        self.poses.append(pose)
        self._skipped = (self._skipped + 1) % self._stride
        while len(self.poses) > most:
            latest = self.poses[-1]
            self.poses = self.poses[:-1:2]
            self.poses.append(latest)
            self._stride *= 2
            self._skipped = 1

    def clear(self) -> None:
        self.__init__()  # type: ignore[misc]
