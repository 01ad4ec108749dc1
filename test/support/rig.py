# SPDX-License-Identifier: Apache-2.0
"""A stream's worker in the test's thread, without DDS."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from geometry_msgs.msg import TransformStamped
from numpy.typing import NDArray
from tf2_msgs.msg import TFMessage

from infinitevggt_core import StreamSession
from infinitevggt_ros.input.camera import Camera
from infinitevggt_ros.input.mailbox import Received
from infinitevggt_ros.msg import StreamStatus
from infinitevggt_ros.node.status import StatusPublisher
from infinitevggt_ros.node.stream_publisher import publishers_of_worlds
from infinitevggt_ros.node.worker import Action, Answer, StreamWorker
from infinitevggt_ros.output.frame_result import FrameResult
from infinitevggt_ros.params.model_loading import load_model
from infinitevggt_ros.params.settings import (
    InputSettings,
    ModelSettings,
    RigSettings,
    Settings,
)
from infinitevggt_ros.stream.stream import Stream
from infinitevggt_ros.topics import NODE_MAP as MAP
from infinitevggt_ros.topics import NODE_ODOMETRY as ODOMETRY
from infinitevggt_ros.topics import NODE_POINTS as POINTS
from infinitevggt_ros.topics import NODE_STATUS as STATUS
from infinitevggt_ros.topics import TF, TF_STATIC, topic_of
from support.camera import OPTICAL_FRAME, film, image_message
from support.recording_node import RecordingNode

SMALL = ModelSettings(image_size=28)
MODEL = load_model(SMALL)
IMAGES = film(6, 28, 28)
UPDATES, PATH = "/infinitevggt/map_updates", "/infinitevggt/path"
MARKERS = "/infinitevggt/markers"


PAIR = Settings(
    model=SMALL,
    input=InputSettings(cameras=("left", "right"), restart_after=2),
    rig=RigSettings(mode="independent"),
)


class Rig:
    """A worker in this thread, and what its streams publish."""

    def __init__(
        self,
        settings: Settings | None = None,
        pose_source: str = "network",
        now_ns: Callable[[], int] = lambda: 0,
        *,
        background: bool = False,
    ) -> None:
        """pose_source: replaces that of the settings; images this small cannot be tracked."""
        settings = settings or Settings(model=SMALL)
        settings = replace(settings, pose=replace(settings.pose, source=pose_source))
        self.sent: list[tuple[str, Any]] = []
        self.warnings: list[str] = []
        wanted = {TF, ODOMETRY, MAP, UPDATES, STATUS, PATH, POINTS, MARKERS}
        self.node: Any = RecordingNode(lambda *sent: self.sent.append(sent), wanted)
        self.publishers = {p.name: p for p in publishers_of_worlds(self.node, settings, self._warn)}
        self.streams = [
            Stream(
                StreamSession(MODEL, settings.memory),
                settings,
                self._warn,
                publisher.robot,
                name=name,
                cameras=publisher.cameras,
                now_ns=now_ns,
                background=background,
            )
            for name, publisher in self.publishers.items()
        ]
        self.stream = self.streams[0]
        self.publisher = self.publishers[self.stream.name]
        self.cameras = {
            name: Camera(name, f"/{topic_of(name, 'image')}", settings.input, self._warn)
            for name in settings.input.camera_names
        }
        status = StatusPublisher(self.node, settings.model)
        self.worker = StreamWorker(lambda: self.streams, self.publishers, status, self._warn)
        self.worker.streams = self.streams
        self.worker.is_active = True
        self.count = 0
        """Number of images that `push` took."""

    def _warn(self, kind: str, text: str) -> None:
        self.warnings.append(text)

    def push(self, count: int) -> None:
        for _ in range(count):
            self.take(IMAGES[self.count % 6], 10**9 * (1 + self.count))
            self.count += 1

    def take(self, pixels: NDArray[np.uint8], stamp_ns: int, camera: str = "") -> FrameResult:
        """One image. Raises BadInputError."""
        message = image_message(pixels, stamp_ns)
        result = self.stream.process(Received(message, 0.0, self.cameras[camera]))
        self.publisher.publish(self.stream, result)
        self.stream.measure_scale()
        self.pass_time()
        return result

    def pass_time(self) -> None:
        """Run the work that the worker does between two frames."""
        self.publisher.publish_periodic(self.stream)
        self.stream.save_periodic()

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
        while self.worker.step():
            pass

    def ask(self, action: Action) -> Answer:
        answer = self.worker.submit(action)
        self.worker.step()
        result = answer.result()
        assert result is not None
        return result

    def hear_tf(self, *transforms: TransformStamped, static: bool = False) -> None:
        """Messages of the robot on /tf or /tf_static."""
        self.node.subscriptions[TF_STATIC if static else TF](TFMessage(transforms=transforms))

    def fire_timers(self) -> None:
        for callback in self.node.timers:
            callback()

    @property
    def contents(self) -> tuple[object, ...]:
        """Everything that a refused change must leave as it was."""
        stream = self.stream
        return stream.session, stream.map, *stream.trajectories.values(), len(self.sent)

    def messages(self, topic: str) -> list[Any]:
        return [message for name, message in self.sent if name == topic]

    @property
    def transforms(self) -> list[TransformStamped]:
        return [transform for message in self.messages(TF) for transform in message.transforms]

    @property
    def statuses(self) -> list[StreamStatus]:
        return self.messages(STATUS)

    @property
    def updates(self) -> list[int]:
        """Return the number of points of each update."""
        return [message.width for message in self.messages(UPDATES)]
