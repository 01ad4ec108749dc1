# SPDX-License-Identifier: Apache-2.0
"""Bags as other recorders, drivers and scripts leave them."""

import copy
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml
from mcap.reader import make_reader
from mcap.writer import Writer
from rosbags.rosbag1 import Writer as Ros1Writer
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from infinitevggt_ros.bags.camera_topics import choose_topics
from infinitevggt_ros.bags.image_source import VideoFile
from infinitevggt_ros.bags.player import BagPlayer, PlayOptions
from infinitevggt_ros.bags.poses import BagPoses
from infinitevggt_ros.bags.reader import BagReader, header_stamp_ns
from infinitevggt_ros.bags.truth import BagTruth
from infinitevggt_ros.errors import CommandError
from infinitevggt_ros.evaluation.bag_source import BagSource, BagSpec
from support.bag_evaluation import DEPTH, FRAMES, IMAGE, ODOMETRY
from support.bag_making import IMAGE_TOPIC, Row, edited, write_image_bag

TF = "tf2_msgs/msg/TFMessage"
IMAGE_TYPE = "sensor_msgs/msg/Image"
FRAME = "camera_optical_frame"


def poses(bag: Path) -> np.ndarray:
    """(FRAMES, 3, 4) true poses of the camera."""
    frames = BagSource(BagSpec(bag)).frames()
    return np.stack([frame.truth.camera_from_world for frame in frames])


def as_ros1(bag: Path, path: Path, tf_type: str, slash: str) -> Path:
    """As the bags of TUM RGB-D: static transforms are repeated on /tf with every pose."""
    store = get_typestore(Stores.ROS1_NOETIC)
    if tf_type not in store.types:
        store.register(get_types_from_msg("geometry_msgs/TransformStamped[] transforms\n", tf_type))
    types: dict[str, Any] = dict(store.types)
    modern: Any = get_typestore(Stores.ROS2_KILTED)

    def header(found: Any) -> Any:
        time = types["builtin_interfaces/msg/Time"](found.stamp.sec, found.stamp.nanosec)
        return types["std_msgs/msg/Header"](0, time, slash + found.frame_id)

    def transform(found: Any, stamp: Any) -> Any:
        found.header.stamp = stamp
        return types["geometry_msgs/msg/TransformStamped"](
            header(found.header), slash + found.child_frame_id, found.transform
        )

    with BagReader(bag) as reader, Ros1Writer(path) as writer:
        image = writer.add_connection("/camera/rgb/image_color", IMAGE_TYPE, typestore=store)
        tf = writer.add_connection("/tf", tf_type, typestore=store)
        static: list[Any] = []
        for topic, at_ns, data in reader.messages([IMAGE, "/tf", "/tf_static"]):
            message = modern.deserialize_cdr(data, reader.topics[topic])
            if topic == "/tf_static":
                static = message.transforms
            elif topic == "/tf":
                stamp = message.transforms[0].header.stamp
                all_transforms = [transform(t, stamp) for t in [*message.transforms, *static]]
                raw = store.serialize_ros1(types[tf_type](all_transforms), tf_type)
                writer.write(tf, at_ns, raw)
            else:
                message.header = header(message.header)
                writer.write(image, at_ns, store.serialize_ros1(message, IMAGE_TYPE))
    return path


@pytest.mark.parametrize("tf_type", [TF, "tf/msg/tfMessage"])
@pytest.mark.parametrize("slash", ["", "/"])
def test_transforms_of_ros1_are_found_with_and_without_slashes(
    world_bag: Path, tmp_path: Path, tf_type: str, slash: str
) -> None:
    bag = as_ros1(world_bag, tmp_path / "tum.bag", tf_type, slash)
    np.testing.assert_allclose(poses(bag), poses(world_bag), atol=1e-6)


@pytest.mark.parametrize(
    ("tf", "static"), [("/robot1/tf", "/robot1/tf_static"), ("tf", "tf_static")]
)
@pytest.mark.parametrize("is_named", [False, True])
def test_transforms_are_recognised_by_their_type(
    world_bag: Path, tmp_path: Path, tf: str, static: str, is_named: bool
) -> None:
    names = {"/tf": tf, "/tf_static": static}

    def renamed(topic: str, kind: str, at_ns: int, message: Any) -> list[Row]:
        return [] if topic == ODOMETRY else [(names.get(topic, topic), kind, at_ns, message)]

    bag = edited(world_bag, tmp_path / "renamed.mcap", renamed)
    source = BagSource(BagSpec(bag, truth_topic=tf if is_named else ""))
    assert tf in source.chosen["truth"]
    found = np.stack([frame.truth.camera_from_world for frame in source.frames()])
    np.testing.assert_allclose(found, poses(world_bag), atol=1e-6)
    with BagReader(bag) as reader:
        assert reader.latched_topics == {static}


@pytest.mark.parametrize(
    ("quaternion", "is_kept"),
    [((0, 0, 0, 0), False), ((np.nan, 0, 0, 1), False), ("shorter", True)],
)
def test_a_pose_without_a_rotation_is_left_out_alone(
    world_bag: Path, tmp_path: Path, quaternion: Any, is_kept: bool
) -> None:
    spoilt = []

    def spoil(topic: str, kind: str, at_ns: int, message: Any) -> list[Row]:
        if topic == "/tf" and not spoilt:
            spoilt.append(topic)
            q = message.transforms[0].transform.rotation
            values = quaternion
            if quaternion == "shorter":
                values = [0.98 * v for v in (q.x, q.y, q.z, q.w)]
            q.x, q.y, q.z, q.w = map(float, values)
        return [] if topic == ODOMETRY else [(topic, kind, at_ns, message)]

    bag = edited(world_bag, tmp_path / "spoilt.mcap", spoil)
    found, true = poses(bag), poses(world_bag)
    assert bool(np.isfinite(found[0]).all()) == is_kept
    np.testing.assert_allclose(found[0 if is_kept else 1 :], true[0 if is_kept else 1 :], atol=1e-5)
    with BagReader(bag) as reader:
        assert BagPoses(reader).skipped == (0 if is_kept else 1)


def kinect(topic: str, kind: str, at_ns: int, message: Any) -> list[Row]:
    """Colour, infrared, depth of the depth camera, and depth in the frame of the colour camera."""
    if topic == DEPTH:
        own = copy.deepcopy(message)
        own.header.frame_id = "depth_camera"
        own.data = np.roll(own.data, 400)
        infrared = copy.deepcopy(own)
        infrared.encoding, infrared.step = "mono16", own.width * 2
        infrared.data = own.data[: own.width * own.height * 2]
        return [
            ("/depth/image_raw", kind, at_ns, own),
            ("/depth_to_rgb/image_raw", kind, at_ns, message),
            ("/ir/image_raw", kind, at_ns, infrared),
        ]
    names = {IMAGE: "/rgb/image_raw", "/camera/camera_info": "/rgb/camera_info"}
    return [(names.get(topic, topic), kind, at_ns, message)]


def test_the_colour_camera_and_depth_in_its_frame_are_chosen_and_said(
    world_bag: Path, tmp_path: Path
) -> None:
    with BagReader(edited(world_bag, tmp_path / "kinect.mcap", kinect)) as reader:
        topics = choose_topics(reader)
        named = choose_topics(reader, image="/ir/image_raw")
    assert (topics.image, topics.depth) == ("/rgb/image_raw", "/depth_to_rgb/image_raw")
    assert topics.info == "/rgb/camera_info"
    notes = " ".join(topics.notes)
    for word in ("/ir/image_raw", "/depth/image_raw", "--image", "--depth"):
        assert word in notes
    assert named.image == "/ir/image_raw"
    assert named.depth == "/depth/image_raw"


def test_names_of_realsense_viewer_are_understood(world_bag: Path, tmp_path: Path) -> None:
    def renamed(topic: str, kind: str, at_ns: int, message: Any) -> list[Row]:
        if topic == DEPTH:
            message.encoding, message.step = "mono16", message.width * 2
            message.data = (message.data.view(np.float32) * 1000).astype(np.uint16).view(np.uint8)
        names = {
            IMAGE: "/device_0/sensor_1/Color_0/image/data",
            DEPTH: "/device_0/sensor_0/Depth_0/image/data",
            "/camera/camera_info": "/device_0/sensor_1/Color_0/info/camera_info",
        }
        return [(names[topic], kind, at_ns, message)] if topic in names else []

    with BagReader(edited(world_bag, tmp_path / "rs.mcap", renamed)) as reader:
        topics = choose_topics(reader)
    assert "Color_0" in topics.image
    assert "Depth_0" in topics.depth
    assert "Color_0" in topics.info


def test_images_and_depths_are_paired_by_their_header_stamps(
    world_bag: Path, tmp_path: Path
) -> None:
    """A recorder on simulated time gives several images one receive time."""

    def together(topic: str, kind: str, at_ns: int, message: Any) -> list[Row]:
        return [(topic, kind, at_ns // (4 * 10**8) * (4 * 10**8), message)]

    bag = edited(world_bag, tmp_path / "together.mcap", together)
    depths = []
    for path in (world_bag, bag):
        with BagReader(path) as reader:
            truth = BagTruth(reader, IMAGE)
            stamps = [header_stamp_ns(data) for _, _, data in reader.messages([IMAGE])]
            depths.append([truth.depth(reader, stamp) for stamp in stamps])
    assert len(depths[0]) == FRAMES
    np.testing.assert_array_equal(*depths)


@pytest.mark.usefixtures("ros")
def test_a_gap_of_years_is_skipped_and_said(tmp_path: Path) -> None:
    bag = write_image_bag(tmp_path / "a.mcap", 3)

    said_at: list[int] = []

    def change(topic: str, kind: str, at_ns: int, message: Any) -> list[Row]:
        said_at.append(at_ns)
        return [(topic, kind, 0 if len(said_at) == 1 else at_ns, message)]

    notices: list[str] = []
    options = PlayOptions(wait_for_subscriber_s=0.0)
    path = edited(bag, tmp_path / "zero.mcap", change)
    with BagPlayer(path, options, notice=notices.append) as player:
        assert player.play().sent == {IMAGE_TOPIC: 3}
    assert any("gap of 53." in notice for notice in notices)


@pytest.mark.usefixtures("ros")
def test_an_index_without_its_images_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(BagReader, "messages", lambda *_: iter(()))
    options = PlayOptions(wait_for_subscriber_s=0.0)
    with (
        BagPlayer(write_image_bag(tmp_path / "a.mcap", 3), options) as player,
        pytest.raises(CommandError, match="0 of 3 messages could be read"),
    ):
        player.play()


def test_an_edited_metadata_file_loses_no_messages_and_is_said(tmp_path: Path) -> None:
    bag = write_image_bag(tmp_path / "room", 3)
    path = bag / "metadata.yaml"
    metadata = yaml.safe_load(path.read_text())
    topic = metadata["rosbag2_bagfile_information"]["topics_with_message_count"][0]
    qos = {"history": "keep_last", "depth": 7, "reliability": "reliable"}
    qos |= {"durability": "transient_local", "liveliness": "automatic"}
    times = ("deadline", "lifespan", "liveliness_lease_duration")
    qos |= {name: {"sec": 0, "nsec": 0} for name in times}
    topic["topic_metadata"]["offered_qos_profiles"] = [
        {**qos, "avoid_ros_namespace_conventions": False}
    ]
    topic["message_count"] = 30
    path.write_text(yaml.safe_dump(metadata))
    with BagReader(bag) as reader:
        assert len(list(reader.messages())) == 3
        assert reader.message_counts == {IMAGE_TOPIC: 3}
        assert reader.latched_topics == {IMAGE_TOPIC}, "the edit counts"
        notes = " ".join(reader.notes)
    assert "QoS in metadata.yaml differs" in notes
    assert "counts 30 messages, the files hold 3" in notes


def test_a_calibration_sent_once_is_latched(world_bag: Path, tmp_path: Path) -> None:
    sent: list[str] = []

    def once(topic: str, kind: str, at_ns: int, message: Any) -> list[Row]:
        if topic == "/camera/camera_info":
            sent.append(topic)
            return [(topic, kind, at_ns, message)] if len(sent) == 1 else []
        return [(topic, kind, at_ns, message)]

    with BagReader(edited(world_bag, tmp_path / "once.mcap", once)) as reader:
        assert reader.latched_topics == {"/tf_static", "/camera/camera_info"}
    with BagReader(world_bag) as reader:
        assert reader.latched_topics == {"/tf_static"}


def copy_mcap(bag: Path, path: Path, profile: str) -> Path:
    """A copy with another profile in its header and without chunks."""
    with bag.open("rb") as source, path.open("wb") as target:
        writer = Writer(target, use_chunking=profile == "")
        writer.start(profile=profile)
        schemas: dict[int, int] = {}
        channels: dict[int, int] = {}
        for schema, channel, message in make_reader(source).iter_messages():
            assert schema is not None
            if schema.id not in schemas:
                schemas[schema.id] = writer.register_schema(
                    schema.name, schema.encoding, schema.data
                )
            if channel.id not in channels:
                channels[channel.id] = writer.register_channel(
                    channel.topic, channel.message_encoding, schemas[schema.id], channel.metadata
                )
            writer.add_message(
                channels[channel.id], message.log_time, message.data, message.publish_time
            )
        writer.finish()
    return path


@pytest.mark.parametrize("profile", ["", "ros2"])
def test_mcap_files_without_profile_or_chunks_are_read(tmp_path: Path, profile: str) -> None:
    bag = write_image_bag(tmp_path / "a.mcap", 3)
    with BagReader(bag) as reader:
        expected = list(reader.messages())
    with BagReader(copy_mcap(bag, tmp_path / "b.mcap", profile)) as reader:
        assert list(reader.messages()) == expected
        assert reader.message_counts == {IMAGE_TOPIC: 3}
        assert (reader.start_ns, reader.end_ns) == (expected[0][1], expected[-1][1])
        [last] = reader.messages([IMAGE_TOPIC], start_ns=expected[2][1])
        assert last == expected[2]


def test_mcap_files_of_ros1_are_read_as_ros1_bags_are(tmp_path: Path) -> None:
    bag = write_image_bag(tmp_path / "a.mcap", 2)
    ros1, ros2 = get_typestore(Stores.ROS1_NOETIC), get_typestore(Stores.ROS2_KILTED)
    definition, _ = ros1.generate_msgdef(IMAGE_TYPE)
    path = tmp_path / "ros1.mcap"
    with BagReader(bag) as reader, path.open("wb") as file:
        expected = list(reader.messages())
        writer = Writer(file)
        writer.start(profile="ros1")
        schema = writer.register_schema("sensor_msgs/Image", "ros1msg", definition.encode())
        channel = writer.register_channel(IMAGE_TOPIC, "ros1", schema)
        types: Any = ros1.types
        for _, at_ns, data in expected:
            message: Any = ros2.deserialize_cdr(data, IMAGE_TYPE)
            stamp = message.header.stamp
            time = types["builtin_interfaces/msg/Time"](stamp.sec, stamp.nanosec)
            message.header = types["std_msgs/msg/Header"](0, time, message.header.frame_id)
            writer.add_message(
                channel, at_ns, bytes(ros1.serialize_ros1(message, IMAGE_TYPE)), at_ns
            )
        writer.finish()
    with BagReader(path) as reader:
        assert list(reader.messages()) == expected


def test_messages_that_are_not_of_ros_are_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "other.mcap"
    with path.open("wb") as file:
        writer = Writer(file)
        writer.start(profile="")
        channel = writer.register_channel("/text", "json", 0)
        writer.add_message(channel, 1, b"{}", 1)
        writer.finish()
    with pytest.raises(CommandError, match=r"/text are encoded as json"):
        BagReader(path)


def test_a_bag_of_a_newer_version_is_not_called_damaged(tmp_path: Path) -> None:
    bag = write_image_bag(tmp_path / "room", 3)
    text = (bag / "metadata.yaml").read_text().replace("version: 9", "version: 99")
    (bag / "metadata.yaml").write_text(text)
    with pytest.raises(CommandError, match="not supported") as error:
        BagReader(bag)
    assert "damaged" not in str(error.value)


def test_a_name_that_looks_like_a_protocol_is_a_video_all_the_same(tmp_path: Path) -> None:
    path = tmp_path / "2024-05-01T12:30:00.mp4"
    writer = cv2.VideoWriter(str(tmp_path / "a.mp4"), cv2.VideoWriter.fourcc(*"mp4v"), 10, (80, 60))
    for shade in range(5):
        writer.write(np.full((60, 80, 3), 40 * shade, np.uint8))
    writer.release()
    (tmp_path / "a.mp4").rename(path)
    reports: list[str] = []
    times = [image.time_ns for image in VideoFile(path).images(reports.append)]
    assert times == [0, 100_000_000, 200_000_000, 300_000_000, 400_000_000]
    assert reports == []
