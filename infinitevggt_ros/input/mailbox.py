# SPDX-License-Identifier: Apache-2.0
"""A slot per camera between the executor and the worker: the newest image wins."""

from dataclasses import dataclass
from threading import Condition

from infinitevggt_ros.input.camera import Camera
from infinitevggt_ros.input.image_conversion import stamp_ns
from infinitevggt_ros.input.intake import ImageMessage


@dataclass(frozen=True, slots=True)
class Received:
    """An image, when it came, in seconds of time.monotonic, and whose it is."""

    message: ImageMessage
    time_s: float
    camera: Camera


class Mailbox:
    """`put` never blocks; `take` waits for the newest image of each camera."""

    def __init__(self) -> None:
        self._changed = Condition()
        self._slots: dict[str, Received] = {}  # by the camera's name

    def put(self, received: Received) -> Received | None:
        """Leave an image, and count it; returns the one it replaced, if that had not been taken."""
        camera = received.camera
        with self._changed:
            before = self._slots.get(camera.name)
            self._slots[camera.name] = received
            camera.received += 1
            camera.dropped += before is not None
            self._changed.notify()
            return before

    def take(self, timeout_s: float) -> list[Received]:
        """The newest image of each camera that sent one, the oldest stamp first; empty when none
        came in time."""
        with self._changed:
            self._changed.wait_for(lambda: bool(self._slots), timeout_s)
            taken, self._slots = self._slots, {}
        return sorted(taken.values(), key=lambda received: stamp_ns(received.message))
