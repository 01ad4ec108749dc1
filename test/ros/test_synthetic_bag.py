# SPDX-License-Identifier: Apache-2.0
"""`infinitevggt synthetic-bag`: the truth that it writes is the world's."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from infinitevggt_core.worlds import World, WorldClips, WorldConfig
from infinitevggt_ros.commands.cli import main
from support.bag_making import read_bag, stamp_ns

FRAMES, HEIGHT, WIDTH, SEED = 4, 32, 48, 17
TYPES = {
    "/camera/image_raw": "sensor_msgs/msg/Image",
    "/camera/camera_info": "sensor_msgs/msg/CameraInfo",
    "/camera/depth/image_raw": "sensor_msgs/msg/Image",
    "/tf": "tf2_msgs/msg/TFMessage",
    "/tf_static": "tf2_msgs/msg/TFMessage",
    "/odometry": "nav_msgs/msg/Odometry",
}


def film(out: Path, *more: object) -> int:
    arguments = ["--seed", SEED, "--frames", FRAMES, "--size", f"{HEIGHT}x{WIDTH}", *more, out]
    return main(["synthetic-bag", *map(str, arguments)])


@pytest.fixture(scope="module", params=["handheld", "wheeled"])
def motion(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def messages(motion: str, tmp_path_factory: pytest.TempPathFactory) -> list[tuple[str, int, Any]]:
    path = tmp_path_factory.mktemp("bag") / "world.mcap"
    assert film(path, "--motion", motion, "--rate", 3) == 0
    return read_bag(path)


@pytest.fixture(scope="module")
def truth(motion: str) -> WorldClips:
    world = World(SEED, config=WorldConfig.of("standard", motion=motion))
    return world.render(range(FRAMES), HEIGHT, WIDTH)


def of_topic(messages: list[tuple[str, int, Any]], topic: str) -> list[Any]:
    return [message for name, _, message in messages if name == topic]


def matrix_of(translation: Any, q: Any) -> np.ndarray:
    """4 x 4 pose, the quaternion's formula written out."""
    x, y, z, w = q.x, q.y, q.z, q.w
    matrix = np.eye(4)
    matrix[:3, :3] = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    matrix[:3, 3] = translation.x, translation.y, translation.z
    return matrix


def transforms(message: Any) -> dict[tuple[str, str], np.ndarray]:
    return {
        (t.header.frame_id, t.child_frame_id): matrix_of(
            t.transform.translation, t.transform.rotation
        )
        for t in message.transforms
    }


def test_the_topics_are_those_of_a_robot(messages: list[tuple[str, int, Any]]) -> None:
    expected = dict.fromkeys(TYPES, FRAMES) | {"/tf_static": 1}
    assert Counter(topic for topic, _, _ in messages) == expected
    assert {topic: message.__msgtype__ for topic, _, message in messages} == TYPES


def test_stamps_are_exact_and_equal_within_a_frame(messages: list[tuple[str, int, Any]]) -> None:
    expected = [10**9 + step for step in (0, 333_333_333, 666_666_667, 10**9)]
    for topic in ("/camera/image_raw", "/camera/camera_info", "/camera/depth/image_raw",
                  "/odometry"):  # fmt: skip
        assert [stamp_ns(message) for message in of_topic(messages, topic)] == expected
    assert [stamp_ns(m.transforms[0]) for m in of_topic(messages, "/tf")] == expected
    assert [bag for topic, bag, _ in messages if topic == "/tf"] == expected


def test_the_tf_tree_leads_to_the_camera_of_the_world(
    messages: list[tuple[str, int, Any]], truth: WorldClips
) -> None:
    fixed = transforms(of_topic(messages, "/tf_static")[0])
    link = fixed["base_link", "camera_link"]
    optical = fixed["camera_link", "camera_optical_frame"]
    # REP-103: the optical z axis is the link's x axis, the optical x axis the link's -y axis
    np.testing.assert_allclose(optical[:3, :3] @ (0, 0, 1), (1, 0, 0), atol=1e-12)
    np.testing.assert_allclose(optical[:3, :3] @ (1, 0, 0), (0, -1, 0), atol=1e-12)
    for k, message in enumerate(of_topic(messages, "/tf")):
        base = transforms(message)["odom", "base_link"]
        camera_from_world = np.linalg.inv(base @ link @ optical)[:3]
        np.testing.assert_allclose(camera_from_world, truth.camera_from_world[k], atol=1e-9)
        assert base[2, 2] > 0.9  # the base's z axis points up


def test_a_wheeled_base_is_on_the_floor(messages: list[tuple[str, int, Any]], motion: str) -> None:
    heights = [transforms(m)["odom", "base_link"][2, 3] for m in of_topic(messages, "/tf")]
    assert (np.abs(heights) < 0.05).all() == (motion == "wheeled")


def test_odometry_repeats_tf_and_its_twist_leads_to_the_next_pose(
    messages: list[tuple[str, int, Any]],
) -> None:
    odometry = of_topic(messages, "/odometry")
    poses = [matrix_of(m.pose.pose.position, m.pose.pose.orientation) for m in odometry]
    for message, pose, tf in zip(odometry, poses, of_topic(messages, "/tf"), strict=True):
        assert (message.header.frame_id, message.child_frame_id) == ("odom", "base_link")
        np.testing.assert_allclose(pose, transforms(tf)["odom", "base_link"], atol=1e-12)
    for k in range(FRAMES - 1):
        moved = poses[k][:3, :3].T @ (poses[k + 1][:3, 3] - poses[k][:3, 3])
        both = [odometry[j].twist.twist.linear for j in (k, k + 1)]
        mean = np.mean([(v.x, v.y, v.z) for v in both], axis=0)
        np.testing.assert_allclose(mean / 3, moved, atol=0.01)
        turned = poses[k][:3, :3].T @ poses[k + 1][:3, :3]
        both = [odometry[j].twist.twist.angular for j in (k, k + 1)]
        mean = np.mean([(v.x, v.y, v.z) for v in both], axis=0)
        vector = np.array([turned[2, 1], turned[0, 2], turned[1, 0]])
        np.testing.assert_allclose(mean / 3, vector, atol=0.02)


def test_images_depth_and_calibration_are_the_worlds(
    messages: list[tuple[str, int, Any]], truth: WorldClips
) -> None:
    images = of_topic(messages, "/camera/image_raw")
    depths = of_topic(messages, "/camera/depth/image_raw")
    infos = of_topic(messages, "/camera/camera_info")
    for k in range(FRAMES):
        image, depth, info = images[k], depths[k], infos[k]
        assert {m.header.frame_id for m in (image, depth, info)} == {"camera_optical_frame"}
        assert (image.encoding, image.step) == ("rgb8", 3 * WIDTH)
        rgb = torch.from_numpy(np.array(image.data)).reshape(HEIGHT, WIDTH, 3)
        difference = rgb.permute(2, 0, 1) / 255 - truth.images[k]
        assert difference.abs().max() < 0.51 / 255 + 1e-4
        assert (depth.encoding, depth.step, depth.is_bigendian) == ("32FC1", 4 * WIDTH, 0)
        metres = np.array(depth.data).view("<f4").reshape(HEIGHT, WIDTH)
        np.testing.assert_allclose(metres, truth.depth[k], rtol=1e-5)
        np.testing.assert_allclose(info.k.reshape(3, 3), truth.intrinsics[k])
        np.testing.assert_allclose(info.p.reshape(3, 4)[:, :3], truth.intrinsics[k])
        assert (info.k[2], info.k[5]) == (WIDTH / 2, HEIGHT / 2)
        assert (info.width, info.height, info.distortion_model) == (WIDTH, HEIGHT, "plumb_bob")
        assert not info.d.any()


def test_bad_arguments_are_explained_and_leave_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert film(tmp_path / "a.mcap", "--frames", 0) == 1
    assert film(tmp_path / "a.mcap", "--seed", -1) == 1
    with pytest.raises(SystemExit):
        film(tmp_path / "a.mcap", "--size", "large")
    assert "240x320" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_film_that_breaks_off_leaves_no_bag(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("infinitevggt_ros.bags.world_bag.WorldBag.write", broken)
    assert film(tmp_path / "a.mcap") == 130
    assert list(tmp_path.iterdir()) == []
