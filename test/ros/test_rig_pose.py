# SPDX-License-Identifier: Apache-2.0
"""Cameras of a rig in one world: one is tracked, the robot's transforms place the others."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
from geometry_msgs.msg import TransformStamped
from numpy.typing import NDArray
from sensor_msgs.msg import CameraInfo

from infinitevggt_core.evaluation import Similarity
from infinitevggt_core.evaluation.trajectory import camera_centers, trajectory_errors
from infinitevggt_core.tracking.rigid import compose, inverse, moved
from infinitevggt_ros.input.mailbox import Received
from infinitevggt_ros.output.frame_result import FrameResult
from infinitevggt_ros.params.settings import InputSettings, ModelSettings, ScaleSettings, Settings
from infinitevggt_ros.pose_messages import transform_from_matrix
from infinitevggt_ros.stream.rig_pose import RigPose
from support.camera import header, image_message
from support.rig import Rig
from support.tracking_samples import MATRIX, SIZE, Box, walk

FRAMES = 60
POSES = walk(FRAMES)
BOX = Box()
RIGHT_FROM_LEFT = moved(np.eye(3, 4), np.array([-0.25, 0.02, 0, 0, 0.08, 0]))
BEHIND_FROM_LEFT = moved(np.eye(3, 4), np.array([0.0, 0, -0.3, 0, np.pi - 0.1, 0]))
NAMES = {"left": np.eye(3, 4), "right": RIGHT_FROM_LEFT}
STEP_NS = 33_000_000


def rig_of(**changes: object) -> Rig:
    settings = Settings(
        model=ModelSettings(image_size=112),
        input=InputSettings(cameras=("left", "right")),
        **changes,
    )
    rig = Rig(settings, pose_source="tracking")
    for camera in rig.cameras.values():
        info = CameraInfo(header=header(0), height=SIZE[0], width=SIZE[1])
        info.k = MATRIX.ravel().tolist()
        camera.converter.calibration = info
    return rig


def know(rig: Rig, other_from_left: NDArray[np.float64]) -> None:
    """Tell the robot's transform between the cameras."""
    pose = np.eye(4)
    pose[:3] = inverse(other_from_left)
    message = TransformStamped(
        header=header(0, "left_eye"),
        child_frame_id="right_eye",
        transform=transform_from_matrix(pose),
    )
    rig.hear_tf(message, static=True)


def take(rig: Rig, camera: str, pose: NDArray[np.float64], stamp_ns: int) -> FrameResult:
    pixels = cv2.cvtColor(BOX.render(pose)[0], cv2.COLOR_GRAY2RGB)
    message = image_message(pixels, stamp_ns, frame_id=f"{camera}_eye")
    result = rig.stream.process(Received(message, 0.0, rig.cameras[camera]))
    rig.stream.measure_scale()
    return result


def both(
    rig: Rig, other_from_left: NDArray[np.float64], late_ns: int = 0, frames: int = FRAMES
) -> tuple[list[FrameResult], list[FrameResult]]:
    lefts, rights = [], []
    for number in range(frames):
        stamp_ns = 10**9 + STEP_NS * number
        lefts.append(take(rig, "left", POSES[number], stamp_ns))
        rights.append(
            take(rig, "right", compose(other_from_left, POSES[number]), stamp_ns + late_ns)
        )
    return lefts, rights


def poses_of(results: list[FrameResult]) -> NDArray[np.float64]:
    return np.stack([result.camera_from_world for result in results])


@pytest.fixture(scope="module")
def walked() -> tuple[Rig, list[FrameResult], list[FrameResult]]:
    rig = rig_of()
    know(rig, RIGHT_FROM_LEFT)
    return rig, *both(rig, RIGHT_FROM_LEFT)


def test_both_cameras_are_where_they_are(
    walked: tuple[Rig, list[FrameResult], list[FrameResult]],
) -> None:
    _, lefts, rights = walked
    truth = np.stack(POSES), np.stack([compose(RIGHT_FROM_LEFT, pose) for pose in POSES])
    errors = trajectory_errors(poses_of(lefts), truth[0])
    assert errors.ate_percent < 5
    world = Similarity.of(camera_centers(poses_of(lefts)), camera_centers(truth[0]))
    found = world(camera_centers(poses_of(rights)))
    apart = np.linalg.norm(found - world(camera_centers(poses_of(lefts))), axis=1)[30:]
    assert np.median(apart) == pytest.approx(0.251, rel=0.08), "the baseline in metres"
    assert np.median(np.linalg.norm(found - camera_centers(truth[1]), axis=1)[30:]) < 0.03
    assert {result.pose_state for result in rights} <= {"tracking", "degraded"}


def test_a_camera_that_is_late_is_where_it_was_then(
    walked: tuple[Rig, list[FrameResult], list[FrameResult]],
) -> None:
    """The right images come with the motion of almost a frame since the left ones."""
    _, _, rights = walked
    rig = rig_of()
    know(rig, RIGHT_FROM_LEFT)
    both(rig, RIGHT_FROM_LEFT, frames=40)
    for number in range(40, FRAMES - 1):
        stamp_ns = 10**9 + STEP_NS * number
        take(rig, "left", POSES[number], stamp_ns)
        following = compose(RIGHT_FROM_LEFT, POSES[number + 1])
        found = take(rig, "right", following, stamp_ns + STEP_NS - 1)
    apart = camera_centers(np.stack((found.camera_from_world, rights[-1].camera_from_world)))
    step = camera_centers(poses_of(rights[-2:]))
    assert np.linalg.norm(apart[0] - apart[1]) < 2 * np.linalg.norm(step[0] - step[1])
    assert np.trace(found.covariance) > np.trace(rights[-1].covariance)


def test_the_baseline_gives_metres_by_the_tracked_points() -> None:
    rig = rig_of(scale=ScaleSettings(source="baseline", samples=5))
    know(rig, RIGHT_FROM_LEFT)
    lefts, rights = both(rig, RIGHT_FROM_LEFT)
    metric = [number for number, left in enumerate(lefts) if left.is_metric]
    assert len(metric) > 15
    centers = np.stack([lefts[number].pose[:3, 3] for number in metric])
    truth = camera_centers(np.stack(POSES)[metric])
    assert Similarity.of(centers, truth).scale == pytest.approx(1, rel=0.1)
    apart = np.linalg.norm(rights[-1].pose[:3, 3] - lefts[-1].pose[:3, 3])
    assert apart == pytest.approx(0.251, rel=0.08)


def test_cameras_that_see_different_things_have_the_robots_rotation() -> None:
    rig = rig_of()
    know(rig, BEHIND_FROM_LEFT)
    lefts, rights = both(rig, BEHIND_FROM_LEFT, frames=12)
    for left, right in zip(lefts, rights, strict=True):
        relative = compose(right.camera_from_world, inverse(left.camera_from_world))
        np.testing.assert_allclose(relative[:, :3], BEHIND_FROM_LEFT[:, :3], atol=1e-6)


def test_without_transforms_the_network_places_the_other_camera() -> None:
    rig = rig_of()
    _, rights = both(rig, RIGHT_FROM_LEFT, frames=4)
    assert np.isfinite(rights[-1].pose).all()
    assert "no transform between" in rights[-1].pose_reason


def test_a_camera_whose_partner_is_silent_is_lost_until_it_comes_back() -> None:
    rig = rig_of()
    know(rig, RIGHT_FROM_LEFT)
    first = take(rig, "right", compose(RIGHT_FROM_LEFT, POSES[0]), 10**9)
    assert first.pose_state == "lost"
    both_rig, _ = both(rig, RIGHT_FROM_LEFT, late_ns=2, frames=5)
    assert both_rig[-1].pose_state != "lost"
    later = take(rig, "right", compose(RIGHT_FROM_LEFT, POSES[6]), 10**9 + 6 * 10**9)
    assert later.pose_state == "lost"
    assert "no pose of the camera left" in later.pose_reason
    back = 10**9 + 7 * 10**9
    take(rig, "left", POSES[6], back)
    assert take(rig, "right", compose(RIGHT_FROM_LEFT, POSES[6]), back).pose_state != "lost"


def test_keyframes_of_both_cameras_move_with_a_correction(
    walked: tuple[Rig, list[FrameResult], list[FrameResult]],
) -> None:
    rig, _, _ = walked
    source = rig.stream.pose_source
    assert isinstance(source, RigPose)
    poses = source.keyframes()
    own = {number for number in poses if number >= 0}
    beside = {number for number in poses if number < 0}
    assert len(own) >= 2
    assert len(own) - 1 <= len(beside) <= len(own)
    for number in beside:
        relative = poses[-number - 1].inverse() @ poses[number]
        length = np.linalg.norm(relative.translation)
        assert 0 < length < 1
    clouds = rig.stream.state_dict()["keyframes"]["indices"]
    assert set(clouds) >= beside


def test_a_snapshot_goes_on_equally() -> None:
    rigs = rig_of(), rig_of()
    for rig in rigs:
        know(rig, RIGHT_FROM_LEFT)
    both(rigs[0], RIGHT_FROM_LEFT, frames=20)
    rigs[1].stream.load_state_dict(rigs[0].stream.state_dict())
    for number in (20, 21):
        stamp_ns = 10**9 + STEP_NS * number
        for camera, motion in NAMES.items():
            results = [take(rig, camera, compose(motion, POSES[number]), stamp_ns) for rig in rigs]
            np.testing.assert_allclose(
                results[0].camera_from_world, results[1].camera_from_world, atol=1e-9
            )


def test_the_settings_choose_the_source() -> None:
    assert isinstance(rig_of().stream.pose_source, RigPose)
    independent = replace(rig_of().stream.settings.rig, mode="independent")
    settings = replace(rig_of().stream.settings, rig=independent)
    rig = Rig(settings, pose_source="tracking")
    assert not any(isinstance(stream.pose_source, RigPose) for stream in rig.streams)
