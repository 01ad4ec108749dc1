# SPDX-License-Identifier: Apache-2.0
"""One slot per camera between the executor and the worker; the newest image wins."""

from dataclasses import dataclass
from threading import Condition

from std_msgs.msg import Header

from infinitevggt_ros.input.camera import Camera
from infinitevggt_ros.input.image_conversion import stamp_ns
from infinitevggt_ros.input.network_image import ImageMessage
from infinitevggt_ros.topics import DEFAULT_FRAME, frame_name


@dataclass(frozen=True, slots=True)
class Received:
    """An image message and its arrival."""

    message: ImageMessage
    time_s: float
    """Time of arrival, seconds of time.monotonic."""
    camera: Camera

    @property
    def stamp_ns(self) -> int:
        """Stamp of the image."""
        return stamp_ns(self.message)

    @property
    def header(self) -> Header:
        """Stamp and optical frame of the image, with the frame's name as tf2 writes it."""
        header = self.message.header
        return Header(stamp=header.stamp, frame_id=frame_name(header.frame_id) or DEFAULT_FRAME)


class Mailbox:
    """`put` never blocks; `take` waits for the newest image of each camera."""

    def __init__(self) -> None:
        self._changed = Condition()
        self._slots: dict[str, Received] = {}  # by the camera's name

    def put(self, received: Received) -> Received | None:
        """Store and count an image; return the image that it replaces, if there is one."""
        camera = received.camera
        with self._changed:
            before = self._slots.get(camera.name)
            self._slots[camera.name] = received
            camera.received += 1
            camera.dropped += before is not None
            self._changed.notify()
            return before

    @property
    def is_empty(self) -> bool:
        """True if no image waits."""
        with self._changed:
            return not self._slots

    def take(self, timeout_s: float) -> list[Received]:
        """Return the newest image of each camera, the oldest stamp first; empty after a timeout."""
        with self._changed:
            self._changed.wait_for(lambda: bool(self._slots), timeout_s)
            taken, self._slots = self._slots, {}
        return sorted(taken.values(), key=lambda received: received.stamp_ns)
