# SPDX-License-Identifier: Apache-2.0
"""A depth camera is believed where it says something."""

import numpy as np
import pytest

from infinitevggt_core.tracking.sensor_depth import SensorDepth, SensorNoise


def test_it_is_laid_over_the_network_where_it_is_valid() -> None:
    depth = np.full((6, 8), 2.0, dtype=np.float32)
    depth[0] = (0, np.nan, np.inf, -1, 0.01, 50, 2, 2)
    sensor = SensorDepth.of(depth, 6, 8)
    assert sensor.valid.sum() == 6 * 8 - 6
    whole = sensor.over(np.full((6, 8), 7.0, dtype=np.float32))
    np.testing.assert_array_equal(whole[0], [7, 7, 7, 7, 7, 7, 2, 2])
    with pytest.raises(ValueError, match="two sizes"):
        sensor.over(np.zeros((3, 4), dtype=np.float32))


def test_another_size_mixes_no_depths() -> None:
    depth = np.where(np.arange(100) < 47, 1, 5)[None].repeat(60, axis=0).astype(np.float32)
    sensor = SensorDepth.of(depth, 33, 71)
    assert sensor.depth.shape == (33, 71)
    assert set(np.unique(sensor.depth)) == {1, 5}


def test_points_on_an_edge_have_no_depth_and_far_ones_are_uncertain() -> None:
    depth = np.where(np.arange(100) < 50, 1, 5)[None].repeat(60, axis=0).astype(np.float32)
    sensor = SensorDepth.of(depth, 60, 100)
    pixels = np.array([(20, 20), (80, 20), (50, 20), (-3, 2), (np.nan, 2), (300, 300)])
    z, sigma = sensor.at(pixels)
    np.testing.assert_array_equal(z, [1, 5, np.nan, np.nan, np.nan, np.nan])
    assert sigma[1] > 1.5 * sigma[0]
    assert np.isnan(sigma[2:]).all()


def test_the_noise_grows_with_the_square() -> None:
    noise = SensorNoise(floor_m=0, growth=0.003)
    np.testing.assert_allclose(noise.sigma_m(np.array([1.0, 2.0])), [0.003, 0.012])


def test_what_is_no_image_is_refused() -> None:
    with pytest.raises(ValueError, match="rows and columns"):
        SensorDepth.of(np.zeros((0, 3), dtype=np.float32), 4, 4)
    assert not SensorDepth.of(np.full((4, 4), np.nan, dtype=np.float32), 8, 8).valid.any()
