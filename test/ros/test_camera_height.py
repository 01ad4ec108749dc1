# SPDX-License-Identifier: Apache-2.0
"""Metres by the height of the camera above the floor."""

from dataclasses import replace

import numpy as np
import pytest
import rclpy
import torch

from infinitevggt_core.worlds import World, WorldFrame
from infinitevggt_ros.params import parameters
from infinitevggt_ros.params.settings import (
    InputSettings,
    ModelSettings,
    ScaleSettings,
    Settings,
    TfSettings,
)
from support.rig import Rig

PAIR = InputSettings(cameras=("left", "right"))
UP = torch.tensor((0.0, 0.0, 1.0), dtype=torch.float64)


def height(frame: WorldFrame) -> float:
    """Return the height of the camera above the floor of its world, m."""
    rotation, translation = frame.camera_from_world.split((3, 1), dim=1)
    return float((-rotation.T @ translation)[2])


@pytest.mark.parametrize("is_level", [False, True])
def test_the_floor_makes_metres_of_what_a_network_sees(is_level: bool) -> None:
    """`tiny` in a room that it was not trained on, and a camera that looks 10 degrees down."""
    frames = list(World(10_001, "easy").sequence(8, 84, 112))
    scale = ScaleSettings("camera_height", samples=5, camera_height=height(frames[0]))
    rig = Rig(Settings(model=ModelSettings(image_size=112), scale=scale))
    if is_level:
        up = (frames[0].camera_from_world[:, :3] @ UP).numpy()
        rig.stream.gravity.up = lambda header: up  # type: ignore[method-assign]
    ratios = []
    for number, frame in enumerate(frames, start=1):
        rig.take((frame.image * 255).byte().permute(1, 2, 0).numpy().copy(), 10**9 * number)
        result = rig.stream.latest
        ratios.append(np.median(frame.depth.numpy() * result.scale / result.depth))
    assert rig.stream.placement.scale == pytest.approx(np.median(ratios), rel=0.1)
    assert rig.stream.scale.estimate[0] == pytest.approx(rig.stream.placement.scale, rel=0.011)


def test_a_wall_measures_nothing_and_that_is_said() -> None:
    settings = ScaleSettings("camera_height", samples=1, camera_height=1.0)
    rig = Rig(Settings(model=ModelSettings(image_size=112), scale=settings))
    rig.take(np.full((84, 112, 3), 128, np.uint8), 10**9)
    result = rig.stream.latest
    rig.stream.scale.reset()
    wall = np.full_like(result.depth, 2.0)
    rig.stream.scale.observe(replace(result, depth=wall))
    assert not rig.stream.scale.is_metric
    assert "no floor in sight: the scale is not measured" in rig.warnings


@pytest.mark.parametrize(("heights", "expected"), [((1.5, 3.0), 3.0), ((1.5,), 1.5), (1.5, 1.5)])
def test_a_camera_of_a_rig_has_its_own_height(
    heights: float | tuple[float, ...], expected: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "infinitevggt_ros.stream.scale.camera_height.floor_distance", lambda *_: 1.0
    )
    settings = ScaleSettings("camera_height", samples=1, camera_height=heights)
    rig = Rig(Settings(PAIR, model=ModelSettings(image_size=28), scale=settings))
    rig.take(np.full((28, 28, 3), 128, np.uint8), 10**9, "right")
    assert rig.stream.scale.factor == pytest.approx(expected)


def test_as_many_heights_as_cameras_or_one() -> None:
    with pytest.raises(ValueError, match="one for each of the 2 cameras; got 3"):
        Settings(PAIR, scale=ScaleSettings(camera_height=(1.0, 2.0, 3.0)))
    with pytest.raises(ValueError, match=r"scale\.camera_height, in metres"):
        ScaleSettings("camera_height", camera_height=(1.0, 0.0))
    with pytest.raises(ValueError, match="camera_height must lie in"):
        ScaleSettings(camera_height=(1.0, -2.0))
    with pytest.raises(ValueError, match="camera_height must be a number; got 'high'"):
        ScaleSettings(camera_height="high")


@pytest.mark.ros
@pytest.mark.parametrize(("given", "heights"), [("1.5", 1.5), ("2", 2), ("[1.5, 2.5]", (1.5, 2.5))])
def test_the_parameter_is_a_number_or_a_list(given: str, heights: object) -> None:
    rclpy.init(
        args=["--ros-args", "-p", "cameras:=[left, right]", "-p", f"scale.camera_height:={given}"]
    )
    node = rclpy.create_node("heights")
    assert parameters.declare(node).scale.camera_height == heights
    node.destroy_node()
    rclpy.shutdown()


def test_settings_that_go_round_in_a_circle_or_say_too_little_are_refused() -> None:
    with pytest.raises(ValueError, match=r"scale\.camera_height, in metres"):
        ScaleSettings("camera_height")
    with pytest.raises(ValueError, match="odom_to_base this node is the odometry"):
        Settings(scale=ScaleSettings("odometry"), tf=TfSettings("odom_to_base"))
