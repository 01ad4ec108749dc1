# SPDX-License-Identifier: Apache-2.0
"""A stream's worker in the test's thread, without DDS."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from infinitevggt_core import StreamSession
from infinitevggt_ros.evaluation.offline_node import OfflineNode
from infinitevggt_ros.input.camera import Camera
from infinitevggt_ros.input.mailbox import Received
from infinitevggt_ros.msg import StreamStatus
from infinitevggt_ros.node.status import StreamReport
from infinitevggt_ros.node.worker import StreamWorker
from infinitevggt_ros.output.map_publisher import outputs_of_worlds
from infinitevggt_ros.params.model_loading import load_model
from infinitevggt_ros.params.settings import InputSettings, ModelSettings, RigSettings, Settings
from infinitevggt_ros.stream.stream import Stream
from infinitevggt_ros.topics import topic_of
from support.camera import OPTICAL_FRAME, film, image_message

SMALL = ModelSettings(image_size=28)
MODEL = load_model(SMALL)
IMAGES = film(6, 28, 28)
TF, ODOMETRY = "/tf", "/infinitevggt/odometry"
MAP = "/infinitevggt/map"
UPDATES, STATUS = "/infinitevggt/map_updates", "/infinitevggt/status"


PAIR = Settings(
    model=SMALL,
    input=InputSettings(cameras=("left", "right"), restart_after=2),
    rig=RigSettings(mode="independent"),
)


class Rig:
    """A worker in this thread, and what its stream publishes."""

    def __init__(self, settings: Settings | None = None) -> None:
        settings = settings or Settings(model=SMALL)
        self.sent: list[tuple[str, Any]] = []
        self.warnings: list[str] = []
        node = OfflineNode(
            lambda topic, message: self.sent.append((topic, message)),
            {TF, ODOMETRY, MAP, UPDATES, STATUS},
        )
        self.streams = [
            Stream(StreamSession(MODEL, settings.memory), settings, outputs, self._warn)
            for outputs in outputs_of_worlds(node, settings, self._warn)
        ]
        self.stream = self.streams[0]
        self.cameras = {
            name: Camera(name, f"/{topic_of(name, 'image')}", settings.input, self._warn)
            for name in settings.input.camera_names
        }
        report = StreamReport(node, settings.model)
        self.worker = StreamWorker(lambda: self.streams, report, self._warn)
        self.worker.streams = self.streams
        self.worker.is_active = True
        self._count = 0

    def _warn(self, _: str, text: str) -> None:
        self.warnings.append(text)

    def push(self, count: int) -> None:
        for _ in range(count):
            self.take(IMAGES[self._count % 6], 10**9 * (1 + self._count))
            self._count += 1

    def take(self, pixels: NDArray[np.uint8], stamp_ns: int, camera: str = "") -> None:
        """One image. Raises BadInputError."""
        message = image_message(pixels, stamp_ns)
        self.stream.process(Received(message, 0.0, self.cameras[camera]))
        self.stream.do_what_is_due()

    def take_together(
        self,
        images: dict[str, NDArray[np.uint8]],
        stamp_ns: int,
        frame_ids: str = OPTICAL_FRAME,
    ) -> None:
        """An image of each camera, as the worker takes what waits for it. frame_ids: with {} for
        the camera's name."""
        for name, pixels in images.items():
            message = image_message(pixels, stamp_ns, frame_id=frame_ids.format(name))
            self.worker.receive(message, self.cameras[name])
        while turn := self.worker._next():
            self.worker._process(turn)

    def ask(self, action: Callable[[Stream], str]) -> tuple[bool, str]:
        answer = self.worker.submit(action)
        self.worker._serve_requests()
        return answer.result()

    @property
    def what_it_holds(self) -> tuple[object, ...]:
        stream = self.stream
        return stream.session, stream.map, *stream.trajectories.values(), len(self.sent)

    @property
    def statuses(self) -> list[StreamStatus]:
        return [message for topic, message in self.sent if topic == STATUS]

    @property
    def updates(self) -> list[int]:
        """How many points each update had."""
        return [message.width for topic, message in self.sent if topic == UPDATES]
