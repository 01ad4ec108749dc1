# SPDX-License-Identifier: Apache-2.0
"""Errors of bags: messages that name the problem and what to do."""

from pathlib import Path

import pytest

from infinitevggt_ros.bags.reader import BagReader
from infinitevggt_ros.bags.writer import BagWriter
from infinitevggt_ros.errors import CommandError
from support.bag_making import IMAGE_TOPIC, START_NS, converted, write_image_bag, write_string


def read_all(path: Path) -> int:
    with BagReader(path) as bag:
        return sum(1 for _ in bag.messages())


@pytest.mark.parametrize("name", ["a.mcap", "a.db3", "a"])
def test_every_kind_of_bag_tells_its_topics_and_its_span(tmp_path: Path, name: str) -> None:
    with BagReader(write_image_bag(tmp_path / name, 5)) as bag:
        assert bag.topics == {IMAGE_TOPIC: "sensor_msgs/msg/Image"}
        assert bag.message_counts == {IMAGE_TOPIC: 5}
        assert (bag.start_ns, bag.end_ns) == (START_NS, START_NS + 400_000_000)
        assert len(list(bag.messages(start_ns=START_NS + 1, stop_ns=bag.end_ns))) == 3


@pytest.mark.parametrize("suffix", [".mcap", ".db3"])
@pytest.mark.parametrize("kept", [0.02, 0.5, 0.999])
def test_a_bag_cut_short_is_named_whatever_was_lost(
    tmp_path: Path, suffix: str, kept: float
) -> None:
    path = write_image_bag(tmp_path / f"a{suffix}", 400)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * kept)])
    with pytest.raises(CommandError, match=f"a{suffix} .*cut short"):
        read_all(path)


def test_garbage_inside_a_bag_is_named(tmp_path: Path) -> None:
    path = write_image_bag(tmp_path / "a.mcap", 400)
    damaged = bytearray(path.read_bytes())
    damaged[-2000:-100] = b"\xee" * 1900
    path.write_bytes(damaged)
    with pytest.raises(CommandError, match="damaged"):
        read_all(path)


def test_missing_empty_and_foreign_files_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "empty.mcap").touch()
    (tmp_path / "old.bag").write_bytes(b"#ROSBAG V2.0\n")
    (tmp_path / "photo.png").write_bytes(b"\x89PNG")
    (tmp_path / "folder").mkdir()
    for name, message in {
        "nowhere.mcap": "does not exist",
        "empty.mcap": "empty file",
        "old.bag": "cannot be read",
        "photo.png": "is no bag",
        "folder": "without a bag",
    }.items():
        with pytest.raises(CommandError, match=message):
            BagReader(tmp_path / name)


def test_a_directory_without_metadata_points_to_the_file_inside(tmp_path: Path) -> None:
    write_image_bag(tmp_path / "room", 3)
    (tmp_path / "room" / "metadata.yaml").unlink()
    with pytest.raises(CommandError, match=r"room\.mcap itself"):
        BagReader(tmp_path / "room")
    assert read_all(tmp_path / "room" / "room.mcap") == 3


def test_a_bag_without_messages_is_refused(tmp_path: Path) -> None:
    with BagWriter(tmp_path / "a.mcap") as bag:
        bag.add_topic("/text", "std_msgs/msg/String")
    with pytest.raises(CommandError, match="no messages"):
        BagReader(tmp_path / "a.mcap")


def test_a_bag_without_images_says_what_it_has_instead(tmp_path: Path) -> None:
    with BagWriter(tmp_path / "a.mcap") as writer:
        writer.add_topic("/text", "std_msgs/msg/String")
        write_string(writer, "/text", START_NS, "hello")
    with BagReader(tmp_path / "a.mcap") as bag, pytest.raises(CommandError, match="only /text"):
        bag.require_image_topics()


def test_messages_of_every_kind_of_bag_can_be_published_as_they_are(tmp_path: Path) -> None:
    """rclpy takes bytes and nothing like them."""
    bag = write_image_bag(tmp_path / "two.mcap", 2)
    for name in ("two.bag", "two"):
        converted(bag, tmp_path / name)
    for name in ("two.mcap", "two.bag", "two"):
        with BagReader(tmp_path / name) as reader:
            assert [type(serialized) for _, _, serialized in reader.messages()] == [bytes] * 2
