# SPDX-License-Identifier: Apache-2.0
"""Scale of a tracker's points from a second camera."""

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from infinitevggt_core.metric.stereo_scale import CalibratedView, stereo_scale
from infinitevggt_core.tracking.rigid import compose, moved
from support.tracking_samples import MATRIX, Box, walk

BOX = Box()
HERE = walk(40)[20]


def corners(gray: NDArray[np.uint8]) -> NDArray[np.float64]:
    found = cv2.goodFeaturesToTrack(gray, 120, 0.01, 6)
    assert found is not None
    return found[:, 0].astype(np.float64)


def pair(
    step: list[float], box: Box = BOX
) -> tuple[CalibratedView, CalibratedView, NDArray[np.float64], NDArray[np.float64]]:
    """Return two views of the box, the pose of the second camera in the first, and corners."""
    other_from_one = moved(np.eye(3, 4), np.array(step))
    one, _ = BOX.render(HERE)
    other, _ = box.render(compose(other_from_one, HERE))
    views = CalibratedView(one, MATRIX), CalibratedView(other, MATRIX)
    return *views, other_from_one, corners(one)


@pytest.mark.parametrize("metres_per_unit", [0.2, 1.0, 7.3])
@pytest.mark.parametrize(
    "step", [[-0.2, 0, 0, 0, 0, 0], [0.3, 0.05, 0, 0, 0.1, 0.0], [-0.1, -0.1, 0.1, 0.05, -0.1, 0.1]]
)
def test_the_scale_is_that_of_the_images(step: list[float], metres_per_unit: float) -> None:
    one, other, other_from_one, pixels = pair(step)
    depth = BOX.render(HERE)[1]
    column, row = pixels.round().astype(int).T
    noise = np.exp(0.02 * np.random.default_rng(0).normal(size=len(pixels)))
    depths = depth[row, column] / metres_per_unit * noise
    found = stereo_scale(one, other, other_from_one, pixels, depths)
    assert found is not None
    scale, sigma = found
    assert scale == pytest.approx(metres_per_unit, rel=0.02)
    assert 0.005 < sigma < 0.2


def test_another_place_says_nothing() -> None:
    one, other, other_from_one, pixels = pair([-0.2, 0, 0, 0, 0, 0], Box(seed=5))
    depths = np.full(len(pixels), 2.0)
    assert stereo_scale(one, other, other_from_one, pixels, depths) is None


def test_a_camera_that_looks_elsewhere_says_nothing() -> None:
    one, other, other_from_one, pixels = pair([0, 0, 0, 0, 1.6, 0])
    assert stereo_scale(one, other, other_from_one, pixels, np.full(len(pixels), 2.0)) is None


def test_cameras_at_one_place_say_nothing() -> None:
    one, other, other_from_one, pixels = pair([1e-4, 0, 0, 0, 0.05, 0])
    assert stereo_scale(one, other, other_from_one, pixels, np.full(len(pixels), 2.0)) is None
    assert stereo_scale(one, other, other_from_one, pixels[:5], np.full(5, 2.0)) is None
