# SPDX-License-Identifier: Apache-2.0
"""`infinitevggt replay --lockstep`: no image before the node has answered the last one."""

import threading
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from infinitevggt_ros.bags.image_bag import ImageBag
from infinitevggt_ros.bags.image_source import SourceImage
from infinitevggt_ros.bags.lockstep import LockstepOptions
from infinitevggt_ros.bags.player import BagPlayer, PlayOptions
from infinitevggt_ros.bags.writer import BagWriter
from infinitevggt_ros.commands.cli import main
from support.bag_making import IMAGE_TOPIC, START_NS, noise, stamp_ns, write_image_bag, write_string
from support.listening import Listener, finish

pytestmark = pytest.mark.ros

STATUS_TOPIC = "/infinitevggt/status"


class SlowNode:
    """Answers every image after a while, as a node that computes for long would."""

    def __init__(self, listener: Listener, delay_s: float) -> None:
        from sensor_msgs.msg import Image

        from infinitevggt_ros.msg import StreamStatus

        self.images = listener.listen(Image, IMAGE_TOPIC)
        self.too_early = 0  # images that came before the answer to the one before
        self._status = StreamStatus
        self._listener = listener
        self._delay_s = delay_s
        self._publisher = listener.node.create_publisher(StreamStatus, STATUS_TOPIC, 10)

    def answer(self, count: int, *, outcome: int = 0) -> None:
        for index in range(count):
            self._listener.spin_until(lambda index=index: len(self.images) > index)
            self._listener.spin_for(self._delay_s)
            self.too_early += len(self.images) > index + 1
            self.reply(index, outcome)

    def reply(self, index: int, outcome: int = 0) -> None:
        self._publisher.publish(self._status(header=self.images[index].header, outcome=outcome))


def test_lockstep_sends_nothing_before_the_slow_node_has_answered(
    tmp_path: Path, listener: Listener, replay: Callable[..., Any]
) -> None:
    from std_msgs.msg import String

    path = tmp_path / "a.mcap"
    with BagWriter(path) as bag:
        images = ImageBag(bag, IMAGE_TOPIC)
        bag.add_topic("/text", "std_msgs/msg/String")
        for index in range(4):
            begin_ns = START_NS + index * 10**8
            images.write(SourceImage(index, noise(48, 64, seed=index)), begin_ns)
            write_string(bag, "/text", begin_ns + 10**7, f"between {index} and {index + 1}")
    texts = listener.listen(String, "/text")
    node = SlowNode(listener, delay_s=0.3)
    process = replay(path, "--lockstep")
    node.answer(2)
    listener.spin_until(lambda: len(node.images) == 3)
    listener.spin_for(0.1)
    assert len(texts) == 2  # what lies between the images came along, nothing ahead of it
    listener.spin_for(0.2)
    assert len(node.images) == 3
    node.reply(2, outcome=2)
    listener.spin_until(lambda: len(node.images) == 4)
    node.reply(3)
    status, output = finish(process)
    assert status == 0
    assert node.too_early == 0
    assert "3 images processed, 1 rejected" in output


@pytest.mark.parametrize("options", [["--lockstep"], ["--wait-for-node", "/listener"]])
def test_rviz_which_subscribes_first_starts_nothing_before_the_node_listens(
    tmp_path: Path,
    ros: ModuleType,
    listener: Listener,
    replay: Callable[..., Any],
    options: list[str],
) -> None:
    from sensor_msgs.msg import Image

    from infinitevggt_ros.msg import StreamStatus

    rviz = ros.create_node("rviz")
    rviz.create_subscription(Image, IMAGE_TOPIC, lambda _: None, 10)
    listener.node.create_publisher(StreamStatus, STATUS_TOPIC, 10)  # the node loads its weights
    process = replay(write_image_bag(tmp_path / "a.mcap", 3), *options)
    listener.spin_until(lambda: listener.node.count_publishers(IMAGE_TOPIC) > 0)
    listener.spin_for(1.5)  # longer than the player lets its subscribers settle
    node = SlowNode(listener, delay_s=0.0)
    node.answer(3)
    status, _ = finish(process)
    assert status == 0
    assert [stamp_ns(image) - START_NS for image in node.images] == [0, 10**8, 2 * 10**8]
    rviz.destroy_node()


def test_lockstep_fails_with_advice_when_the_node_never_answers(
    tmp_path: Path, listener: Listener, replay: Callable[..., Any]
) -> None:
    SlowNode(listener, delay_s=0)
    process = replay(write_image_bag(tmp_path / "a.mcap", 3), "--lockstep", "--timeout", 6)
    status, output = finish(process)
    assert status == 1
    assert f"no answer on {STATUS_TOPIC}" in output
    assert "--timeout" in output


def test_lockstep_fails_with_advice_when_there_is_no_node(
    tmp_path: Path, ros: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    ros.shutdown()
    bag = write_image_bag(tmp_path / "a.mcap", 3)
    assert main(["replay", str(bag), "--lockstep", "--timeout", "0.3"]) == 1
    assert f"no publisher of {STATUS_TOPIC}" in capsys.readouterr().err


def test_lockstep_sends_the_first_image_again_and_only_the_first(
    tmp_path: Path, listener: Listener
) -> None:
    node = SlowNode(listener, delay_s=0.0)
    options = PlayOptions(lockstep=LockstepOptions(resend_s=0.3))
    with BagPlayer(write_image_bag(tmp_path / "a.mcap", 2), options) as player:
        reports: list[Any] = []
        thread = threading.Thread(target=lambda: reports.append(player.play()))
        thread.start()
        listener.spin_until(lambda: len(node.images) == 2)  # the second is a copy of the first
        node.answer(1)
        listener.spin_until(lambda: len(node.images) == 3)
        listener.spin_for(1.0)
        assert len(node.images) == 3
        node.reply(2)
        thread.join(10)
    assert [stamp_ns(image) - START_NS for image in node.images] == [0, 0, 10**8]
    assert reports[0].outcomes == {0: 2}


def test_an_image_the_node_dropped_is_counted_not_waited_for(
    tmp_path: Path, listener: Listener, replay: Callable[..., Any]
) -> None:
    node = SlowNode(listener, delay_s=0.0)
    process = replay(write_image_bag(tmp_path / "a.mcap", 2), "--lockstep")
    node.answer(2, outcome=1)
    status, output = finish(process)
    assert status == 0
    assert "0 images processed, 0 rejected, 2 dropped by the node" in output


def test_lockstep_asks_which_of_two_cameras_the_node_reads(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with BagWriter(tmp_path / "a.mcap") as bag:
        for topic in ("/left/image", "/right/image"):
            ImageBag(bag, topic).write(SourceImage(0, noise(48, 64, seed=0)), START_NS)
    assert main(["replay", str(tmp_path / "a.mcap"), "--lockstep"]) == 1
    assert "name one of /left/image, /right/image" in capsys.readouterr().err


@pytest.mark.usefixtures("ros")
def test_an_image_topic_is_named_without_compressed(tmp_path: Path) -> None:
    with BagWriter(tmp_path / "a.mcap") as bag:
        for topic, is_compressed in (("/left/image", True), ("/right/image", False)):
            images = ImageBag(bag, topic, compressed=is_compressed)
            images.write(SourceImage(0, noise(48, 64, seed=0)), START_NS)
    for named, recorded in (("/left/image", "/left/image/compressed"), ("/right/image",) * 2):
        with BagPlayer(tmp_path / "a.mcap", PlayOptions(image_topics=[named])) as player:
            assert player.image_topics == [recorded]
