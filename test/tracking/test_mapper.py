# SPDX-License-Identifier: Apache-2.0
"""Odom, map and loops on a way that comes back."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from infinitevggt_core.evaluation.trajectory import trajectory_errors
from infinitevggt_core.tracking import (
    Keyframe,
    MappedFrame,
    Mapper,
    TrackedFrame,
    Tracker,
    TrackingConfig,
)
from infinitevggt_core.tracking.loop_closer import MOST_TEMPORARY
from infinitevggt_core.tracking.rigid import centers, compose, inverse
from support.tracking_samples import IDENTITY, MATRIX, Box, Floats, moved, walk

SMALL_WINDOW = TrackingConfig(window=5, keyframe_flow=0.03)


def there_and_back(count: int) -> list[Floats]:
    ahead = walk(count)
    return ahead + ahead[::-1]


def run(
    film: list[Any], tracker: Tracker, mapper: Mapper
) -> list[tuple[TrackedFrame, MappedFrame]]:
    answers = []
    for gray, depth in film:
        frame = tracker.track(gray, MATRIX, depth)
        answers.append((frame, mapper.place(frame)))
    return answers


class Recorder:
    """Listener that keeps the keyframes."""

    def __init__(self, views: list[Keyframe]) -> None:
        self._views = views

    def on_new_keyframe(self, keyframe: Keyframe) -> None:
        self._views.append(keyframe)

    def on_keyframe_left_window(self, keyframe: Keyframe) -> None:
        pass

    def on_window(self, poses: dict[int, Floats]) -> None:
        pass


@pytest.fixture(scope="module")
def film() -> list[Any]:
    box = Box()
    return [box.render(pose) for pose in there_and_back(110)]


def test_map_from_odom_times_odom_is_the_corrected_pose(film: list[Any]) -> None:
    mapper = Mapper(background=False)
    answers = run(film, Tracker(SMALL_WINDOW, background=False, listener=mapper), mapper)
    before = 0
    for frame, placed in answers:
        assert placed.located
        if placed.version > before:
            corrected = mapper.camera_from_map(frame)
            assert corrected is not None
            before = placed.version
    found = np.stack([placed.camera_from_map for _, placed in answers])
    errors = trajectory_errors(found, np.stack(there_and_back(110)))
    assert errors.ate_percent < 3.0


def test_odom_makes_no_step_at_a_closure(film: list[Any]) -> None:
    mapper = Mapper(background=False)
    answers = run(film, Tracker(SMALL_WINDOW, background=False, listener=mapper), mapper)
    way = centers(np.stack([placed.camera_from_odom for _, placed in answers]))
    steps = np.linalg.norm(np.diff(way, axis=0), axis=1)
    assert steps.max() < 0.3


def test_a_closure_moves_keyframes_and_is_told_once(film: list[Any]) -> None:
    mapper = Mapper(background=False)
    tracker = Tracker(SMALL_WINDOW, background=False, listener=mapper)
    answers = run(film, tracker, mapper)
    taken = []
    while (closure := mapper.take_closure()) is not None:
        taken.append(closure)
    assert len(taken) == min(mapper.version, 16)
    for index, pose in mapper.keyframe_poses().items():
        known = mapper.world_from_camera(index)
        assert known is not None
        np.testing.assert_array_equal(known.translation, pose.translation)
    assert mapper.world_from_camera(10_000) is None
    assert answers[-1][1].version == mapper.version


def test_the_dark_is_followed_by_the_same_map(film: list[Any]) -> None:
    """After a blackout the camera finds itself in the places it has made."""
    mapper = Mapper(background=False)
    tracker = Tracker(SMALL_WINDOW, background=False, listener=mapper)
    dark = [(np.zeros_like(film[0][0]), None)] * 50
    answers = run([*film[:110], *dark, *film[110:]], tracker, mapper)
    located = [placed.located for _, placed in answers]
    assert all(located[:110])
    back = located[160:].index(True)
    assert back < 30
    lost = [placed.map_from_odom for _, placed in answers[115:160]]
    assert all(np.array_equal(lost[0], other) for other in lost)
    truth = np.stack(there_and_back(110))
    keep = [k for k in range(len(answers)) if not 110 <= k < 160 + back]
    found = np.stack([answers[k][1].camera_from_map for k in keep])
    true = np.stack([truth[k if k < 110 else k - 50] for k in keep])
    assert trajectory_errors(found, true).ate_percent < 6.0


def test_a_snapshot_goes_on_in_the_same_map(film: list[Any]) -> None:
    mapper = Mapper(background=False)
    tracker = Tracker(SMALL_WINDOW, background=False, listener=mapper)
    run(film[:150], tracker, mapper)
    other = Mapper(background=False)
    again = Tracker(SMALL_WINDOW, background=False, listener=other)
    other.load_state_dict(mapper.state_dict())
    again.load_state_dict(tracker.state_dict())
    ours, theirs = run(film[150:180], tracker, mapper), run(film[150:180], again, other)
    for (_, one), (_, two) in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(one.camera_from_map, two.camera_from_map, atol=1e-6)


def test_a_read_only_map_gets_no_places(film: list[Any]) -> None:
    mapper = Mapper(background=False, read_only=True)
    run(film[:80], Tracker(SMALL_WINDOW, background=False, listener=mapper), mapper)
    assert not len(list(mapper.closer.index))


def test_a_read_only_map_stays_while_the_camera_is_found_in_it(film: list[Any]) -> None:
    mapper = Mapper(background=False)
    tracker = Tracker(SMALL_WINDOW, background=False, listener=mapper)
    run(film[:140], tracker, mapper)
    mapper.set_read_only(True)
    saved = mapper.state_dict()["sealed"]
    before, loops = mapper.keyframe_poses(), mapper.loops
    dark = [(np.zeros_like(film[0][0]), None)] * 10
    answers = run([*dark, *film[140:]], tracker, mapper)
    assert not all(placed.located for _, placed in answers)
    assert answers[-1][1].located
    assert mapper.loops > loops
    for index, pose in before.items():
        np.testing.assert_array_equal(mapper.keyframe_poses()[index].log(), pose.log())
    fresh = Mapper(background=False)
    fresh.load_state_dict(mapper.state_dict(), resume=False)
    assert fresh.keyframe_poses().keys() == before.keys()
    np.testing.assert_equal(fresh.state_dict()["closer"], saved)


def test_a_map_that_is_no_longer_read_only_grows(film: list[Any]) -> None:
    mapper = Mapper(background=False, read_only=True)
    tracker = Tracker(SMALL_WINDOW, background=False, listener=mapper)
    run(film[:60], tracker, mapper)
    mapper.set_read_only(False)
    run(film[60:110], tracker, mapper)
    assert len(list(mapper.closer.index))
    assert mapper.state_dict()["sealed"] is None


def test_keyframes_beside_a_read_only_map_are_bounded(film: list[Any]) -> None:
    mapper = Mapper(background=False)
    tracker = Tracker(SMALL_WINDOW, background=False, listener=mapper)
    run(film[:40], tracker, mapper)
    mapper.set_read_only(True)
    known = len(mapper.keyframe_poses())
    keyframe = mapper.closer.graph.oldest
    newest = max(mapper.keyframe_poses())
    views: list[Keyframe] = []
    tracker.listener = Recorder(views)
    run(film[40:80], tracker, mapper)
    for number in range(300):
        mapper.closer.add(replace(views[0], index=newest + 1 + number))
    assert len(mapper.keyframe_poses()) <= known + MOST_TEMPORARY
    assert keyframe in mapper.closer.graph


def test_reset_forgets_the_map(film: list[Any]) -> None:
    mapper = Mapper(background=False)
    tracker = Tracker(SMALL_WINDOW, background=False, listener=mapper)
    run(film[:60], tracker, mapper)
    mapper.reset()
    tracker.reset()
    assert not mapper.keyframe_poses()
    _, placed = run(film[:1], tracker, mapper)[0]
    np.testing.assert_allclose(placed.camera_from_map, IDENTITY, atol=1e-12)


def test_the_thread_works_off_all_and_ends(film: list[Any]) -> None:
    mapper = Mapper()
    tracker = Tracker(SMALL_WINDOW, background=False, listener=mapper)
    run(film[:60], tracker, mapper)
    mapper.finish()
    assert len(mapper.keyframe_poses()) >= 3
    mapper.close()
    mapper.close()


def test_a_map_that_fails_costs_nothing(film: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> None:
        raise np.linalg.LinAlgError("singular")

    mapper = Mapper(background=False)
    monkeypatch.setattr(mapper.closer, "close", broken)
    answers = run(film[:40], Tracker(SMALL_WINDOW, background=False, listener=mapper), mapper)
    step = compose(answers[-1][1].camera_from_map, inverse(answers[-1][0].camera_from_world))
    np.testing.assert_allclose(step, moved(IDENTITY, np.zeros(6)), atol=1e-9)
