# SPDX-License-Identifier: Apache-2.0
"""A camera driver for tests: image messages of any kind, sent from this process."""

import struct
from array import array
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
from builtin_interfaces.msg import Time
from numpy.typing import NDArray
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_msgs.msg import Header

from infinitevggt_core.worlds import World
from infinitevggt_ros.msg import StreamStatus
from support.listening import Listener

NODE = "/infinitevggt"
STATUS = f"{NODE}/status"
OPTICAL_FRAME = "camera_optical_frame"


def film(count: int, height: int = 48, width: int = 64) -> list[NDArray[np.uint8]]:
    """RGB images of a synthetic room."""
    frames = World(10_000, "easy").sequence(count, height, width)
    return [(frame.image * 255).byte().permute(1, 2, 0).numpy().copy() for frame in frames]


def header(stamp_ns: int, frame_id: str = OPTICAL_FRAME) -> Header:
    sec, nanosec = divmod(stamp_ns, 10**9)
    return Header(stamp=Time(sec=sec, nanosec=nanosec), frame_id=frame_id)


def image_message(
    pixels: NDArray[Any], stamp_ns: int, encoding: str = "rgb8", frame_id: str = OPTICAL_FRAME
) -> Image:
    """sensor_msgs/Image with the array's bytes, whatever the encoding claims."""
    message = Image(header=header(stamp_ns, frame_id), encoding=encoding)
    message.height, message.width = pixels.shape[:2]
    message.step = pixels.strides[0]
    data = array("B")
    data.frombytes(pixels.tobytes())
    message.data = data
    return message


def jpeg_message(pixels: NDArray[np.uint8], stamp_ns: int) -> CompressedImage:
    encoded = cv2.imencode(".jpg", pixels[..., ::-1])[1].tobytes()
    message = CompressedImage(header=header(stamp_ns), format="rgb8; jpeg compressed bgr8")
    message.data = array("B", encoded)
    return message


def info_message(height: int, width: int, stamp_ns: int) -> CameraInfo:
    message = CameraInfo(header=header(stamp_ns), height=height, width=width)
    focal_px = 0.7 * width
    message.k = [focal_px, 0.0, width / 2, 0.0, focal_px, height / 2, 0.0, 0.0, 1.0]
    return message


class Camera:
    """Publishes images and waits for the node's word on each."""

    def __init__(
        self,
        listener: Listener,
        message_type: Any = Image,
        topic: str = "/image",
        name: str = "",
    ) -> None:
        """name: of a rig's camera."""
        self.listener = listener
        self.name = name
        self.publisher = listener.node.create_publisher(message_type, topic, 10)
        self.statuses: list[StreamStatus] = listener.listen(StreamStatus, STATUS)

    def wait_for_node(self) -> None:
        """Until the node listens, and is heard."""
        self.listener.spin_until(
            lambda: self.publisher.get_subscription_count() > 0
            and self.listener.node.count_publishers(STATUS) > 0,
        )
        self.listener.meet(NODE)

    def send(self, message: Any) -> StreamStatus:
        """The node's status on this very message."""
        before = len(self.statuses)
        self.publisher.publish(message)
        answers: list[StreamStatus] = []

        def answered() -> bool:
            stamp, heard = message.header.stamp, self.statuses[before:]
            answers[:] = [s for s in heard if (s.header.stamp, s.camera) == (stamp, self.name)]
            return bool(answers)

        self.listener.spin_until(answered)
        return answers[-1]

    def send_film(
        self, images: list[NDArray[np.uint8]], start_ns: int = 10**9, step_ns: int = 10**8
    ) -> StreamStatus:
        """The node's status on the last of them."""
        for i, pixels in enumerate(images):
            status = self.send(image_message(pixels, start_ns + i * step_ns))
        return status


def rgb_values(packed: float) -> tuple[int, int, int]:
    """Red, green, blue of a PointCloud2 rgb field."""
    blue, green, red, _ = struct.pack("<f", packed)
    return red, green, blue


Spawn = Callable[..., Any]
