# SPDX-License-Identifier: Apache-2.0
"""Admission of images to a stream: stamps advance, sizes stay."""

from collections import defaultdict
from dataclasses import dataclass, field

from infinitevggt_ros.params.settings import TimeSettings


class BadInputError(Exception):
    """An image that cannot be used. `kind` is one of a few words, for throttling; the message gives
    the reason."""

    def __init__(self, kind: str, reason: str) -> None:
        super().__init__(reason)
        self.kind = kind


class DifferentImageError(BadInputError):
    """An image that is older than its predecessors or has another size. Several in a row restart
    the stream."""


@dataclass(slots=True)
class _Camera:
    """State of the gate for one camera."""

    stamp_ns: int = 0
    size: tuple[int, int] | None = None
    refused_stamp_ns: int = 0


Snapshot = tuple[int, dict[str, tuple[int, tuple[int, int] | None, int]]]


@dataclass(slots=True)
class ImageGate:
    """Refuses images with a zero stamp, a stamp that does not advance or lies ahead, or another
    size. Each camera is compared with its own previous images.

    After `restart_after` different images in a row (a camera restarted, a bag loops) the stream
    restarts with them, unless images of another camera still enter. Older stamps restart the stream
    only if `time.on_jump` allows it.
    """

    restart_after: int
    time: TimeSettings
    _cameras: defaultdict[str, _Camera] = field(default_factory=lambda: defaultdict(_Camera))
    _refused_in_a_row: int = 0

    def check(self, stamp_ns: int, size: tuple[int, int], now_ns: int, camera: str = "") -> str:
        """Return why the stream must restart with this image; empty if the image just enters.

        Changes nothing: call `admit` for an image that entered and `refuse` for one that raised.

        Args:
            stamp_ns: Stamp of the image.
            size: Height and width of the image, px.
            now_ns: Time of the node's clock; 0 if it is unknown.
            camera: Name of the camera.

        Raises:
            DifferentImageError: The image is older than its predecessor or has another size.
            BadInputError: The stamp is zero or lies ahead of the clock.
        """
        if stamp_ns <= 0:
            raise BadInputError("zero stamp", "its stamp is zero, or below")
        ahead_s = (stamp_ns - now_ns) / 1e9
        if now_ns > 0 and ahead_s > self.time.max_ahead:
            raise BadInputError(
                "future stamp",
                f"its stamp is {ahead_s:.1f} s ahead of the node's clock: synchronise the clocks, "
                "or raise time.max_ahead",
            )
        known = self._cameras.get(camera, _Camera())
        problem = _problem(known, stamp_ns, size)
        if problem is None:
            return ""
        if problem.kind == "stamp back" and self.time.on_jump == "refuse":
            raise BadInputError(problem.kind, str(problem))
        if self._run_with(known, stamp_ns) < self.restart_after:
            raise problem
        if problem.kind == "stamp back":
            return f"time went back by {(known.stamp_ns - stamp_ns) / 1e9:.1f} s"
        return f"the images stay different, {problem}"

    def admit(self, stamp_ns: int, size: tuple[int, int], camera: str = "") -> None:
        """Record an image that entered."""
        known = self._cameras[camera]
        known.stamp_ns, known.size, self._refused_in_a_row = stamp_ns, size, 0

    def refuse(self, stamp_ns: int, camera: str = "") -> None:
        """Record an image for which `check` raised DifferentImageError."""
        known = self._cameras[camera]
        self._refused_in_a_row = self._run_with(known, stamp_ns)
        known.refused_stamp_ns = stamp_ns

    def state(self) -> Snapshot:
        """Return a snapshot for `restore`."""
        return self._refused_in_a_row, {
            name: (known.stamp_ns, known.size, known.refused_stamp_ns)
            for name, known in self._cameras.items()
        }

    def restore(self, state: Snapshot) -> None:
        """Continue from a snapshot."""
        self._refused_in_a_row, cameras = state
        for name, (stamp_ns, size, refused_stamp_ns) in cameras.items():
            self._cameras[name] = _Camera(stamp_ns, size, refused_stamp_ns)

    def forget_time(self) -> None:
        """Accept any stamp next; sizes stay as they are."""
        self._refused_in_a_row = 0
        for known in self._cameras.values():
            known.stamp_ns = 0

    def reset(self) -> None:
        """Accept any image next."""
        self._refused_in_a_row = 0
        self._cameras.clear()

    def _run_with(self, known: _Camera, stamp_ns: int) -> int:
        """Return the number of refused images in a row with this one, whose stamps advance."""
        ordered = self._refused_in_a_row == 0 or stamp_ns > known.refused_stamp_ns
        return self._refused_in_a_row + 1 if ordered else 1


def _problem(known: _Camera, stamp_ns: int, size: tuple[int, int]) -> DifferentImageError | None:
    if stamp_ns <= known.stamp_ns:
        late_ns = known.stamp_ns - stamp_ns
        where = f"{late_ns / 1e6:.1f} ms before the last image's" if late_ns else "the last image's"
        return DifferentImageError("stamp back", f"its stamp is {where}")
    if known.size is not None and size != known.size:
        (height, width), (h, w) = size, known.size
        return DifferentImageError(
            "size change", f"it has {width}x{height} px where the stream has {w}x{h}"
        )
    return None
