# SPDX-License-Identifier: Apache-2.0
"""Between the executor and the worker: one slot per camera, the newest image wins."""

import numpy as np

from infinitevggt_ros.input.camera import Camera
from infinitevggt_ros.input.image_conversion import stamp_ns
from infinitevggt_ros.input.mailbox import Mailbox, Received
from infinitevggt_ros.params.settings import InputSettings
from support.camera import image_message

PIXELS = np.zeros((2, 2, 3), np.uint8)


def camera(name: str) -> Camera:
    return Camera(name, f"/{name}/image", InputSettings(), lambda kind, text: None)


def image(camera: Camera, stamp_ns: int) -> Received:
    return Received(image_message(PIXELS, stamp_ns), 0.0, camera)


def test_the_newest_image_wins_and_the_replaced_are_counted() -> None:
    box, front = Mailbox(), camera("")
    images = [image(front, stamp) for stamp in (1, 2, 3)]
    assert [box.put(received) for received in images] == [None, *images[:2]]
    assert box.take(0) == [images[2]]
    assert box.take(0) == []
    assert (front.received, front.dropped) == (3, 2)


def test_cameras_replace_their_own_images_only_and_come_by_stamp() -> None:
    box, left, right = Mailbox(), camera("left"), camera("right")
    for received in (image(left, 4), image(right, 3), image(left, 5), image(left, 6)):
        box.put(received)
    assert [(r.camera.name, stamp_ns(r.message)) for r in box.take(0)] == [
        ("right", 3),
        ("left", 6),
    ]
    assert (left.dropped, right.dropped) == (2, 0)
