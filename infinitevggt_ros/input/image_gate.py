# SPDX-License-Identifier: Apache-2.0
"""Which images may enter the stream: time goes forward, the size stays."""

from collections import defaultdict
from dataclasses import dataclass, field

from infinitevggt_ros.params.settings import TimeSettings


class BadInputError(Exception):
    """An image that cannot be used. `kind` is one of a few words, for throttling; the text says
    what was wrong."""

    def __init__(self, kind: str, reason: str) -> None:
        super().__init__(reason)
        self.kind = kind


@dataclass(slots=True)
class _Camera:
    """What the gate knows of one camera."""

    stamp_ns: int = 0
    size: tuple[int, int] | None = None
    refused_stamp_ns: int = 0


Snapshot = tuple[int, dict[str, tuple[int, tuple[int, int] | None, int]]]


@dataclass(slots=True)
class ImageGate:
    """Refuses zero stamps, stamps that do not advance or lie ahead, and images of another size:
    for each camera by its own images before.

    Cameras that stay different for `restart_after` images in a row (they were restarted, or a bag
    loops) are believed: the stream then restarts with them. As long as images of one of them enter,
    none restarts it. Older stamps are believed only if the settings say so.
    """

    restart_after: int
    time: TimeSettings
    _cameras: defaultdict[str, _Camera] = field(default_factory=lambda: defaultdict(_Camera))
    _refused_in_a_row: int = 0

    def check(self, stamp_ns: int, size: tuple[int, int], now_ns: int, camera: str = "") -> str:
        """Raise BadInputError, or say why the stream must restart with this image; empty: it need
        not.

        size: height, width in px. now_ns: the node's clock; 0 while that is not known. camera: its
        name.
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
        known = self._cameras[camera]
        problem = _problem(known, stamp_ns, size)
        if problem is None:
            return ""
        if problem.kind == "stamp back" and self.time.on_jump == "refuse":
            raise problem
        # a run counts while its own stamps advance
        ordered = self._refused_in_a_row == 0 or stamp_ns > known.refused_stamp_ns
        self._refused_in_a_row = self._refused_in_a_row + 1 if ordered else 1
        known.refused_stamp_ns = stamp_ns
        if self._refused_in_a_row < self.restart_after:
            raise problem
        if problem.kind == "stamp back":
            return f"time went back by {(known.stamp_ns - stamp_ns) / 1e9:.1f} s"
        return f"the images stay different, {problem}"

    def admit(self, stamp_ns: int, size: tuple[int, int], camera: str = "") -> None:
        """Remember the image that entered."""
        known = self._cameras[camera]
        known.stamp_ns, known.size, self._refused_in_a_row = stamp_ns, size, 0

    def state(self) -> Snapshot:
        """What `restore` goes on from."""
        return self._refused_in_a_row, {
            name: (known.stamp_ns, known.size, known.refused_stamp_ns)
            for name, known in self._cameras.items()
        }

    def restore(self, state: Snapshot) -> None:
        self._refused_in_a_row, cameras = state
        for name, (stamp_ns, size, refused_stamp_ns) in cameras.items():
            self._cameras[name] = _Camera(stamp_ns, size, refused_stamp_ns)

    def forget_time(self) -> None:
        """Images of any time may come next, of the size as before."""
        self._refused_in_a_row = 0
        for known in self._cameras.values():
            known.stamp_ns = 0

    def forget(self) -> None:
        """The stream was reset: any image may come next."""
        self._refused_in_a_row = 0
        self._cameras.clear()


def _problem(known: _Camera, stamp_ns: int, size: tuple[int, int]) -> BadInputError | None:
    if stamp_ns <= known.stamp_ns:
        late_ns = known.stamp_ns - stamp_ns
        where = f"{late_ns / 1e6:.1f} ms before the last image's" if late_ns else "the last image's"
        return BadInputError("stamp back", f"its stamp is {where}")
    if known.size is not None and size != known.size:
        (height, width), (h, w) = size, known.size
        return BadInputError(
            "size change", f"it has {width}x{height} px where the stream has {w}x{h}"
        )
    return None
