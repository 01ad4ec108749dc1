# SPDX-License-Identifier: Apache-2.0
"""Corners, their flow and the noise of the network's depth."""

import cv2
import numpy as np

from infinitevggt_core.tracking.config import TrackingConfig
from infinitevggt_core.tracking.depth_noise import DepthNoise
from infinitevggt_core.tracking.frontend import Frontend
from support.tracking_samples import IDENTITY, Box

FRONTEND = Frontend(TrackingConfig())


def test_corners_lie_in_all_parts_of_the_image_and_apart() -> None:
    gray, _ = Box().render(IDENTITY)
    corners = FRONTEND.detect(gray, np.empty((0, 2)))
    cells = {(int(u * 4 / 160), int(v * 3 / 120)) for u, v in corners}
    assert len(cells) == 12
    distance = np.linalg.norm(corners[:, None] - corners[None], axis=2)
    assert distance[~np.eye(len(corners), dtype=bool)].min() > 2.5


def test_new_corners_keep_away_from_those_that_are_followed() -> None:
    gray, _ = Box().render(IDENTITY)
    corners = FRONTEND.detect(gray, np.empty((0, 2)))
    more = FRONTEND.detect(gray, corners[::2])
    assert np.linalg.norm(more[:, None] - corners[::2][None], axis=2).min() > 2.5


def test_a_shifted_image_moves_its_corners() -> None:
    gray, _ = Box().render(IDENTITY)
    moved = cv2.warpAffine(gray, np.array([[1, 0, 3.5], [0, 1, -2.25]]), (160, 120))
    corners = FRONTEND.detect(gray, np.empty((0, 2)))
    found, miss = FRONTEND.track(gray, moved, corners, corners)
    alive = np.isfinite(found[:, 0])
    assert alive.mean() > 0.7
    error = found[alive] - corners[alive] - (3.5, -2.25)
    assert np.median(np.abs(error)) < 0.05
    assert miss[alive].max() < 1


def test_a_blank_image_has_no_corners_and_ends_all_tracks() -> None:
    gray, _ = Box().render(IDENTITY)
    blank = np.full_like(gray, 128)
    corners = FRONTEND.detect(gray, np.empty((0, 2)))
    assert not len(FRONTEND.detect(blank, np.empty((0, 2))))
    found, _ = FRONTEND.track(gray, blank, corners, corners)
    assert np.isnan(found).all(axis=1).mean() > 0.95


def test_whitening_knows_the_direction_of_an_edge() -> None:
    edge = np.full((120, 160), 60, np.uint8)
    edge[:, 80:] = 200
    matrix = FRONTEND.whitening(edge, np.array([[80.0, 60.0]]))[0]
    assert matrix[0, 0] > 0.9
    assert matrix[1, 1] < 0.05
    assert abs(matrix[0, 1]) < 0.05


def test_depth_noise_is_measured_in_spite_of_outliers() -> None:
    rng = np.random.default_rng(0)
    noise = DepthNoise(trust=15.0)
    for _ in range(40):
        ratios = rng.normal(0.3, 0.1, 300)
        ratios[:90] += rng.uniform(-3, 3, 90)
        noise.update(ratios)
    assert 1.2 < noise.sigma < 3.0
    assert abs(np.log(noise.frame_scale(ratios)) - 0.3) < 0.05


def test_depth_noise_without_depth_stays_as_it_is() -> None:
    noise = DepthNoise(trust=15.0)
    noise.update(np.full(100, np.nan))
    assert noise.sigma == 2.0
    assert noise.frame_scale(np.full(100, np.nan)) == 1.0
