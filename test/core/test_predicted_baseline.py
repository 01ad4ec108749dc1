# SPDX-License-Identifier: Apache-2.0
"""Distance of two cameras with a known relative rotation."""

import math

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from infinitevggt_core import Prediction
from infinitevggt_core.metric.baseline import predicted_baseline
from infinitevggt_core.model.geometry import encode_pose

numbers = st.tuples(*[st.floats(-2, 2)] * 3)


def prediction(world_from_camera: np.ndarray, depth: float = 2.0) -> Prediction:
    pose = torch.from_numpy(np.linalg.inv(world_from_camera)[None, :3]).float()
    flat = torch.full((1, 14, 14), depth)
    return Prediction(encode_pose(pose, torch.eye(3)[None], 14, 14), flat, flat)


def placed(rotation: tuple[float, ...], position: tuple[float, ...]) -> np.ndarray:
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = Rotation.from_rotvec(rotation).as_matrix(), position
    return pose


@given(numbers, numbers, numbers, numbers)
def test_the_distance_is_right_wherever_the_rig_stands(
    rotation: tuple[float, ...],
    position: tuple[float, ...],
    rig_rotation: tuple[float, ...],
    rig_position: tuple[float, ...],
) -> None:
    assume(np.linalg.norm(position) > 0.01)
    other, rig = placed(rotation, position), placed(rig_rotation, rig_position)
    distance, sigma = predicted_baseline(prediction(rig), prediction(rig @ other), other[:3, :3])
    assert distance == pytest.approx(np.linalg.norm(position), abs=1e-4)
    assert sigma * distance == pytest.approx(0, abs=1e-4)


def test_a_false_rotation_counts_as_a_step_and_as_uncertainty() -> None:
    """A step of 0.2 before a wall 2 away. A network that turns by 0.05 instead moves the middle of
    the wall by 2 sin(0.05), and does without as much of the step."""
    false_rotation = 0.05
    hidden = np.array((2 * math.sin(false_rotation), 0, 2 * math.cos(false_rotation) - 2))
    seen = placed((0, false_rotation, 0), tuple((0.2, 0, 0) - hidden))
    assert np.linalg.norm(seen[:3, 3]) == pytest.approx(0.1, rel=1e-2), "half as long as it is"
    distance, sigma = predicted_baseline(prediction(np.eye(4)), prediction(seen), np.eye(3))
    assert distance == pytest.approx(0.2, rel=1e-4)
    assert sigma == pytest.approx(0.5, rel=1e-3)
