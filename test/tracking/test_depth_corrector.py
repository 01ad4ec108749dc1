# SPDX-License-Identifier: Apache-2.0
"""Depth is corrected where points show how, and left alone where they do not."""

import time

import numpy as np
import pytest
from numpy.typing import NDArray

from infinitevggt_core.tracking.depth_corrector import DepthCorrector

Floats = NDArray[np.float64]
HEIGHT, WIDTH = 84, 112


def room(height: int = HEIGHT, width: int = WIDTH) -> NDArray[np.float32]:
    v, u = np.mgrid[:height, :width] / (height, width)[0]
    depth: NDArray[np.float32] = (2 + u + 0.5 * np.sin(5 * v)).astype(np.float32)
    return depth


def points(depth: NDArray[np.float32], count: int = 300, seed: int = 0) -> tuple[Floats, Floats]:
    dice = np.random.default_rng(seed)
    height, width = depth.shape
    u, v = dice.integers(0, width, count), dice.integers(0, height, count)
    return np.column_stack((u, v)).astype(np.float64), depth[v, u].astype(np.float64)


def plane() -> Floats:
    v, u = np.mgrid[:HEIGHT, :WIDTH]
    return np.asarray(0.4 * (u / WIDTH - 0.5) - 0.3 * (v / HEIGHT - 0.5))


def error(found: NDArray[np.float32], truth: NDArray[np.float32]) -> float:
    return float(np.abs(np.log(found / truth)).mean())


def test_exact_depth_is_left_as_it_is() -> None:
    depth = room()
    found = DepthCorrector().correct(depth, *points(depth))
    assert not found.is_open
    np.testing.assert_allclose(found.depth, depth, rtol=1e-6)
    assert abs(found.log_scale) < 1e-6


def test_another_unit_is_one_scale() -> None:
    depth = room()
    found = DepthCorrector().correct(3 * depth, *points(depth))
    assert not found.is_open
    np.testing.assert_allclose(found.depth, depth, rtol=1e-6)
    np.testing.assert_allclose(found.log_scale, -np.log(3), rtol=1e-6)


def test_a_plane_of_log_scale_comes_back() -> None:
    depth = room()
    bent = (depth * np.exp(plane())).astype(np.float32)
    found = DepthCorrector().correct(bent, *points(depth))
    assert found.is_open
    assert error(bent, depth) > 0.1
    assert error(found.depth, depth) < 0.01
    assert found.error_after < 0.2 * found.error_before


def test_a_quarter_of_the_points_may_be_anything() -> None:
    depth = room()
    pixels, z = points(depth)
    z[::4] *= np.exp(np.random.default_rng(1).normal(size=75))
    bent = (depth * np.exp(plane())).astype(np.float32)
    found = DepthCorrector().correct(bent, pixels, z)
    assert error(found.depth, depth) < 0.05


def test_the_gate_stays_shut_on_noise() -> None:
    depth = room()
    opened = 0
    for seed in range(20):
        pixels, z = points(depth, seed=seed)
        z *= np.exp(0.2 * np.random.default_rng(100 + seed).normal(size=len(z)))
        found = DepthCorrector().correct(depth, pixels, z)
        opened += found.is_open
        assert error(found.depth, depth) < 0.06
    assert opened == 0


def test_frames_without_points_keep_the_usual_scale() -> None:
    corrector, depth = DepthCorrector(), room()
    nothing = np.zeros((0, 2)), np.zeros(0)
    first = corrector.correct(depth, *nothing)
    np.testing.assert_array_equal(first.depth, depth)
    assert np.isnan(first.log_scale)
    for _ in range(3):
        corrector.correct(2 * depth, *points(depth))
    np.testing.assert_allclose(corrector.correct(2 * depth, *nothing).depth, depth, rtol=1e-6)


def test_garbage_is_passed_over() -> None:
    depth = room()
    pixels, z = points(depth)
    depth[:20] = np.nan
    depth[20:25] = 0
    depth[25] = -1
    pixels[:5] = (np.nan, 3)
    pixels[5:9] = (-4, 900)
    z[9:15] = (np.nan, np.inf, -np.inf, 0, -3, 1e300)
    found = DepthCorrector().correct(depth, pixels, z)
    assert np.isnan(found.depth[:20]).all()
    assert np.isfinite(found.depth[26:]).all()
    for blank in (np.zeros_like(depth), np.full_like(depth, np.nan)):
        assert not DepthCorrector().correct(blank, pixels, z).is_open
    with pytest.raises(ValueError, match="no depth with points"):
        DepthCorrector().correct(depth, pixels, z[:4])
    assert not DepthCorrector().correct(np.zeros((0, 0), np.float32), pixels, z).is_open


def test_a_state_goes_on() -> None:
    corrector, copy, depth = DepthCorrector(), DepthCorrector(), room()
    corrector.correct(5 * depth, *points(depth))
    copy.load_state_dict(corrector.state_dict())
    assert copy.usual_scale == corrector.usual_scale


@pytest.mark.parametrize("size", [(84, 112), (240, 320)])
def test_it_takes_milliseconds(size: tuple[int, int]) -> None:
    depth = room(*size)
    pixels, z = points(depth, 350)
    bent = depth * np.linspace(0.7, 1.4, size[1], dtype=np.float32)
    corrector, took = DepthCorrector(), []
    for _ in range(20):
        began = time.process_time()
        assert corrector.correct(bent, pixels, z).is_open
        took.append(time.process_time() - began)
    print(f"{1e3 * min(took):.1f} ms, median {1e3 * np.median(took):.1f}")
    assert min(took) < 0.02
