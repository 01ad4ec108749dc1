# SPDX-License-Identifier: Apache-2.0
"""Which images stream_node uses, in a process of its own over real DDS."""

import signal

import numpy as np
import pytest
from sensor_msgs.msg import CompressedImage, Image

from infinitevggt_ros.msg import StreamStatus
from infinitevggt_ros.node.node import WARNING_PERIOD_S
from support.camera import Camera, Spawn, film, header, image_message, jpeg_message
from support.listening import Listener, finish

pytestmark = pytest.mark.ros
BAD_INPUTS = {
    "truncated": lambda ns: cut(image_message(film(1)[0], ns), 100),
    "empty": lambda ns: Image(header=header(ns), encoding="rgb8"),
    "encoding": lambda ns: image_message(film(1)[0], ns, "quux8"),
    "depth as picture": lambda ns: image_message(np.ones((48, 64), np.float32), ns, "32FC1"),
    "step": lambda ns: narrow(image_message(film(1)[0], ns)),
    "other size": lambda ns: image_message(film(1, 64, 48)[0], ns),
    "zero stamp": lambda ns: image_message(film(1)[0], 0),
    "stamp back": lambda ns: image_message(film(1)[0], ns - 10**9),
    "sliver": lambda ns: image_message(np.zeros((2, 640, 3), np.uint8), ns),
}


def cut(message: Image, length: int) -> Image:
    message.data = message.data[:length]
    return message


def narrow(message: Image) -> Image:
    message.step = 10
    return message


def test_bad_images_are_refused_one_by_one_and_the_next_good_one_works(
    listener: Listener, spawn: Spawn
) -> None:
    process = spawn("stream_node")
    camera = Camera(listener)
    camera.wait_for_node()
    good, now_ns = film(1)[0], 10**10
    reasons = {}
    assert camera.send(image_message(good, now_ns)).outcome == StreamStatus.PROCESSED
    for kind, make in BAD_INPUTS.items():
        now_ns += 10**8
        bad = camera.send(make(now_ns))
        assert bad.outcome == StreamStatus.REJECTED, kind
        reasons[kind] = bad.last_rejection
        now_ns += 10**8
        assert camera.send(image_message(good, now_ns)).outcome == StreamStatus.PROCESSED, kind
    last = camera.statuses[-1]
    assert last.frames_rejected == len(BAD_INPUTS)
    assert last.frames_processed == last.frame_index == 1 + len(BAD_INPUTS)
    assert last.map_id == 0
    assert all(reason.startswith("/image: image refused, ") for reason in reasons.values())
    assert len(set(reasons.values())) == len(BAD_INPUTS), "each says what was wrong with it"
    process.send_signal(signal.SIGINT)
    code, output = finish(process)
    assert code == 0
    kinds = "truncated", "empty", "'quux8'", "'32FC1'", "cannot hold", "48x64 px", "zero", "before"
    for words in kinds:
        assert any(words in line and "/image" in line for line in output.splitlines()), words


def test_a_kind_of_bad_image_is_warned_of_now_and_then_and_counted_each_time(
    listener: Listener, spawn: Spawn
) -> None:
    process = spawn("stream_node")
    camera = Camera(listener)
    camera.wait_for_node()
    for i in range(20):
        camera.send(image_message(film(1)[0], 10**9 + i, "quux8"))
    assert camera.statuses[-1].frames_rejected == 20
    process.send_signal(signal.SIGINT)
    lines = [line for line in finish(process)[1].splitlines() if "quux8" in line]
    logged_s = [float(line.split("[")[2].split("]")[0]) for line in lines]
    assert logged_s
    # a busy machine takes longer than the period for these images
    assert (np.diff(logged_s) > 0.8 * WARNING_PERIOD_S).all()


def test_pictures_of_unusual_encodings_are_used(camera: Camera) -> None:
    """The node reads each message by its own encoding."""
    kinds = {
        "mono16": np.full((48, 64), 40_000, np.uint16),
        "bayer_rggb8": np.full((48, 64), 90, np.uint8),
        "bgra8": np.full((48, 64, 4), 90, np.uint8),
        "mono8": np.full((48, 64), 90, np.uint8),
        "8UC3": np.full((48, 64, 3), 90, np.uint8),
    }
    for number, (encoding, pixels) in enumerate(kinds.items()):
        status = camera.send(image_message(pixels, 10**9 + number, encoding))
        assert status.outcome == StreamStatus.PROCESSED, encoding


def test_a_looped_bag_restarts_the_stream_instead_of_silencing_it(camera: Camera) -> None:
    images = film(4)
    camera.send_film(images, start_ns=10**11)
    outcomes = [camera.send(image_message(images[0], 10**9 + i * 10**8)) for i in range(12)]
    refused = [status.outcome == StreamStatus.REJECTED for status in outcomes]
    assert refused == [True] * 4 + [False] * 8
    assert outcomes[-1].map_id == 1
    assert outcomes[-1].frame_index == 8


def test_a_camera_that_stays_at_another_size_is_believed(camera: Camera) -> None:
    camera.send_film(film(2), start_ns=10**9)
    other = film(1, 64, 48)[0]
    outcomes = [camera.send(image_message(other, 10**10 + i)) for i in range(6)]
    assert [status.map_id for status in outcomes] == [0] * 4 + [1] * 2
    assert outcomes[-1].outcome == StreamStatus.PROCESSED


def test_jpeg_images_work_and_damaged_ones_are_refused(listener: Listener, spawn: Spawn) -> None:
    spawn("stream_node", "--ros-args", "-p", "image_transport:=compressed")
    camera = Camera(listener, CompressedImage, "/image/compressed")
    camera.wait_for_node()
    pixels = film(1)[0]
    assert camera.send(jpeg_message(pixels, 10**9)).outcome == StreamStatus.PROCESSED
    damaged = jpeg_message(pixels, 2 * 10**9)
    damaged.data = damaged.data[20:60]
    assert camera.send(damaged).outcome == StreamStatus.REJECTED
    assert camera.send(CompressedImage(header=header(3 * 10**9))).outcome == StreamStatus.REJECTED
    assert camera.send(jpeg_message(pixels, 4 * 10**9)).outcome == StreamStatus.PROCESSED


def test_the_newest_image_wins_and_replaced_ones_are_counted(
    listener: Listener, spawn: Spawn
) -> None:
    spawn("stream_node", "--ros-args", "-p", "model.image_size:=448")  # a frame takes its time
    camera = Camera(listener)
    camera.wait_for_node()
    pixels = film(1, 240, 320)[0]
    camera.send(image_message(pixels, 10**9))
    sent = 0

    def another_until_one_is_dropped() -> bool:
        nonlocal sent
        sent += 1
        camera.publisher.publish(image_message(pixels, 10**9 + sent))
        return camera.statuses[-1].frames_dropped > 0

    camera.listener.spin_until(another_until_one_is_dropped)
    # the last one is never the one that is dropped
    camera.listener.spin_until(lambda: camera.statuses[-1].header.stamp.nanosec == sent)
    camera.listener.spin_until(lambda: camera.statuses[-1].outcome == StreamStatus.PROCESSED)
    last = camera.statuses[-1]
    assert last.frames_received == last.frames_processed + last.frames_dropped
    assert last.header.stamp.nanosec == sent
