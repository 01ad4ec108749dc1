"""Measures against figures computed by hand."""

from dataclasses import replace

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
from infinitevggt_core.evaluation.depth import spread
from infinitevggt_core.evaluation.similarity import Array
from infinitevggt_core.evaluation.synthetic_world import StreamRecord, evaluate_world
from infinitevggt_core.evaluation.trajectory import camera_centers
from infinitevggt_core.geometry import encode_pose
from infinitevggt_core.prediction import Prediction
from infinitevggt_core.training.targets import relative_to_first
from infinitevggt_core.worlds import World, WorldFrame

RNG = np.random.default_rng(7)


def walk(frames: int = 30) -> Array:
    """camera_from_world (N, 3, 4) of a camera that wanders and turns."""
    steps = np.linspace(0, 3, frames)
    turns = Rotation.from_euler("zyx", np.stack((steps, 0.3 * steps, np.sin(steps)), 1))
    centers = np.stack((np.cos(steps), steps**2 / 4, np.sin(2 * steps)), 1)
    return posed(turns.as_matrix(), centers)


def posed(rotation: Array, centers: Array) -> Array:
    return np.concatenate((rotation, -rotation @ centers[..., None]), axis=-1)


def moved(poses: Array, scale: float) -> Array:
    """The same cameras in a world that is turned, shifted and scaled."""
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
    """What a network without fault would say: its world is the first camera."""
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
