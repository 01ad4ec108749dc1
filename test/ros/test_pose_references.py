# SPDX-License-Identifier: Apache-2.0
"""Poses of a run after corrections that came later."""

import numpy as np
import torch

from infinitevggt_core.tracking.rigid import Floats, compose, inverse
from infinitevggt_core.tracking.similarity import Similarity3
from infinitevggt_ros.evaluation.pose_references import PoseReferences
from infinitevggt_ros.stream.pose_source import PoseReference


def at(x: float) -> Floats:
    """Return the pose camera_from_world of a camera at (x, 0, 0)."""
    pose = np.eye(3, 4)
    pose[0, 3] = -x
    return pose


def walk() -> tuple[PoseReferences, Floats]:
    """Return two frames on keyframe 0, two on keyframe 1, and one on none."""
    references, live = PoseReferences(), np.stack([at(x) for x in (0.0, 1.0, 2.0, 3.0, 4.0)])
    for row, (keyframe, x) in enumerate([(0, 0.0), (0, 0.0), (1, 2.0), (1, 2.0)]):
        motion = compose(live[row], inverse(at(x)))
        references.add(live[row], PoseReference(keyframe, motion, 1.0))
    references.add(live[4], None)
    return references, live


def centers(poses: Floats) -> Floats:
    return np.stack([inverse(pose)[:, 3] for pose in poses])


def test_poses_stay_where_keyframes_stay() -> None:
    references, live = walk()
    keyframes = {k: Similarity3.from_rigid(inverse(at(2.0 * k))) for k in (0, 1)}
    np.testing.assert_allclose(references.corrected(live, keyframes), live, atol=1e-12)


def test_poses_follow_the_place_and_the_unit_of_their_keyframe() -> None:
    references, live = walk()
    keyframes = {
        0: Similarity3.from_rigid(inverse(at(0.0))),
        1: Similarity3.from_rigid(inverse(at(10.0)), 2.0),
    }
    found = centers(references.corrected(live, keyframes))
    np.testing.assert_allclose(found[:, 0], [0, 1, 10, 12, 14], atol=1e-12)


def test_a_dropped_keyframe_moves_its_frames_as_the_one_before() -> None:
    references, live = walk()
    found = centers(references.corrected(live, {0: Similarity3.from_rigid(inverse(at(5.0)))}))
    np.testing.assert_allclose(found[:, 0], [5, 6, 7, 8, 9], atol=1e-12)


def test_a_snapshot_gives_the_same_poses() -> None:
    references, live = walk()
    keyframes = {k: Similarity3.from_rigid(inverse(at(3.0 * k))) for k in (0, 1)}
    again = PoseReferences()
    state = references.state_dict()
    assert all(isinstance(part, torch.Tensor) for part in state.values())
    again.load_state_dict(state)
    np.testing.assert_array_equal(
        again.corrected(live, keyframes), references.corrected(live, keyframes)
    )
