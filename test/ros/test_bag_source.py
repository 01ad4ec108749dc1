# SPDX-License-Identifier: Apache-2.0
"""Choice of images and truth in a bag."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from infinitevggt_core.worlds import World
from infinitevggt_ros.bags.reader import BagReader
from infinitevggt_ros.bags.truth import BagTruth
from infinitevggt_ros.bags.writer import BagWriter
from infinitevggt_ros.errors import CommandError
from infinitevggt_ros.evaluation.bag_source import BagSource, BagSpec
from support.bag_evaluation import (
    DEPTH,
    FRAMES,
    HEIGHT,
    IMAGE,
    ODOMETRY,
    SEED,
    WIDTH,
    only,
    rewritten,
)


def test_the_truth_is_that_of_the_world(world_bag: Path) -> None:
    source = BagSource(BagSpec(world_bag))
    film = World(SEED, "easy").render(list(range(FRAMES)), HEIGHT, WIDTH)
    frames = list(source.frames())
    assert len(frames) == FRAMES
    for frame, pose, depth in zip(frames, film.camera_from_world, film.depth, strict=True):
        np.testing.assert_allclose(frame.truth.camera_from_world, pose.numpy(), atol=1e-5)
        np.testing.assert_allclose(frame.truth.depth, depth.numpy(), atol=1e-5)
    later = next(iter(source.frames(skip=5)))
    assert later.message.header == frames[5].message.header


def camera_pose(world: World) -> Any:
    """Odometry -> the PoseStamped of the camera itself, as a motion capture would leave it."""

    def change(message: Any, types: Any) -> Any:
        index = round((message.header.stamp.sec - 1) * 10 + message.header.stamp.nanosec / 1e8)
        rotation, place = pose_of(world, index)
        point = types["geometry_msgs/msg/Point"](*place)
        quat = types["geometry_msgs/msg/Quaternion"](*rotation)
        return types["geometry_msgs/msg/PoseStamped"](
            message.header, types["geometry_msgs/msg/Pose"](point, quat)
        )

    return change


def pose_of(world: World, index: int) -> tuple[Any, Any]:
    pose = world.render([index], 14, 14).camera_from_world[0].numpy().astype(float)
    turned = pose[:, :3].T
    return Rotation.from_matrix(turned).as_quat().tolist(), (-turned @ pose[:, 3]).tolist()


def test_a_pose_topic_is_found_and_used(world_bag: Path, whole_run: Path, tmp_path: Path) -> None:
    change = camera_pose(World(SEED, "easy"))
    bag = rewritten(
        world_bag,
        tmp_path / "mocap.mcap",
        {
            "/tf": ("tf2_msgs/msg/TFMessage", None),
            ODOMETRY: ("geometry_msgs/msg/PoseStamped", change),
        },
    )
    source = BagSource(BagSpec(bag))
    assert source.chosen["truth"][0] == ODOMETRY
    truth = BagSource(BagSpec(world_bag))
    for found, true in zip(source.frames(), truth.frames(), strict=True):
        np.testing.assert_allclose(
            found.truth.camera_from_world, true.truth.camera_from_world, atol=1e-4
        )


def test_odometry_may_be_named_instead_of_tf(world_bag: Path) -> None:
    source = BagSource(BagSpec(world_bag, truth_topic=ODOMETRY))
    assert source.chosen["truth"][0] == ODOMETRY
    truth = BagSource(BagSpec(world_bag))
    for found, true in zip(source.frames(), truth.frames(), strict=True):
        np.testing.assert_allclose(
            found.truth.camera_from_world, true.truth.camera_from_world, atol=1e-4
        )


def test_what_the_node_said_itself_is_no_truth(
    world_bag: Path, whole_run: Path, tmp_path: Path
) -> None:
    recorded = tmp_path / "recorded.mcap"
    with BagWriter(recorded) as writer:
        for bag, wanted in (
            (world_bag, {IMAGE, "/camera/camera_info"}),
            (whole_run / "result.mcap", None),
        ):
            with BagReader(bag) as reader:
                for topic, kind in reader.topics.items():
                    if wanted is None or topic in wanted:
                        writer.add_topic(topic, kind)
                for topic, at_ns, data in reader.messages(list(wanted) if wanted else None):
                    writer.write(topic, at_ns, bytes(data))
    with BagReader(recorded) as reader:
        assert {"/tf", "/infinitevggt/odometry", "/infinitevggt/depth/image"} <= set(reader.topics)
        truth = BagTruth(reader, IMAGE)
    assert not truth.has_poses
    assert not truth.depth_topic


def test_a_bag_without_camera_images_is_refused(world_bag: Path, tmp_path: Path) -> None:
    bag = only(DEPTH, world_bag, tmp_path / "depth.mcap")
    with pytest.raises(CommandError, match="only depth images"):
        BagSource(BagSpec(bag))
