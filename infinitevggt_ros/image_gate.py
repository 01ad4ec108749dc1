"""Which images may enter the stream: time goes forward, the size stays."""

from dataclasses import dataclass

from infinitevggt_ros.settings import TimeSettings


class BadInputError(Exception):
    """An image that cannot be used. `kind` is one of a few words, for throttling; the text says
    what was wrong."""

    def __init__(self, kind: str, reason: str) -> None:
        super().__init__(reason)
        self.kind = kind


@dataclass(slots=True)
class ImageGate:
    """Refuses zero stamps, stamps that do not advance or lie ahead, and images of another size.

    A camera that stays different for `restart_after` images in a row (it was restarted, or a bag
    loops) is believed: the stream then restarts with it. Older stamps are only if the settings say
    so.
    """

    restart_after: int
    time: TimeSettings
    _stamp_ns: int = 0
    _size: tuple[int, int] | None = None
    _refused_in_a_row: int = 0
    _refused_stamp_ns: int = 0

    def check(self, stamp_ns: int, size: tuple[int, int], now_ns: int) -> str:
        """Raise BadInputError, or say why the stream must restart with this image; empty: it need
        not.

        size: height, width in px. now_ns: the node's clock; 0 while that is not known.
        """
        if stamp_ns <= 0:
            raise BadInputError("zero stamp", "its stamp is zero")
        ahead_s = (stamp_ns - now_ns) / 1e9
        if now_ns > 0 and ahead_s > self.time.max_ahead:
            raise BadInputError(
                "future stamp",
                f"its stamp is {ahead_s:.1f} s ahead of the node's clock: synchronise the clocks, "
                "or raise time.max_ahead",
            )
        problem = self._problem(stamp_ns, size)
        if problem is None:
            return ""
        if problem.kind == "stamp back" and self.time.on_jump == "refuse":
            raise problem
        # a run counts while its own stamps advance
        ordered = self._refused_in_a_row == 0 or stamp_ns > self._refused_stamp_ns
        self._refused_in_a_row = self._refused_in_a_row + 1 if ordered else 1
        self._refused_stamp_ns = stamp_ns
        if self._refused_in_a_row < self.restart_after:
            raise problem
        if problem.kind == "stamp back":
            return f"time went back by {(self._stamp_ns - stamp_ns) / 1e9:.1f} s"
        return f"the images stay different, {problem}"

    def admit(self, stamp_ns: int, size: tuple[int, int]) -> None:
        """Remember the image that entered."""
        self._stamp_ns, self._size, self._refused_in_a_row = stamp_ns, size, 0

    def state(self) -> tuple[int, tuple[int, int] | None, int, int]:
        """What `restore` goes on from."""
        return self._stamp_ns, self._size, self._refused_in_a_row, self._refused_stamp_ns

    def restore(self, state: tuple[int, tuple[int, int] | None, int, int]) -> None:
        self._stamp_ns, self._size, self._refused_in_a_row, self._refused_stamp_ns = state

    def forget_time(self) -> None:
        """Images of any time may come next, of the size as before."""
        self._stamp_ns, self._refused_in_a_row = 0, 0

    def forget(self) -> None:
        """The stream was reset: any image may come next."""
        self._stamp_ns, self._size, self._refused_in_a_row = 0, None, 0

    def _problem(self, stamp_ns: int, size: tuple[int, int]) -> BadInputError | None:
        if stamp_ns <= self._stamp_ns:
            late_ms = (self._stamp_ns - stamp_ns) / 1e6
            return BadInputError(
                "stamp back", f"its stamp is {late_ms:.1f} ms before the last image's"
            )
        if self._size is not None and size != self._size:
            (height, width), (h, w) = size, self._size
            return BadInputError(
                "size change", f"it has {width}x{height} px where the stream has {w}x{h}"
            )
        return None
