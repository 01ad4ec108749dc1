"""One slot between the executor and the worker: the newest image wins."""

from dataclasses import dataclass
from threading import Condition
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Received(Generic[T]):
    """A message and when it came, in seconds of time.monotonic."""

    message: T
    time_s: float


class Mailbox(Generic[T]):
    """`put` never blocks; `take` waits for the newest message."""

    def __init__(self) -> None:
        self._changed = Condition()
        self._slot: T | None = None
        self.received = 0
        """Messages ever put in."""
        self.replaced = 0
        """Messages that a newer one replaced before they were taken."""

    def put(self, item: T) -> T | None:
        """Leave an item; returns the one it replaced, if that had not been taken."""
        with self._changed:
            before, self._slot = self._slot, item
            self.received += 1
            self.replaced += before is not None
            self._changed.notify()
            return before

    def take(self, timeout_s: float) -> T | None:
        """The newest item, or None when none came in time."""
        with self._changed:
            self._changed.wait_for(lambda: self._slot is not None, timeout_s)
            item, self._slot = self._slot, None
            return item
