# SPDX-License-Identifier: Apache-2.0
"""A stream whose poses come from tracking: true to scale-free truth, resumable, and corrected."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from geometry_msgs.msg import PoseStamped
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation
from std_msgs.msg import Header
from visualization_msgs.msg import Marker

from infinitevggt_core import Prediction
from infinitevggt_core.evaluation.trajectory import trajectory_errors
from infinitevggt_core.io.plain_state import with_arrays
from infinitevggt_core.tracking.similarity import Similarity3
from infinitevggt_ros.map_axes import MapFromWorld
from infinitevggt_ros.output.markers import KEYFRAMES, LOOPS, POINTS, UNCERTAINTY
from infinitevggt_ros.output.trajectory import Trajectory
from infinitevggt_ros.params.settings import (
    OutputSettings,
    PoseSettings,
    ScaleSettings,
    Settings,
    StateSettings,
)
from infinitevggt_ros.pose_messages import pose_from_matrix
from infinitevggt_ros.stream.keyframe_history import KeyframeHistory
from infinitevggt_ros.stream.state_file import read_state, write_state
from support.camera import image_message
from support.rig import MARKERS, ODOMETRY, PATH, TF, Rig
from support.tracking_rig import run, save_walk, tracking_rig
from support.tracking_samples import Box, walk

FRAMES = 60
POSES = walk(FRAMES)
BOX = Box()


@pytest.fixture(scope="module")
def images() -> list[NDArray[np.uint8]]:
    """RGB images of a walk in a textured box."""
    return [cv2.cvtColor(BOX.render(pose)[0], cv2.COLOR_GRAY2RGB) for pose in POSES]


@pytest.fixture(scope="module")
def walk_file(images: list[NDArray[np.uint8]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """State of a stream that walked there and back."""
    return save_walk(images, tmp_path_factory.mktemp("walk") / "state.pt")


def elsewhere(images: list[NDArray[np.uint8]]) -> list[NDArray[np.uint8]]:
    """Return images that begin in the middle of the walk."""
    return [*images[10:], *images[:20:-1]]


def saved_map(rig: Rig) -> dict[str, Any]:
    """Return what of a saved state is the map."""
    state = with_arrays(rig.stream.state_dict())
    mapper = state["pose_source"]["mapper"]
    return {
        "map": state["map"],
        "clouds": state["clouds"],
        "keyframes": state["keyframes"],
        "graph": mapper["closer"] if mapper["sealed"] is None else mapper["sealed"],
        "axes": state["map_from_world"],
        "scale": (state["scale"], state["measured"]),
    }


def test_tracking_is_the_default() -> None:
    assert Settings().pose.source == "tracking"


def test_poses_follow_the_camera_whatever_the_network_says(images: list[NDArray[np.uint8]]) -> None:
    results = run(tracking_rig(), images)
    found = np.stack([result.camera_from_world for result in results])
    errors = trajectory_errors(found, np.stack(POSES))
    assert errors.ate_percent < 5
    assert errors.rotation_deg_median < 1.5
    assert {result.pose_state for result in results} <= {"tracking", "degraded"}
    assert np.isfinite(results[-1].covariance).all()


def test_the_pose_is_published_before_the_network_is_done(
    images: list[NDArray[np.uint8]], monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = tracking_rig(background=True)
    push = rig.stream.session.push

    def noted_push(pixels: torch.Tensor) -> Prediction:
        rig.sent.append(("network", None))
        return push(pixels)

    monkeypatch.setattr(rig.stream.session, "push", noted_push)
    for number, image in enumerate(images[:20]):
        del rig.sent[:]
        rig.take_together({"": image}, 10**9 + 33_000_000 * number)
        topics = [topic for topic, _ in rig.sent]
        assert topics.count(ODOMETRY) == topics.count(TF) == 1
        is_early = topics.index(ODOMETRY) < topics.index("network")
        assert is_early == (number > 0)  # the first image has no pose before it has depth
        assert (topics.index(TF) < topics.index("network")) == is_early
        odometry, path = rig.messages(ODOMETRY)[0], rig.messages(PATH)[0]
        assert odometry.header.stamp == path.poses[-1].header.stamp
        assert odometry.pose.pose.position == path.poses[-1].pose.position
    rig.stream.close()


def test_depth_is_in_the_unit_of_the_trajectory(images: list[NDArray[np.uint8]]) -> None:
    results = run(tracking_rig(), images)
    found = np.stack([result.camera_from_world for result in results])
    unit = trajectory_errors(found, np.stack(POSES)).scale
    true_depth = cv2.resize(BOX.render(POSES[-1])[1], results[-1].depth.shape[::-1])
    ratio = np.median(unit * results[-1].depth / true_depth)
    assert ratio == pytest.approx(1, abs=0.15)


def test_a_stream_resumes_with_equal_poses(images: list[NDArray[np.uint8]], tmp_path: Path) -> None:
    whole, half = tracking_rig(), tracking_rig()
    expected = run(whole, images)[-1]
    run(half, images[:40])
    write_state(tmp_path / "state.pt", half.stream.state_dict())
    resumed = tracking_rig()
    resumed.stream.load_state_dict(read_state(tmp_path / "state.pt"))
    result = run(resumed, images[40:], first=40)[-1]
    np.testing.assert_array_equal(result.camera_from_world, expected.camera_from_world)
    np.testing.assert_array_equal(result.depth, expected.depth)
    assert torch.equal(resumed.stream.map.cloud().positions, whole.stream.map.cloud().positions)


def test_a_black_image_costs_its_frame_alone(images: list[NDArray[np.uint8]]) -> None:
    rig = tracking_rig()
    run(rig, images[:30])
    dark = run(rig, [np.zeros_like(images[0])], first=30)[0]
    assert dark.pose_state in ("network", "lost")
    assert dark.pose_reason
    assert run(rig, images[31:], first=31)[-1].pose_state in ("tracking", "degraded")


def test_nothing_is_fused_while_the_camera_is_lost(images: list[NDArray[np.uint8]]) -> None:
    rig = tracking_rig()
    run(rig, images[:30])
    dark = [np.zeros_like(images[0])] * 8
    upside_down = [np.ascontiguousarray(image[::-1, ::-1]) for image in images[:6]]
    lost = 0
    for number, image in enumerate([*dark, *upside_down]):
        before = rig.stream.map.cloud().positions
        result = run(rig, [image], first=30 + number)[0]
        if result.pose_state == "lost":
            lost += 1
            assert torch.equal(rig.stream.map.cloud().positions, before)
    assert lost >= len(upside_down)
    rig.stream.reset("asked for")
    begun = run(rig, upside_down, first=50)[-1]
    assert (begun.map_id, begun.pose_state != "lost") == (1, True), "a map of the unknown place"


def test_a_restart_elsewhere_in_the_place_finds_the_same_map(
    images: list[NDArray[np.uint8]], walk_file: Path
) -> None:
    """The state of a walk is loaded at its end; the camera stands in the middle of the walk."""
    again = tracking_rig()
    again.stream.load_world(walk_file)
    result = run(again, elsewhere(images), first=500)[-1]
    assert result.pose_state in ("tracking", "degraded"), result.pose_reason


def test_localization_only_leaves_the_saved_map_as_it_is(
    images: list[NDArray[np.uint8]], walk_file: Path
) -> None:
    file = walk_file.read_bytes()
    settings = StateSettings(path=str(walk_file))
    again = tracking_rig(state=settings, pose=PoseSettings(localization_only=True))
    again.stream.load_world(walk_file)
    before = saved_map(again)
    results = run(again, elsewhere(images), first=500)
    assert results[-1].pose_state in ("tracking", "degraded"), results[-1].pose_reason
    np.testing.assert_equal(saved_map(again), before)
    again.stream.save()
    assert walk_file.read_bytes() == file


def test_time_that_goes_back_keeps_a_map_that_is_only_used(
    images: list[NDArray[np.uint8]], walk_file: Path
) -> None:
    rig = tracking_rig()
    rig.stream.load_world(walk_file)
    settings = rig.stream.settings
    rig.stream.configure(replace(settings, pose=replace(settings.pose, localization_only=True)))
    before = saved_map(rig)
    run(rig, images[:3], first=500)
    rig.stream.restart("the clock went back")
    assert run(rig, elsewhere(images))[-1].pose_state in ("tracking", "degraded")
    np.testing.assert_equal(saved_map(rig), before)
    rig.stream.configure(settings)
    run(rig, images[20:24], first=500)
    assert rig.stream.state_dict()["map"]["time"] > before["map"]["time"]


def test_markers_show_the_keyframes_and_tracked_points(images: list[NDArray[np.uint8]]) -> None:
    rig = tracking_rig(output=OutputSettings(markers_period=0.02))
    results = run(rig, images[:20])
    shown = {marker.ns: marker for marker in rig.messages(MARKERS)[-1].markers}
    assert set(shown) == {KEYFRAMES, LOOPS, POINTS, UNCERTAINTY}
    assert len(shown[KEYFRAMES].points) == 16 * len(rig.stream.pose_source.keyframes())
    assert len(shown[POINTS].points) > 60
    points = np.array([(p.x, p.y, p.z) for p in shown[POINTS].points])
    depth = ((points - results[-1].pose[:3, 3]) @ results[-1].pose[:3, :3])[:, 2]
    known = results[-1].depth
    assert np.median(depth) == pytest.approx(float(np.median(known)), rel=0.5)
    rig.stream.reset("for the test")
    rig.pass_time()
    assert [marker.action for marker in rig.messages(MARKERS)[-1].markers] == [Marker.DELETEALL]


def test_a_depth_camera_gives_metres_to_poses_and_depth(
    images: list[NDArray[np.uint8]],
) -> None:
    rig = tracking_rig(scale=ScaleSettings("depth", samples=2))
    results = []
    for number, image in enumerate(images[:30]):
        stamp_ns = 10**9 + 33_000_000 * number
        true_depth = BOX.render(POSES[number])[1].astype(np.float32)
        rig.stream.scale.keep_depth(image_message(true_depth, stamp_ns, "32FC1"))
        results.append(rig.take(image, stamp_ns))
    found = np.stack([result.camera_from_world for result in results])
    errors = trajectory_errors(found, np.stack(POSES[:30]), scaled=False)
    assert errors.ate_percent < 3
    last = results[-1]
    assert last.is_metric
    assert last.scale == pytest.approx(1, rel=0.03), "the tracker's own unit is the metre"
    true_depth = last.pixel_map.to_model(BOX.render(POSES[29])[1].astype(np.float32))
    assert np.median(np.abs(last.depth / true_depth - 1)) < 0.05


def test_what_hangs_on_keyframes_moves_with_them() -> None:
    history, trajectory = KeyframeHistory(), Trajectory()
    placement = MapFromWorld()
    for index in range(4):
        pose = Similarity3(np.array(1.0), np.eye(3), np.array([0.0, 0.0, float(index)]))
        history.add(index, 10 * index, pose)
        stamped = PoseStamped(header=Header(frame_id="map"))
        stamped.header.stamp.nanosec = 10 * index + 1
        camera_from_world = np.eye(3, 4)
        camera_from_world[2, 3] = -index
        stamped.pose = pose_from_matrix(placement.pose(camera_from_world))
        trajectory.add(stamped, 100)
    turn = Rotation.from_euler("y", 90, degrees=True).as_matrix()
    moved = {3: Similarity3(np.array(2.0), turn, np.array([5.0, 0.0, 0.0]))}
    correction = history.correct({**history.poses, **moved}, placement)
    assert correction is not None
    trajectory.correct(correction.move)
    points = [pose.pose.position for pose in trajectory.poses]
    assert [(p.x, p.y, p.z) for p in points[:3]] == [(0, 0, 0), (1, 0, 0), (2, 0, 0)]
    # right of the first camera is -y of the map
    np.testing.assert_allclose([points[3].x, points[3].y, points[3].z], [0, -5, 0], atol=1e-12)
    assert history.correct({9: moved[3]}, placement) is None
