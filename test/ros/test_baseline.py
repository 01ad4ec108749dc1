# SPDX-License-Identifier: Apache-2.0
"""The known distance between a rig's cameras makes metres of the stream's unit."""

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch
from geometry_msgs.msg import TransformStamped
from scipy.spatial.transform import Rotation

from infinitevggt_core import preprocess
from infinitevggt_core.metric.baseline import predicted_baseline
from infinitevggt_core.worlds import World
from infinitevggt_ros.input.robot import UnknownRobot
from infinitevggt_ros.map_axes import MapFromWorld
from infinitevggt_ros.msg import StreamStatus
from infinitevggt_ros.node.diagnostics import OK, WARN, scale_finding
from infinitevggt_ros.output.frame_result import FrameResult
from infinitevggt_ros.params.settings import (
    InputSettings,
    PoseSettings,
    RigSettings,
    ScaleSettings,
    Settings,
)
from infinitevggt_ros.stream.scale.baseline import prediction_of
from infinitevggt_ros.stream.scale.stream_scale import StreamScale
from support.camera import Spawn, image_message
from support.listening import finish
from support.rig import SMALL, Rig

BASELINE_M, UNIT_M = 0.12, 0.4
"""The right camera stands beside the left one; what the network calls 1."""
PIXELS = np.zeros((28, 28, 3), np.uint8)
PAIR = Settings(
    model=SMALL,
    input=InputSettings(cameras=("left", "right")),
    scale=ScaleSettings(source="baseline", samples=4),
    pose=PoseSettings(source="network"),
)


def result(of: str, stamp_ns: int, camera_from_world: torch.Tensor) -> FrameResult:
    """Prediction of a perfect network in its own unit. camera_from_world: (3, 4), metres."""
    pose = camera_from_world.float().clone()
    pose[:, 3] /= UNIT_M
    flat = np.ones((28, 28), np.float32)
    _, pixel_map = preprocess(PIXELS, 28)
    message = image_message(PIXELS, stamp_ns, frame_id=f"{of}_eye")
    return FrameResult(
        camera=of,
        header=message.header,
        stamp_ns=stamp_ns,
        received_s=0.0,
        colors=np.zeros((28, 28, 3), np.float32),
        depth=7 * flat,
        confidence=flat,
        intrinsics=np.eye(3),
        camera_from_world=pose.double().numpy(),
        pixel_map=pixel_map,
        placement=MapFromWorld(scale=7.0),  # whatever lengths were multiplied by
    )


def right_from_left(yaw: float) -> torch.Tensor:
    """4 x 4, of a right camera that stands beside the left one and is turned to it."""
    pose = torch.eye(4).double()
    pose[:3, :3] = torch.from_numpy(Rotation.from_rotvec((0, yaw, 0)).as_matrix())
    pose[:3, 3] = pose[:3, 0] * -BASELINE_M
    return pose


BESIDE = right_from_left(0.0)


def known(right_from_left: torch.Tensor, frame: str) -> np.ndarray:
    """4 x 4, the other camera in the axes of this one."""
    is_right = frame == "right_eye"
    return (right_from_left if is_right else right_from_left.inverse()).numpy()


def walk(
    frames: int, late_ns: int = 0, right_from_left: torch.Tensor = BESIDE
) -> Iterator[tuple[FrameResult, FrameResult]]:
    """Left and right on a way through a synthetic room, a tenth of a second apart."""
    poses = World(10_000, "easy").trajectory.camera_from_world(torch.arange(frames).double())
    for number, left in enumerate(poses):
        right = right_from_left[:3, :3] @ left
        right[:, 3] += right_from_left[:3, 3]
        at_ns = (1 + number) * 100_000_000
        yield result("left", at_ns, left), result("right", at_ns + late_ns, right)


def scale_of(
    pairs: Iterator[tuple[FrameResult, FrameResult]],
    between: Callable[[str, str], np.ndarray | None] = lambda one, other: known(BESIDE, one),
) -> tuple[StreamScale, list[str]]:
    warnings: list[str] = []
    robot = UnknownRobot()
    robot.between = between  # type: ignore[method-assign]
    scale = StreamScale(PAIR, robot, lambda kind, text: warnings.append(text))
    latest: dict[str, FrameResult] = {}
    for pair in pairs:
        for frame in pair:
            latest[frame.camera] = frame
            scale.observe(frame, latest.values())
    return scale, warnings


@pytest.mark.parametrize("late_ns", [0, 15_000_000])
def test_the_distance_of_two_cameras_makes_metres(late_ns: int) -> None:
    scale, warnings = scale_of(walk(8, late_ns))
    assert scale.factor == pytest.approx(UNIT_M, rel=1e-3)
    assert scale.estimate[1] < 1e-3
    assert warnings == []


def test_cameras_that_look_apart_make_metres_by_how_tf_says_they_are_turned() -> None:
    apart = right_from_left(0.4)
    scale, _ = scale_of(walk(8, 0, apart), lambda one, other: known(apart, one))
    assert scale.factor == pytest.approx(UNIT_M, rel=1e-3)
    assert scale.estimate[1] < 1e-3


def test_a_network_that_sees_a_turn_where_tf_knows_of_none_is_said_to_be_unsure() -> None:
    """Half of the step hides in it; the wall is one unit away."""
    turned = right_from_left(-BASELINE_M / 2 / UNIT_M)
    turned[:3, 3] /= 2
    scale, _ = scale_of(walk(8, 0, turned))
    factor, sigma = scale.estimate
    assert factor == pytest.approx(UNIT_M, rel=0.03)
    assert sigma == pytest.approx(factor / 2, rel=0.03)
    status = StreamStatus(scale_source="baseline")
    status.metres_per_unit, status.metres_per_unit_sigma = factor, sigma
    assert scale_finding(status)[0] == WARN
    status.metres_per_unit_sigma = 0.1 * factor
    assert scale_finding(status)[0] == OK


def test_a_third_of_nonsense_changes_nothing() -> None:
    def disturbed() -> Iterator[tuple[FrameResult, FrameResult]]:
        for number, (left, right) in enumerate(walk(12)):
            far = right.camera_from_world * (1, 1, 1, 50)
            yield left, right if number % 3 else replace(right, camera_from_world=far)

    assert scale_of(disturbed())[0].factor == pytest.approx(UNIT_M, rel=1e-2)


def test_images_of_different_times_say_nothing_of_the_baseline() -> None:
    scale, _ = scale_of(walk(8, late_ns=40_000_000))
    assert not scale.is_metric


def test_cameras_whose_places_are_not_known_are_named() -> None:
    scale, warnings = scale_of(walk(1), between=lambda one, other: None)
    assert not scale.is_metric
    assert warnings == ["no transform between right_eye and left_eye: no scale from it"]


def test_a_rig_takes_the_distance_from_tf_and_its_poses_become_metric() -> None:
    rig = Rig(PAIR)
    for name, y in (("left", 0.06), ("right", -0.06)):
        mount = TransformStamped(child_frame_id=f"{name}_eye")
        mount.header.frame_id = "base_link"
        mount.transform.translation.y, mount.transform.rotation.w = y, 1.0
        rig.hear_tf(mount, static=True)
    images = {name: np.full((28, 28, 3), 40 * i, np.uint8) for i, name in enumerate(rig.cameras)}
    distances = list[float]()
    for number in range(1, 8):
        rig.take_together(images, number * 10**9, frame_ids="{}_eye")
        left, right = map(prediction_of, rig.stream.latest_of.values())
        distances.append(predicted_baseline(right, left, np.eye(3))[0])
    expected = BASELINE_M / np.median(distances)
    assert rig.stream.scale.estimate[0] == pytest.approx(expected, rel=1e-6)
    assert rig.statuses[-1].scale_source == "baseline"
    assert rig.stream.placement.scale != 1


@pytest.mark.parametrize(
    "change",
    [
        {"input": InputSettings()},
        {"input": InputSettings(cameras=("left",))},
        {"rig": RigSettings(mode="independent")},
    ],
)
def test_a_baseline_needs_two_cameras_in_one_world(change: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"scale\.source baseline needs two or more cameras"):
        replace(PAIR, **change)


@pytest.mark.ros
def test_the_node_refuses_a_baseline_of_one_camera(spawn: Spawn) -> None:
    code, output = finish(spawn("stream_node", "--ros-args", "-p", "scale.source:=baseline"))
    assert code == 1
    assert "stream_node: scale.source baseline needs two or more cameras" in output
