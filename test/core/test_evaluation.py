# SPDX-License-Identifier: Apache-2.0
"""Measures against figures computed by hand."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from infinitevggt_core import MemoryConfig, StreamSession, load_checkpoint
from infinitevggt_core.evaluation import (
    DepthSample,
    Similarity,
    cloud_errors,
    trajectory_errors,
)
from infinitevggt_core.evaluation.cloud import align, estimate_normals
from infinitevggt_core.evaluation.depth import fit_scale, fit_scale_and_shift, spread
from infinitevggt_core.evaluation.similarity import Array
from infinitevggt_core.evaluation.synthetic_world import StreamRecord, evaluate_world
from infinitevggt_core.evaluation.tally import FrameMetrics, StreamTally, measures
from infinitevggt_core.evaluation.trajectory import camera_centers
from infinitevggt_core.io.tum import write_tum
from infinitevggt_core.model.geometry import encode_pose
from infinitevggt_core.model.prediction import Prediction
from infinitevggt_core.training.targets import relative_to_first
from infinitevggt_core.worlds import World, WorldFrame

RNG = np.random.default_rng(7)


def walk(frames: int = 30) -> Array:
    """Return camera_from_world (N, 3, 4) of a moving and rotating camera."""
    steps = np.linspace(0, 3, frames)
    turns = Rotation.from_euler("zyx", np.stack((steps, 0.3 * steps, np.sin(steps)), 1))
    centers = np.stack((np.cos(steps), steps**2 / 4, np.sin(2 * steps)), 1)
    return posed(turns.as_matrix(), centers)


def posed(rotation: Array, centers: Array) -> Array:
    return np.concatenate((rotation, -rotation @ centers[..., None]), axis=-1)


def moved(poses: Array, scale: float) -> Array:
    """Return the same cameras in a rotated, shifted and scaled world."""
    turn = Rotation.from_rotvec([0.4, -1.0, 2.0]).as_matrix()
    centers = scale * camera_centers(poses) @ turn.T + [3, -2, 7]
    return posed(poses[..., :3] @ turn.T, centers)


def test_another_world_and_scale_is_no_error() -> None:
    errors = trajectory_errors(moved(walk(), 4.0), walk())
    assert errors.scale == pytest.approx(0.25)
    for name in ("ate_rmse", "rotation_deg_max", "rpe_translation", "rpe_rotation_deg"):
        assert getattr(errors, name) == pytest.approx(0, abs=1e-6)


def test_without_a_scale_the_error_is_that_of_the_scale() -> None:
    truth = walk()
    centers = camera_centers(truth)
    spread_m = np.sqrt(np.square(centers - centers.mean(0)).sum(1).mean())
    errors = trajectory_errors(moved(truth, 1.1), truth, scaled=False)
    assert errors.scale == 1
    assert errors.ate_rmse == pytest.approx(0.1 * spread_m)


def test_one_displaced_camera_of_four() -> None:
    # a square of side 1 whose corners move out and in by turns: no similarity can mend that
    square = np.array([[0.0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]])
    bent = square + 0.1 * np.array([[0, 0, 1], [0, 0, -1], [0, 0, 1], [0, 0, -1]])
    eye = np.broadcast_to(np.eye(3), (4, 3, 3))
    errors = trajectory_errors(posed(eye, bent), posed(eye, square))
    scale = 0.5 / (0.5 + 0.01)
    ate = np.sqrt(0.5 * (1 - scale) ** 2 + (0.1 * scale) ** 2)
    assert errors.scale == pytest.approx(scale)
    assert errors.ate_rmse == pytest.approx(ate)
    assert errors.path_length == pytest.approx(3)
    assert errors.ate_percent == pytest.approx(100 * ate / 3)
    # each step of 1 m became `scale` m long and 0.2 * scale m high
    assert errors.rpe_translation == pytest.approx(np.hypot(1 - scale, 0.2 * scale))


def test_a_mirrored_trajectory_is_not_aligned_away() -> None:
    truth = walk()
    mirror = np.diag([1.0, 1.0, -1.0])
    errors = trajectory_errors(posed(truth[..., :3], camera_centers(truth) @ mirror), truth)
    assert errors.ate_rmse > 0.2


def test_rotation_errors_are_relative_to_the_first_camera() -> None:
    truth = walk(21)
    turned = truth.copy()
    turned[11:, :, :3] @= Rotation.from_rotvec([0, np.radians(10), 0]).as_matrix()
    errors = trajectory_errors(posed(turned[..., :3], camera_centers(truth)), truth)
    assert errors.rotation_deg_max == pytest.approx(10)
    assert errors.rotation_deg_median == pytest.approx(0, abs=1e-5)
    assert errors.rpe_rotation_deg == pytest.approx(10 / np.sqrt(20))


def test_a_camera_that_stands_has_the_spread_as_error() -> None:
    truth = walk()
    centers = camera_centers(truth)
    still = np.broadcast_to(np.eye(3, 4), truth.shape)
    errors = trajectory_errors(still, truth)
    assert errors.scale == 0
    assert errors.ate_rmse == pytest.approx(
        np.sqrt(np.square(centers - centers.mean(0)).sum(1).mean())
    )


def test_points_without_partners_are_refused() -> None:
    with pytest.raises(ValueError, match="no partners"):
        Similarity.of(np.zeros((3, 3)), np.zeros((4, 3)))


def test_depth_has_one_scale_per_sequence() -> None:
    sample = DepthSample(1000)
    truth = np.array([[1.0, 2], [4, 8]], np.float32)
    sample.add(truth / 3, truth)
    sample.add(truth / 3, truth)
    sample.add(truth / 3 * np.float32(1.3), truth)
    errors = sample.errors()
    assert errors.scale == pytest.approx(3)
    assert errors.absrel == pytest.approx(0.1)
    assert errors.delta125 == pytest.approx(2 / 3)
    assert errors.rmse == pytest.approx(0.3 * np.sqrt((1 + 4 + 16 + 64) / 12))
    # the best constant is 3: off by 2, 1/2, 1/4 and 5/8 of the truth
    assert sample.trivial().absrel == pytest.approx((2 + 0.5 + 0.25 + 0.625) / 4)
    assert sample.trivial().delta125 == 0


def test_pixels_without_truth_do_not_count_and_those_without_depth_do() -> None:
    sample = DepthSample(1000)
    truth = np.array([[1.0, 0, np.nan, np.inf, 1]], np.float32)
    sample.add(np.array([[2.0, 5, 5, 5, np.nan]], np.float32), truth)
    errors = sample.errors()
    assert errors.absrel == pytest.approx(0.5)
    assert errors.delta125 == pytest.approx(0.5)


@pytest.mark.parametrize(("size", "count"), [(9408, 1000), (10, 100), (7, 7)])
def test_places_are_spread_evenly(size: int, count: int) -> None:
    places = spread(size, count)
    assert len(set(places.tolist())) == min(size, count)
    assert 0 <= places.min() <= places.max() < size
    assert np.diff(places).max() - np.diff(places).min() <= 1


def plane(points: int = 4000) -> Array:
    return np.concatenate((RNG.uniform(0, 1, (points, 2)), np.zeros((points, 1))), axis=1)


def test_a_plane_seen_too_high_and_half() -> None:
    surface, cloud = plane(), plane()
    cloud = cloud[cloud[:, 0] < 0.5] + [0, 0, 0.03]
    up = np.broadcast_to([0.0, 0, 1], surface.shape)
    errors = cloud_errors(cloud, surface, up)
    assert errors.acc == pytest.approx(0.03, abs=0.003)
    # half of the surface is covered, the rest up to 0.5 away
    assert errors.comp == pytest.approx((0.03 + 0.25) / 2, abs=0.01)
    assert errors.comp_median < 0.1
    assert errors.nc > 0.98
    sideways = np.broadcast_to([1.0, 0, 0], surface.shape)
    assert cloud_errors(cloud, surface, sideways).nc < 0.1


def test_normals_of_a_plane() -> None:
    turn = Rotation.from_rotvec([1.0, 0.5, 0]).as_matrix()
    normals = estimate_normals(plane() @ turn.T)
    assert np.abs(normals @ turn[:, 2]).min() > 0.999


def test_alignment_finds_scale_and_place_again() -> None:
    room = np.concatenate((plane(), plane()[:, [2, 0, 1]], plane()[:, [0, 2, 1]]))
    turn = Rotation.from_rotvec([0.2, 0.5, -0.3]).as_matrix()
    cloud = 0.4 * room @ turn.T + [1, 2, 3]
    np.testing.assert_allclose(align(cloud, room, room), room, atol=1e-3)


def perfect(frame: WorldFrame, first: torch.Tensor, scale: float) -> Prediction:
    """Return a perfect prediction, whose world is the first camera."""
    height, width = frame.depth.shape
    both = torch.stack((first, frame.camera_from_world))
    pose = relative_to_first(both[None].double())[0, 1]
    pose = torch.cat((pose[:, :3], pose[:, 3:] * scale), dim=1)
    encoding = encode_pose(pose[None], frame.intrinsics[None], height, width)
    depth = scale * frame.depth[None]
    return Prediction(encoding, depth, torch.ones_like(depth))


@pytest.mark.parametrize("fault", ["", "mirrored", "transposed"])
def test_a_faultless_stream_has_no_error_and_another_convention_has(fault: str) -> None:
    world = World(10_000, "easy")
    frames = list(world.sequence(120, 42, 56))[::6]
    record = StreamRecord(world, len(frames))
    for frame in frames:
        prediction = perfect(frame, frames[0].camera_from_world, 0.3)
        encoding = prediction.pose_encoding.clone()
        if fault == "mirrored":
            encoding[:, 0] *= -1
        if fault == "transposed":
            encoding[:, 3:6] *= -1
        record.add(frame, replace(prediction, pose_encoding=encoding))
    errors = record.errors()
    if not fault:
        assert errors["scale"] == pytest.approx(1 / 0.3, rel=1e-4)
        assert errors["scale_ratio"] == pytest.approx(1, rel=1e-4)
        assert errors["ate_percent"] < 0.01
        assert errors["rotation_deg_max"] < 0.01
        assert errors["depth_absrel"] < 1e-5
        assert errors["acc"] < 0.03
        assert errors["comp"] < 0.05
        assert errors["nc"] > 0.9
    else:
        assert errors["ate_percent"] > 5
        assert errors["acc"] > 0.05
    assert record.trivial()["rotation_deg_median"] > 2


def test_a_world_is_streamed_from_its_beginning() -> None:
    session = StreamSession(load_checkpoint("random:tiny"), MemoryConfig())
    world = World(10_001, "easy")
    counted: list[int] = []
    first = evaluate_world(world, 4, (28, 42), session, lambda: counted.append(1))
    again = evaluate_world(world, 4, (28, 42), session)
    assert len(counted) == 4
    changing = {"fps"}
    assert {k: v for k, v in first.errors.items() if k not in changing} == {
        k: v for k, v in again.errors.items() if k not in changing
    }
    assert session.frame_index == 4


def test_the_scale_of_least_absolute_deviations_is_a_weighted_median() -> None:
    # ratios 2, 3 and 10 with weights 4, 2 and 1: half of 7 is reached within the first
    depth, truth = np.array([4.0, 2, 1]), np.array([8.0, 6, 10])
    assert fit_scale(depth, truth) == (2, 0)
    # any other scale leaves more
    cost = [np.abs(s * depth - truth).sum() for s in np.linspace(0.5, 12, 1000)]
    assert np.abs(2 * depth - truth).sum() <= min(cost) + 1e-9
    assert fit_scale(np.zeros(3), truth) == (0, 0)


def test_scale_and_shift_pass_over_a_few_wild_pixels() -> None:
    depth = np.linspace(1, 5, 50)
    truth = 3 * depth + 0.7
    truth[::10] += 40
    scale, shift = fit_scale_and_shift(depth, truth)
    assert scale == pytest.approx(3, abs=1e-3)
    assert shift == pytest.approx(0.7, abs=1e-3)


def test_depth_alignments_by_hand() -> None:
    sample = DepthSample(1000, farthest=9.0)
    depth = np.array([[1.0, 2, 3, 4]], np.float32)
    sample.add(depth, 2 * depth + 1)  # 3, 5, 7 and 9, which is too far
    metric = sample.aligned("metric")
    assert (metric.scale, metric.shift) == (1, 0)
    assert metric.absrel == pytest.approx((2 / 3 + 3 / 5 + 4 / 7) / 3)
    assert metric.rmse == pytest.approx(np.sqrt((4 + 9 + 16) / 3))
    both = sample.aligned("scale_shift")
    assert (both.scale, both.shift) == (pytest.approx(2), pytest.approx(1))
    assert both.absrel == pytest.approx(0, abs=1e-6)
    assert both.delta125 == 1
    # ratios 3, 2.5 and 7/3 with weights 1, 2 and 3: the median is 7/3
    scaled = sample.aligned("scale")
    assert scaled.scale == pytest.approx(7 / 3)
    assert scaled.absrel == pytest.approx((2 / 9 + 1 / 15) / 3)


def test_found_depth_is_clipped_to_the_farthest() -> None:
    sample = DepthSample(1000, farthest=10.0)
    sample.add(np.array([[1.0, 1, 50]], np.float32), np.array([[1.0, 1, 5]], np.float32))
    assert sample.aligned("metric").absrel == pytest.approx(1 / 3)


def test_a_tally_goes_on_in_another_process_to_the_same_figures() -> None:
    frames = [(tallied(i, 1.3), tallied(i, 1.0)) for i in range(8)]
    whole, first = StreamTally(8), StreamTally(8)
    for found, truth in frames:
        whole.add(found, truth)
    for found, truth in frames[:3]:
        first.add(found, truth)
    second = StreamTally(8)
    second.load_state_dict(first.state_dict())
    for found, truth in frames[3:]:
        second.add(found, truth)
    assert measures(second) == measures(whole)
    assert measures(whole)["trajectory"]["sim3"]["ate_rmse"] == pytest.approx(0, abs=1e-6)
    assert measures(whole)["depth"]["scale"]["absrel"] == pytest.approx(0, abs=1e-6)
    assert measures(whole)["reconstruction"]["acc"] == pytest.approx(0, abs=1e-3)


def tallied(index: int, scale: float) -> FrameMetrics:
    """Return a perfect stream of a camera in a room, in its own unit."""
    rng = np.random.default_rng(index)
    pose = walk(8)[index].copy()
    pose[:, 3] *= scale
    depth = scale * rng.uniform(1, 4, (30, 40)).astype(np.float32)
    surface = np.concatenate((rng.uniform(0, 1, (1200, 2)), rng.integers(0, 2, (1200, 1))), axis=1)
    return FrameMetrics(pose, depth, scale * surface.reshape(30, 40, 3))


def test_frames_without_truth_do_not_count() -> None:
    tally = StreamTally(4)
    for i in range(4):
        known = tallied(i, 1.0)
        tally.add(known, known if i != 2 else FrameMetrics(np.full((3, 4), np.nan)))
    found = measures(tally)
    assert found["trajectory"]["poses"] == 3
    alone = StreamTally(2)
    alone.add(tallied(0, 1.0), FrameMetrics(np.full((3, 4), np.nan)))
    assert measures(alone) == {"trajectory": None, "depth": None, "reconstruction": None}


def evo(command: str, *arguments: object) -> dict[str, float]:
    """Return the output of one of evo's commands. It is not imported (GPL)."""
    path = Path(sys.executable).parent / command
    if not path.exists():
        pytest.skip("evo is not installed")
    run = subprocess.run(
        [str(path), "tum", *map(str, arguments)], capture_output=True, text=True, check=True
    )
    rows = (line.split() for line in run.stdout.splitlines())
    return {row[0]: float(row[1]) for row in rows if len(row) == 2 and row[0] in ("rmse", "max")}


@pytest.mark.parametrize("scaled", [True, False])
def test_the_trajectory_errors_are_those_of_evo(tmp_path: Path, scaled: bool) -> None:
    truth = walk()
    found = moved(truth, 0.7 if scaled else 1.05)
    shaken = Rotation.from_rotvec(0.05 * RNG.standard_normal((len(truth), 3))).as_matrix()
    found = shaken @ found
    found[..., 3] += 0.05 * RNG.standard_normal((len(truth), 3))
    for name, poses in (("found", found), ("truth", truth)):
        quats = Rotation.from_matrix(poses[..., :3].transpose(0, 2, 1)).as_quat()
        stamps_ns = [10**18 + 123_456_789 + i * 10**8 for i in range(len(poses))]
        write_tum(tmp_path / name, stamps_ns, camera_centers(poses), quats)
    files = [tmp_path / "truth", tmp_path / "found", "--align"]
    files += ["--correct_scale"] if scaled else []
    errors = trajectory_errors(found, truth, scaled=scaled)
    near = {"rel": 1e-5}
    assert errors.ate_rmse == pytest.approx(evo("evo_ape", *files)["rmse"], **near)
    steps = [*files, "--delta", "1", "--delta_unit", "f"]
    moved_m = evo("evo_rpe", *steps)["rmse"]
    assert errors.rpe_translation == pytest.approx(moved_m, **near)
    turned = evo("evo_rpe", *steps, "--pose_relation", "angle_deg")["rmse"]
    assert errors.rpe_rotation_deg == pytest.approx(turned, **near)
