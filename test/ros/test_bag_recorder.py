# SPDX-License-Identifier: Apache-2.0
"""Recorded messages equal the published ones, and open without this package."""

import array
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from infinitevggt_ros.errors import CommandError
from support.bag_making import read_bag, stamp_ns
from support.listening import PATIENCE_S

pytestmark = pytest.mark.ros

T_NS = 1_700_000_000_000_000_001
TOPICS = {
    "/image": "sensor_msgs/msg/Image",
    "/tf": "tf2_msgs/msg/TFMessage",
    "/tf_static": "tf2_msgs/msg/TFMessage",
    "/status": "infinitevggt_ros/msg/StreamStatus",
    "/text": "std_msgs/msg/String",
}


class Station:
    """One node that publishes, one that records, spun in turn."""

    def __init__(self, ros: ModuleType) -> None:
        from rclpy.executors import SingleThreadedExecutor

        self.sender, self.receiver = ros.create_node("sender"), ros.create_node("receiver")
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self.receiver)

    def spin_until(self, condition: Callable[[], bool]) -> None:
        deadline_s = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < deadline_s, "timed out"
            self._executor.spin_once(timeout_sec=0.05)

    def publisher(self, topic: str, qos: Any = 10) -> Any:
        """A publisher on a topic of TOPICS, once the recorder has been discovered."""
        from infinitevggt_ros.message_maker import message_class

        publisher = self.sender.create_publisher(message_class(TOPICS[topic]), topic, qos)
        self.spin_until(lambda: publisher.get_subscription_count() > 0)
        return publisher


@pytest.fixture
def station(ros: ModuleType) -> Iterator[Station]:
    station = Station(ros)
    yield station
    station._executor.shutdown()
    station.sender.destroy_node()
    station.receiver.destroy_node()


def header(stamp: int) -> Any:
    from std_msgs.msg import Header

    message = Header(frame_id="camera_optical_frame")
    message.stamp.sec, message.stamp.nanosec = divmod(stamp, 10**9)
    return message


def transforms(stamp: int, child: str) -> Any:
    from geometry_msgs.msg import TransformStamped
    from tf2_msgs.msg import TFMessage

    return TFMessage(transforms=[TransformStamped(header=header(stamp), child_frame_id=child)])


def image(stamp: int) -> Any:
    from sensor_msgs.msg import Image

    data = array.array("B", bytes(range(200)) * 3)
    return Image(header=header(stamp), height=10, width=20, encoding="rgb8", step=60, data=data)


def test_images_transforms_and_status_come_back_under_their_own_stamps(
    tmp_path: Path, station: Station
) -> None:
    from infinitevggt_ros.bags.recorder import BagRecorder
    from infinitevggt_ros.msg import StreamStatus

    names = ("/image", "/tf", "/status")
    recorder = BagRecorder(
        station.receiver, {name: TOPICS[name] for name in names}, tmp_path / "a.mcap"
    )
    status = StreamStatus(header=header(T_NS + 2), policy="diversity", stored_tokens=[7, 8, 9])
    for name, message in zip(
        names, (image(T_NS), transforms(T_NS + 1, "camera"), status), strict=True
    ):
        station.publisher(name).publish(message)
        station.spin_until(lambda name=name: recorder.counts[name] == 1)
    assert not (tmp_path / "a.mcap").exists()  # not before it is whole
    recorder.close()
    recorder.close()
    recorded = {topic: (stamp, message) for topic, stamp, message in read_bag(tmp_path / "a.mcap")}
    assert {topic: stamp for topic, (stamp, _) in recorded.items()} == {
        "/image": T_NS,
        "/tf": T_NS + 1,
        "/status": T_NS + 2,
    }
    assert bytes(recorded["/image"][1].data) == bytes(image(T_NS).data)
    assert recorded["/image"][1].encoding == "rgb8"
    assert recorded["/tf"][1].transforms[0].child_frame_id == "camera"
    assert list(recorded["/status"][1].stored_tokens) == [7, 8, 9]
    assert recorded["/status"][1].policy == "diversity"
    assert stamp_ns(recorded["/status"][1]) == T_NS + 2


def test_a_message_without_a_header_is_filed_under_the_nodes_time(
    tmp_path: Path, station: Station
) -> None:
    from std_msgs.msg import String

    from infinitevggt_ros.bags.recorder import BagRecorder

    recorder = BagRecorder(station.receiver, {"/text": String}, tmp_path / "a.mcap")
    before_ns = station.receiver.get_clock().now().nanoseconds
    station.publisher("/text").publish(String(data="hello"))
    station.spin_until(lambda: recorder.counts["/text"] == 1)
    recorder.close()
    [(_, stamp, message)] = read_bag(tmp_path / "a.mcap")
    assert message.data == "hello"
    assert before_ns <= stamp <= station.receiver.get_clock().now().nanoseconds


def test_static_transforms_sent_before_the_recording_are_in_it(
    tmp_path: Path, station: Station
) -> None:
    from rclpy.qos import DurabilityPolicy, QoSProfile
    from tf2_msgs.msg import TFMessage

    from infinitevggt_ros.bags.reader import BagReader
    from infinitevggt_ros.bags.recorder import BagRecorder

    latched = QoSProfile(depth=10, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    publisher = station.sender.create_publisher(TFMessage, "/tf_static", latched)
    for child in ("camera", "lidar"):
        publisher.publish(transforms(T_NS, child))
    recorder = BagRecorder(station.receiver, {"/tf_static": TFMessage}, tmp_path / "a.mcap")
    station.spin_until(lambda: recorder.counts["/tf_static"] == 2)
    recorder.close()
    children = [m.transforms[0].child_frame_id for _, _, m in read_bag(tmp_path / "a.mcap")]
    assert children == ["camera", "lidar"]
    with BagReader(tmp_path / "a.mcap") as bag:
        assert bag.latched_topics == {"/tf_static"}


def test_a_writer_that_fails_is_reported_and_leaves_the_executor_alive(
    tmp_path: Path, station: Station, monkeypatch: pytest.MonkeyPatch
) -> None:
    from std_msgs.msg import String

    from infinitevggt_ros.bags.recorder import BagRecorder

    recorder = BagRecorder(station.receiver, {"/text": String}, tmp_path / "a.mcap")

    def full_disk(*_: object) -> None:
        raise CommandError("No space left on device")

    monkeypatch.setattr(recorder._writer, "write", full_disk)
    publisher = station.publisher("/text")
    publisher.publish(String(data="lost"))
    station.spin_until(lambda: recorder.error is not None)
    still_alive: list[Any] = []
    station.receiver.create_subscription(String, "/text", still_alive.append, 10)
    station.spin_until(lambda: publisher.get_subscription_count() == 2)
    publisher.publish(String(data="more"))
    station.spin_until(lambda: bool(still_alive))
    with pytest.raises(CommandError, match=r"not recorded: No space left on device"):
        recorder.close()
    assert list(tmp_path.iterdir()) == []


def test_a_type_that_is_not_installed_is_refused_by_name(tmp_path: Path, station: Station) -> None:
    from infinitevggt_ros.bags.recorder import BagRecorder

    with pytest.raises(CommandError, match="cannot record /thing: message type nowhere_msgs/msg"):
        BagRecorder(station.receiver, {"/thing": "nowhere_msgs/msg/Thing"}, tmp_path / "a.mcap")
    assert list(tmp_path.iterdir()) == []
