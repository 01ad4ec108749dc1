# SPDX-License-Identifier: Apache-2.0
"""The tracker in a box with random walls."""

import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import pytest

from infinitevggt_core.evaluation.trajectory import trajectory_errors
from infinitevggt_core.tracking import Keyframe, TrackedFrame, Tracker, TrackingConfig
from infinitevggt_core.tracking import tracker as tracker_module
from infinitevggt_core.tracking.rigid import Floats, centers, compose, inverse, rotation_angle
from infinitevggt_core.tracking.worker import Worker
from support.tracking_samples import MATRIX, Box, walk

Frames = list[tuple[Any, Any]]


@pytest.fixture(scope="module")
def film() -> Frames:
    box = Box()
    return [box.render(pose) for pose in walk(90)]


def run(tracker: Tracker, film: Frames, *, depth: bool = True) -> list[TrackedFrame]:
    return [
        tracker.track(gray, MATRIX, true_depth if depth else None, stamp_s=k / 30)
        for k, (gray, true_depth) in enumerate(film)
    ]


def poses(frames: list[TrackedFrame]) -> Floats:
    return np.stack([frame.camera_from_world for frame in frames])


@pytest.mark.parametrize("depth", [True, False])
def test_the_way_is_found(film: Frames, depth: bool) -> None:
    frames = run(Tracker(background=False), film, depth=depth)
    errors = trajectory_errors(poses(frames), np.stack(walk(90)))
    assert errors.ate_percent < 2.0
    assert errors.rotation_deg_median < 1.5
    assert frames[-1].submap == 0
    assert all(frame.state in ("tracking", "degraded") for frame in frames)


def test_a_depth_camera_gives_metres(film: Frames) -> None:
    tracker = Tracker(background=False)
    frames = [tracker.track(gray, MATRIX, depth, depth_kind="sensor") for gray, depth in film]
    errors = trajectory_errors(poses(frames), np.stack(walk(90)), scaled=False)
    assert errors.ate_percent < 1.5
    assert np.median(frames[-1].depths) == pytest.approx(np.median(film[-1][1]), rel=0.3)


def test_a_large_image_is_made_smaller_and_its_pixels_come_back(film: Frames) -> None:
    tracker = Tracker(TrackingConfig(image_pixels=10_000), background=False)
    frame = tracker.track(film[0][0], MATRIX, film[0][1])
    np.testing.assert_allclose(frame.intrinsics, MATRIX, atol=1e-9)
    assert frame.pixels.max() > 120
    rays = (frame.pixels - MATRIX[:2, 2]) / MATRIX.diagonal()[:2]
    seen = frame.points[:, :2] / frame.points[:, 2:]
    np.testing.assert_allclose(seen, rays, atol=1e-6)


def test_standing_still_does_not_drift() -> None:
    gray, depth = Box().render(walk(1)[0])
    rng = np.random.default_rng(0)
    tracker = Tracker(background=False)
    frames = []
    for _ in range(500):
        noisy = np.clip(gray + rng.normal(0, 2, gray.shape), 0, 255).astype(np.uint8)
        frames.append(tracker.track(noisy, MATRIX, depth))
    way = centers(poses(frames))
    assert np.linalg.norm(way[250:].mean(0) - way[:50].mean(0)) < 1e-3
    assert np.linalg.norm(way - way.mean(0), axis=1).max() < 0.01


def test_turning_on_the_spot_is_no_way() -> None:
    box, place, frames, truth = Box(), np.array([0.2, 0.1, -1.5]), [], []
    tracker = Tracker(background=False)
    for k in range(60):
        turn = cv2.Rodrigues(np.array([0.0, 0.012 * k, 0.0]))[0]
        truth.append(np.hstack((turn, -turn @ place[:, None])))
        gray, depth = box.render(truth[-1])
        frames.append(tracker.track(gray, MATRIX, depth))
    found = poses(frames)
    relative = [compose(pose, inverse(found[0])) for pose in found]
    true = [compose(pose, inverse(truth[0])) for pose in truth]
    wrong = [rotation_angle(a[:, :3] @ b[:, :3].T) for a, b in zip(relative, true, strict=True)]
    assert np.degrees(np.median(wrong)) < 1.5
    assert frames[-1].state == "degraded"
    assert np.linalg.norm(centers(found) - centers(found)[0], axis=1).max() < 0.3


def test_darkness_starts_a_new_piece_of_the_way(film: Frames) -> None:
    tracker = Tracker(background=False)
    dark = [(np.zeros_like(gray), None) for gray, _ in film[:10]]
    frames = run(tracker, film[:40] + dark + film[40:60])
    assert [frame.state for frame in frames[40:50]] == ["lost"] * 10
    assert frames[45].covariance[0, 0] > 1e5
    assert frames[39].submap == 0
    assert frames[-1].submap == 1
    assert frames[-1].state in ("tracking", "degraded")


def test_one_dark_image_costs_one_image(film: Frames) -> None:
    tracker = Tracker(background=False)
    dark = (np.zeros_like(film[0][0]), None)
    frames = run(tracker, [*film[:40], dark, *film[40:60]])
    assert [frame.state == "lost" for frame in frames].count(True) == 1
    assert frames[-1].submap == 0


def test_the_network_moves_the_camera_in_the_dark(film: Frames) -> None:
    tracker, way = Tracker(background=False), walk(30)
    frames = []
    for k in range(20):
        gray = film[k][0] if k < 15 else np.zeros_like(film[0][0])
        frames.append(tracker.track(gray, MATRIX, film[k][1], prior=way[k]))
    assert frames[-1].state == "network"
    moved = np.linalg.norm(np.diff(centers(poses(frames))[14:], axis=0), axis=1)
    true = np.linalg.norm(np.diff(centers(np.stack(way))[14:20], axis=0), axis=1)
    np.testing.assert_allclose(moved, true, rtol=0.3)


BAD: dict[str, Callable[[Any, Any], tuple[Any, ...]]] = {
    "black": lambda gray, depth: (np.zeros_like(gray), MATRIX, depth),
    "colour": lambda gray, depth: (np.stack([gray] * 3, -1), MATRIX, depth),
    "floats": lambda gray, depth: (gray.astype(float), MATRIX, depth),
    "tiny": lambda gray, depth: (gray[:8, :8], MATRIX, depth),
    "empty": lambda gray, depth: (gray[:0], MATRIX, depth),
    "nan depth": lambda gray, depth: (gray, MATRIX, np.full_like(depth, np.nan)),
    "negative depth": lambda gray, depth: (gray, MATRIX, -depth),
    "huge depth": lambda gray, depth: (gray, MATRIX, np.full_like(depth, 1e30)),
    "flat depth": lambda gray, depth: (gray, MATRIX, depth.ravel()),
    "nan intrinsics": lambda gray, depth: (gray, np.full((3, 3), np.nan), depth),
    "no intrinsics": lambda gray, depth: (gray, np.zeros((3, 3)), depth),
    "nan prior": lambda gray, depth: (gray, MATRIX, depth, np.full((3, 4), np.nan)),
    "prior of another shape": lambda gray, depth: (gray, MATRIX, depth, np.eye(4)),
    "nothing": lambda gray, depth: (None, None, None, None),
    "words": lambda gray, depth: ("image", "matrix", "depth", "pose"),
    "black with a nan prior": lambda gray, depth: (
        np.zeros_like(gray),
        MATRIX,
        depth,
        np.full((3, 4), np.nan),
    ),
    "noise": lambda gray, depth: (
        np.random.default_rng(0).integers(0, 255, gray.shape, np.uint8),
        MATRIX,
        depth,
    ),
}


@pytest.mark.parametrize("kind", BAD)
@pytest.mark.parametrize("at", [0, 12])
def test_bad_input_never_ends_the_stream(film: Frames, kind: str, at: int) -> None:
    tracker = Tracker(background=False)
    for k, (gray, depth) in enumerate(film[:25]):
        bad = at <= k < at + 2
        frame = (
            tracker.track(*BAD[kind](gray, depth)) if bad else tracker.track(gray, MATRIX, depth)
        )
        assert np.isfinite(frame.camera_from_world).all()
    assert frame.state in ("tracking", "degraded")


def test_another_size_starts_again(film: Frames) -> None:
    tracker = Tracker(background=False)
    run(tracker, film[:10])
    small = [(gray[:100], depth[:100]) for gray, depth in film[10:20]]
    frames = run(tracker, small)
    assert frames[-1].submap == 1
    assert frames[-1].state == "degraded"


def test_an_adjustment_that_fails_costs_nothing(
    film: Frames, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise np.linalg.LinAlgError("singular")

    tracker = Tracker(background=False)
    run(tracker, film[:30])
    monkeypatch.setattr(tracker_module, "adjust", broken)
    monkeypatch.setattr(tracker_module, "initialise", broken)
    frames = run(tracker, film[30:60])
    assert all(frame.state in ("tracking", "degraded") for frame in frames)


class Late(Worker[Any]):
    """Worker whose results come some images later."""

    def __init__(self, images: int) -> None:
        super().__init__(False)
        self.images, self.waited = images, 0

    def take(self, *, wait: bool = False) -> Any:
        if self.busy and not wait and self.waited < self.images:
            self.waited += 1
            return None
        self.waited = 0
        return super().take(wait=wait)


def test_a_late_adjustment_is_worth_as_much_as_a_prompt_one(film: Frames) -> None:
    late = Tracker(background=False)
    late._worker = Late(2)
    truth = np.stack(walk(90))
    prompt_error, late_error = (
        trajectory_errors(poses(run(tracker, film)), truth).ate_percent
        for tracker in (Tracker(background=False), late)
    )
    assert late_error < prompt_error + 1.0


def test_a_tracker_is_closed_in_the_middle_of_an_adjustment(film: Frames) -> None:
    tracker = Tracker()
    run(tracker, film[:40])
    tracker.close()
    tracker.close()
    frame = tracker.track(film[40][0], MATRIX, film[40][1])  # goes on without adjustments
    assert np.isfinite(frame.camera_from_world).all()
    assert not [t for t in threading.enumerate() if t.name.startswith("bundle-adjustment")]


def test_the_pose_is_known_before_the_depth(film: Frames) -> None:
    tracker = Tracker()
    for k, (gray, depth) in enumerate(film[:40]):
        early = tracker.follow(gray, MATRIX, stamp_s=k / 30)
        frame = tracker.complete(depth)
        if k == 0:
            assert early is None
            continue
        assert early is not None
        assert (early.frame, early.stamp_s) == (frame.frame, frame.stamp_s) == (k, k / 30)
        np.testing.assert_array_equal(early.camera_from_world, frame.camera_from_world)
        np.testing.assert_array_equal(early.covariance, frame.covariance)
    tracker.close()


def test_an_image_without_its_depth_costs_nothing(film: Frames) -> None:
    tracker = Tracker(background=False)
    for k, (gray, depth) in enumerate(film[:60]):
        tracker.follow(gray, MATRIX)
        if k % 7 != 3:
            frame = tracker.complete(depth)
    errors = trajectory_errors(
        np.stack([walk(60)[0], frame.camera_from_world]), np.stack([walk(60)[0], walk(60)[59]])
    )
    assert errors.rotation_deg_median < 1.5
    assert frame.submap == 0


def test_only_an_image_that_was_followed_can_be_completed(film: Frames) -> None:
    tracker = Tracker(background=False)
    tracker.track(film[0][0], MATRIX, film[0][1])
    with pytest.raises(RuntimeError, match="follow"):
        tracker.complete(film[0][1])


def test_a_snapshot_goes_on_as_the_original(film: Frames) -> None:
    original = Tracker(background=False)
    run(original, film[:50])
    copy = Tracker(background=False)
    copy.load_state_dict(original.state_dict())
    np.testing.assert_array_equal(poses(run(copy, film[50:70])), poses(run(original, film[50:70])))


def test_a_snapshot_from_elsewhere_starts_a_new_piece(film: Frames) -> None:
    original = Tracker(background=False)
    run(original, film[:50])
    copy = Tracker(background=False)
    copy.load_state_dict(original.state_dict(), resume=False)
    assert run(copy, film[:1])[0].submap == 1


def test_reset_makes_a_new_tracker(film: Frames) -> None:
    tracker = Tracker(background=False)
    first = poses(run(tracker, film[:30]))
    tracker.reset()
    np.testing.assert_array_equal(poses(run(tracker, film[:30])), first)


class Listener:
    def __init__(self) -> None:
        self.new: list[int] = []
        self.left: list[Keyframe] = []
        self.windows: list[int] = []

    def on_new_keyframe(self, keyframe: Keyframe) -> None:
        self.new.append(keyframe.index)

    def on_keyframe_left_window(self, keyframe: Keyframe) -> None:
        self.left.append(keyframe)

    def on_window(self, poses: dict[int, Floats]) -> None:
        self.windows.append(len(poses))


def test_few_points_with_parallax_do_not_lead_the_depth(film: Frames) -> None:
    """They are the nearest ones, and the rest of the image has another error."""
    frame = run(Tracker(background=False), film)[-1]
    assert frame.leads_depth.mean() > 0.5
    parallax = np.zeros(100)
    for count in (20, 30):
        parallax[:count] = 0.1
        few = replace(frame, parallax=parallax.copy())
        assert few.leads_depth.sum() == (0 if count == 20 else 30)


def test_most_adjustments_move_the_newest_keyframes(
    film: Frames, monkeypatch: pytest.MonkeyPatch
) -> None:
    problems: list[Any] = []

    def spy(problem: Any, **options: Any) -> Any:
        problems.append(problem)
        return adjust(problem, **options)

    adjust = tracker_module.adjust
    monkeypatch.setattr(tracker_module, "adjust", spy)
    run(Tracker(TrackingConfig(keyframe_flow=0.005, window=16), background=False), film)
    long = [problem for problem in problems if len(problem.poses) == 16]
    free = [len(problem.poses) - problem.fixed for problem in long]
    assert set(free) == {12, 14}
    for problem in long:
        assert np.isin(problem.point, problem.point[problem.camera >= problem.fixed]).all()


def test_keyframes_are_told_in_order_and_once(film: Frames) -> None:
    listener = Listener()
    tracker = Tracker(TrackingConfig(window=4), background=False, listener=listener)
    run(tracker, film)
    assert listener.new == list(range(len(listener.new)))
    assert [keyframe.index for keyframe in listener.left] == listener.new[:-4]
    assert max(listener.windows) <= 4
    tracker.finish()
    assert [keyframe.index for keyframe in listener.left] == listener.new
    for keyframe in listener.left[:-4]:
        seen = keyframe.camera_points
        pixels = seen[:, :2] / seen[:, 2:] * MATRIX.diagonal()[:2] + MATRIX[:2, 2]
        assert np.median(np.linalg.norm(pixels - keyframe.pixels, axis=1)) < 1.0


def test_nothing_grows_with_the_stream(film: Frames) -> None:
    tracker = Tracker(TrackingConfig(window=4), background=False)
    there_and_back, sizes = [*film[:60], *film[59:0:-1]], []
    for k in range(5 * len(there_and_back)):
        gray, depth = there_and_back[k % len(there_and_back)]
        tracker.track(gray, MATRIX, depth)
        if k % len(there_and_back) == len(there_and_back) - 1:
            sizes.append(_numbers(tracker.state_dict()))
    assert max(sizes[2:]) < 1.1 * sizes[1] + 1000


def _numbers(state: Any) -> int:
    if isinstance(state, dict):
        return sum(map(_numbers, state.values()))
    if isinstance(state, list):
        return sum(map(_numbers, state))
    return int(np.size(state))
