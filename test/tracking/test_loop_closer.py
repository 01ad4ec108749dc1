# SPDX-License-Identifier: Apache-2.0
"""Loops close the map; rooms that look alike do not."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from infinitevggt_core.tracking.keyframe import Keyframe
from infinitevggt_core.tracking.loop_closer import Closure, LoopCloser
from infinitevggt_core.tracking.loop_edge import LoopEdge
from infinitevggt_core.tracking.similarity import Similarity3
from support.place_samples import blank, keyframe, moved, room, wall

Floats = NDArray[np.float64]
CORRIDOR = 40
STEP = np.array([0.15, 0.0, 0.0])


def end_of_room() -> Floats:
    return room()[-1].camera_from_world


def corridor(
    start: Floats, first: int, count: int = CORRIDOR, step: Floats = STEP
) -> list[Keyframe]:
    """Walls that nothing else is like, passed in a straight line."""
    poses = [moved(start, (k + 1) * step) for k in range(count)]
    return [keyframe(wall(first + k, pose), first + k) for k, pose in enumerate(poses)]


def in_room(first: int, shift: Floats, submap: int = 0, scale: float = 1.0) -> list[Keyframe]:
    """The room as if it stood elsewhere."""
    views = [
        replace(view, camera_from_world=moved(view.camera_from_world, shift)) for view in room()
    ]
    return [keyframe(view, first + k, submap=submap, scale=scale) for k, view in enumerate(views)]


def walk(closer: LoopCloser, keyframes: list[Keyframe]) -> list[Closure]:
    """As the mapper does it; here a keyframe leaves the window at once."""
    closures = []
    for one in keyframes:
        closer.add(one)
        closures.append(closer.close(one))
        closer.retire(one)
    return closures


def there_and_back() -> list[Keyframe]:
    """Out of the room, along a corridor, and back into the room, which odometry has elsewhere."""
    out = corridor(end_of_room(), 10, CORRIDOR // 2)
    back = corridor(out[-1].camera_from_world, 30, CORRIDOR // 2, -STEP)
    drift = np.array([0.2, 0.1, 0.05])
    return [*in_room(0, np.zeros(3)), *out, *back, *in_room(50, drift)]


def test_a_walk_that_comes_back_is_closed() -> None:
    closer = LoopCloser(100)
    closures = walk(closer, there_and_back())
    assert not any(closure.loops for closure in closures[:50])
    assert sum(bool(closure.loops) for closure in closures[50:]) >= 6
    assert any(closure.moved for closure in closures)
    for k in range(10):
        error = closer.graph.pose(50 + k).translation - closer.graph.pose(k).translation
        assert np.linalg.norm(error) < 0.06
    assert all(loop.accepted for loop in closer.graph.loops)


def test_the_room_next_door_that_looks_the_same_is_another_room() -> None:
    closer = LoopCloser(100)
    passage = corridor(end_of_room(), 10)
    far = passage[-1].camera_from_world
    shift = np.array([CORRIDOR * 0.15 + 1, 0.0, 0.0])
    assert np.linalg.norm(far[:, 3] - end_of_room()[:, 3]) > 5
    closures = walk(closer, [*in_room(0, np.zeros(3)), *passage, *in_room(50, shift)])
    assert not any(closure.loops for closure in closures)
    assert closer.search(in_room(50, shift)[3]), "they look the same"
    way = closer.graph.pose(55).translation - closer.graph.pose(5).translation
    np.testing.assert_allclose(np.linalg.norm(way), shift[0], rtol=1e-6)


def test_of_two_alike_rooms_none_is_taken_after_a_kidnap() -> None:
    closer = LoopCloser(200)
    passage = corridor(end_of_room(), 10)
    shift = np.array([CORRIDOR * 0.15 + 1, 0.0, 0.0])
    walk(closer, [*in_room(0, np.zeros(3)), *passage, *in_room(50, shift)])
    closures = walk(closer, in_room(200, np.zeros(3), submap=1))
    assert not any(closure.loops for closure in closures)
    assert closer.search(in_room(200, np.zeros(3), submap=1)[3]), "they look the same"
    assert closer.graph.joined_submaps() == {0}


def test_after_a_blackout_a_known_room_is_recognised_in_its_unit() -> None:
    closer = LoopCloser(100)
    walk(closer, [*in_room(0, np.zeros(3)), *corridor(end_of_room(), 10, 10)])
    lost = in_room(60, np.array([30.0, -7.0, 2.0]), submap=1, scale=2.0)
    closures = walk(closer, lost)
    when = [k for k, closure in enumerate(closures) if closure.joined]
    assert when
    assert when[0] <= 3
    assert closer.graph.joined_submaps() == {0, 1}
    for k in range(10):
        found, wanted = closer.graph.pose(60 + k), closer.graph.pose(k)
        assert np.linalg.norm(found.translation - wanted.translation) < 0.06
        np.testing.assert_allclose(found.scale, 0.5, rtol=0.05)


def test_keyframes_without_anything_are_no_harm() -> None:
    closer = LoopCloser(10)
    pose = np.eye(3, 4)
    for k in range(100):
        one = replace(blank(k), camera_from_world=moved(pose, k * STEP))
        closer.add(one)
        assert not closer.close(one).loops
        closer.retire(one)
    assert len(closer.index) == 0
    assert len(closer.graph) <= closer.graph.capacity


def test_a_loop_that_moves_the_camera_far_needs_a_second_one() -> None:
    closer = LoopCloser(100)
    for one in corridor(np.eye(3, 4), 0):
        closer.add(one)
    covariance = np.diag(np.square([0.02] * 3 + [0.02] * 3 + [1.0]))
    loops = []
    for k in range(2):
        way = 0.7 * closer.graph.relative(k, CORRIDOR - 1).relative.translation
        relative = Similarity3(np.array(1.0), np.eye(3), way)
        loops.append(LoopEdge(k, CORRIDOR - 1, relative, covariance, 50))
    assert closer.judge(loops[:1]) == []
    assert closer.judge(loops[1:]) == [loops[1], loops[0]]


def test_a_keyframe_without_a_pose_is_refused() -> None:
    closer = LoopCloser(10)
    with pytest.raises(ValueError, match="no pose"):
        closer.add(replace(blank(0), camera_from_world=np.full((3, 4), np.nan)))
    assert len(closer.graph) == 0


def test_places_and_keyframes_stay_bounded() -> None:
    closer = LoopCloser(12)
    heirs = 0
    for one in corridor(np.eye(3, 4), 0, 120):
        closer.add(one)
        closer.retire(one)
        heirs += len(closer.heirs)
    assert len(closer.index) == 12
    assert len(closer.graph) <= closer.graph.capacity
    assert heirs == 120 - len(closer.graph)
    assert closer.graph.step_count <= len(closer.graph)


def test_better_poses_of_the_window_move_its_keyframes() -> None:
    closer = LoopCloser(20)
    passage = corridor(np.eye(3, 4), 0, 6)
    for one in passage:
        closer.add(one)
    better = moved(passage[3].camera_from_world, np.array([0.0, 0.3, 0.0]))
    closer.refine({3: better})
    way = closer.graph.pose(2).inverse() @ closer.graph.pose(3)
    np.testing.assert_allclose(way.translation, [0.15, 0.3, 0], atol=1e-9)
    closer.retire(replace(passage[3], camera_from_world=passage[3].camera_from_world))
    way = closer.graph.pose(2).inverse() @ closer.graph.pose(3)
    np.testing.assert_allclose(way.translation, STEP, atol=1e-9)


def test_a_state_closes_what_the_closer_closes() -> None:
    keyframes = there_and_back()
    closer, copy = LoopCloser(100), LoopCloser(100)
    walk(closer, keyframes[:53])
    copy.load_state_dict(closer.state_dict())
    for one in (closer, copy):
        walk(one, keyframes[53:])
    for k in closer.graph:
        poses = closer.graph.pose(k), copy.graph.pose(k)
        np.testing.assert_allclose(poses[0].translation, poses[1].translation, atol=1e-9)
    assert [x.key for x in closer.graph.loops] == [x.key for x in copy.graph.loops]
