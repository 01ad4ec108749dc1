# SPDX-License-Identifier: Apache-2.0
"""`infinitevggt replay` as a process of its own, heard from this one."""

import signal
import time
import zlib
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import get_types_from_msg

from infinitevggt_ros.bags.image_bag import ImageBag
from infinitevggt_ros.bags.image_source import SourceImage
from infinitevggt_ros.bags.message_types import typestore_with
from infinitevggt_ros.bags.player import BagPlayer, PlayOptions
from infinitevggt_ros.bags.writer import BagWriter
from infinitevggt_ros.commands.cli import main
from support.bag_making import (
    IMAGE_TOPIC,
    START_NS,
    noise,
    stamp_ns,
    write_image_bag,
    write_static_transform,
)
from support.listening import Listener, finish

pytestmark = pytest.mark.ros


@pytest.mark.parametrize("size", [(480, 640), (1080, 1920)])
def test_every_image_arrives_unchanged(
    tmp_path: Path, listener: Listener, replay: Callable[..., Any], size: tuple[int, int]
) -> None:
    from sensor_msgs.msg import Image

    count = 15
    bag = write_image_bag(tmp_path / "a.mcap", count, rate_hz=15, size=size)
    images = listener.listen(Image, IMAGE_TOPIC)
    process = replay(bag)
    listener.spin_until(lambda: len(images) == count)
    status, output = finish(process)
    assert status == 0
    assert f"sent {count} messages ({IMAGE_TOPIC} {count})" in output
    assert "all acknowledged" in output
    assert [stamp_ns(image) for image in images] == [
        START_NS + index * 10**9 // 15 for index in range(count)
    ]
    assert [zlib.crc32(image.data) for image in images] == [
        zlib.crc32(noise(*size, seed=index)[..., ::-1].tobytes()) for index in range(count)
    ]


def test_rate_makes_the_bag_faster_and_the_clock_too(
    tmp_path: Path, listener: Listener, replay: Callable[..., Any]
) -> None:
    from rosgraph_msgs.msg import Clock
    from sensor_msgs.msg import Image

    arrivals_s: list[float] = []
    listener.node.create_subscription(
        Image, IMAGE_TOPIC, lambda _: arrivals_s.append(time.monotonic()), 10
    )
    clocks = listener.listen(Clock, "/clock")
    process = replay(write_image_bag(tmp_path / "a.mcap", 21), "--rate", 4)
    listener.spin_until(lambda: len(arrivals_s) == 21)
    assert finish(process)[0] == 0
    assert arrivals_s[-1] - arrivals_s[0] == pytest.approx(2.0 / 4, abs=0.25)
    times_ns = [clock.clock.sec * 10**9 + clock.clock.nanosec for clock in clocks]
    assert times_ns == sorted(times_ns)
    assert times_ns[0] == START_NS
    assert len(set(times_ns)) > 30  # 100 Hz of wall time over half a second


def test_a_loop_lets_the_clock_jump_back_and_ctrl_c_ends_it(
    tmp_path: Path, listener: Listener, replay: Callable[..., Any]
) -> None:
    from rosgraph_msgs.msg import Clock
    from sensor_msgs.msg import Image

    images = listener.listen(Image, IMAGE_TOPIC)
    clocks = listener.listen(Clock, "/clock")
    process = replay(write_image_bag(tmp_path / "a.mcap", 4, rate_hz=20), "--loop")
    listener.spin_until(lambda: len(images) > 9)
    process.send_signal(signal.SIGINT)
    time.sleep(0.05)
    process.send_signal(signal.SIGINT)  # a launch file and a terminal each send one
    status, output = finish(process)
    assert status == 130
    assert "stopped before the end" in output
    stamps = [stamp_ns(image) for image in images[:8]]
    assert stamps == [START_NS + index * 50_000_000 for index in range(4)] * 2
    times_ns = [clock.clock.sec * 10**9 + clock.clock.nanosec for clock in clocks]
    assert any(after < before for before, after in pairwise(times_ns))


def test_ctrl_c_while_waiting_for_a_subscriber_leaves_at_once(
    tmp_path: Path, listener: Listener, replay: Callable[..., Any]
) -> None:
    process = replay(write_image_bag(tmp_path / "a.mcap", 3), "--wait-for-subscriber", 60)
    listener.spin_until(lambda: listener.node.count_publishers(IMAGE_TOPIC) > 0)
    process.send_signal(signal.SIGINT)
    status, output = finish(process)
    assert status == 130
    assert f"waiting for a subscriber of {IMAGE_TOPIC}" in output


def test_who_subscribes_late_still_gets_every_static_transform(
    tmp_path: Path, listener: Listener, replay: Callable[..., Any]
) -> None:
    from sensor_msgs.msg import Image
    from tf2_msgs.msg import TFMessage

    path = tmp_path / "a.mcap"
    with BagWriter(path) as bag:
        bag.add_topic("/tf_static", "tf2_msgs/msg/TFMessage", latched=True)
        images = ImageBag(bag, IMAGE_TOPIC)
        for child in ("camera", "lidar"):
            write_static_transform(bag, START_NS, child)
        for index in range(30):
            image = SourceImage(index, noise(48, 64, seed=index))
            images.write(image, START_NS + (index + 1) * 10**8)
    heard = listener.listen(Image, IMAGE_TOPIC)
    replay(path, "--start", 1)  # behind the transforms, which come all the same
    listener.spin_until(lambda: bool(heard))
    assert stamp_ns(heard[0]) == START_NS + 10**9
    transforms = listener.listen(TFMessage, "/tf_static", latched=True)
    listener.spin_until(lambda: len(transforms) == 2)
    assert [m.transforms[0].child_frame_id for m in transforms] == ["camera", "lidar"]


def test_topics_are_chosen_and_renamed_and_the_clock_left_out(
    tmp_path: Path, listener: Listener, replay: Callable[..., Any]
) -> None:
    from sensor_msgs.msg import Image

    path = tmp_path / "a.db3"
    with BagWriter(path) as bag:
        images = ImageBag(bag, IMAGE_TOPIC, fov_deg=90)
        for index in range(3):
            images.write(SourceImage(index, noise(48, 64, seed=index)), START_NS + index)
    heard = listener.listen(Image, "/image")
    process = replay(
        path, "--topics", IMAGE_TOPIC, "--remap", f"{IMAGE_TOPIC}:=/image", "--no-clock"
    )
    listener.spin_until(lambda: bool(heard))
    for absent in (IMAGE_TOPIC, "/camera/camera_info", "/clock"):
        assert listener.node.count_publishers(absent) == 0
    listener.spin_until(lambda: len(heard) == 3)
    assert "sent 3 messages (/image 3)" in finish(process)[1]


def test_a_type_that_is_not_installed_is_named_and_the_rest_is_played(
    tmp_path: Path, listener: Listener, replay: Callable[..., Any]
) -> None:
    from std_msgs.msg import String

    name = "nowhere_msgs/msg/Thing"
    store = typestore_with()
    store.register(get_types_from_msg("int32 number", name))
    with Writer(tmp_path / "a", version=9, storage_plugin=StoragePlugin.MCAP) as bag:
        thing = bag.add_connection("/thing", name, typestore=store)
        text = bag.add_connection("/text", "std_msgs/msg/String", typestore=store)
        bag.write(thing, START_NS, store.serialize_cdr(store.types[name](5), name))
        message = store.types["std_msgs/msg/String"]("hello")
        bag.write(text, START_NS + 1, store.serialize_cdr(message, "std_msgs/msg/String"))
    heard = listener.listen(String, "/text")
    process = replay(tmp_path / "a")
    listener.spin_until(lambda: bool(heard))
    status, output = finish(process)
    assert status == 0
    assert f"skipping /thing: message type {name} is not installed" in output
    assert heard[0].data == "hello"


def test_only_the_named_stretch_of_the_bag_is_played(tmp_path: Path, ros: ModuleType) -> None:
    options = PlayOptions(rate=float("inf"), start_s=0.3, duration_s=0.4, wait_for_subscriber_s=0.0)
    fractions: list[float] = []
    with BagPlayer(write_image_bag(tmp_path / "a.mcap", 20), options) as player:
        report = player.play(fractions.append)
    assert report.sent == {IMAGE_TOPIC: 5}
    assert report.finished
    assert fractions == pytest.approx([0, 0.25, 0.5, 0.75, 1])


def test_a_damaged_bag_fails_without_a_traceback(
    tmp_path: Path, replay: Callable[..., Any]
) -> None:
    bag = write_image_bag(tmp_path / "a.mcap", 20)
    bag.write_bytes(bag.read_bytes()[:5000])
    status, output = finish(replay(bag))
    assert status == 1
    assert "a.mcap cannot be read" in output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--rate", "0"], "--rate must be above 0"),
        (["--start", "-1"], "--start must not be below 0"),
        (["--start", "60"], "only 0.2 s long"),
        (["--topics", "/typo"], "no topic /typo; it has /camera/image_raw"),
        (["--remap", "a=b"], "must be FROM:=TO"),
        (["--wait-for-node", "my-node"], "my-node must be the name of a node"),
        (["--image-topic", "/typo"], "no topic /typo"),
    ],
)
def test_mistakes_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert main(["replay", str(write_image_bag(tmp_path / "a.mcap", 3)), *arguments]) == 1
    assert message in capsys.readouterr().err
