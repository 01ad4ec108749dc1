# SPDX-License-Identifier: Apache-2.0
"""Streets: sky without depth, sunlight, and free space to drive."""

import pytest
import torch

from infinitevggt_core.worlds import World, WorldConfig

HEIGHT, WIDTH = 42, 56


@pytest.fixture(scope="module")
def streets() -> list[World]:
    return [World(seed, "street") for seed in range(20_000, 20_006)]


def test_the_sky_is_bright_and_has_no_depth(streets: list[World]) -> None:
    shares = []
    for street in streets:
        frame = street.render([20], HEIGHT, WIDTH).frame(0)
        sky = frame.depth == 0
        shares.append(float(sky.float().mean()))
        assert not sky[-1].any(), "the ground"
        if sky.float().mean() > 0.05:
            brightness = frame.image.mean(0)
            assert brightness[sky].mean() > brightness[~sky].mean()
    assert max(shares) > 0.05


def test_depth_reaches_tens_of_metres(streets: list[World]) -> None:
    farthest = [float(street.render([20], HEIGHT, WIDTH).depth.max()) for street in streets]
    assert min(farthest) > 10
    assert 40 < max(farthest) < 150


def test_shadows_of_the_sun_darken_the_ground(streets: list[World]) -> None:
    """A cloudy sky or a sun along the street may leave one of them without."""
    darker = []
    for street in streets:
        lit = World(street.seed, config=WorldConfig.of("street", shadows=0.0, lens=0.0))
        shaded = World(street.seed, config=WorldConfig.of("street", lens=0.0))
        a, b = (world.render([20], HEIGHT, WIDTH).images for world in (shaded, lit))
        darker.append(float(((b - a) > 0.03).float().mean()))
    assert max(darker) > 0.05


def test_a_street_has_room_for_a_car_between_parked_ones(streets: list[World]) -> None:
    for street in streets:
        places = torch.tensor(street.roadmap.places)
        assert len(places) > 5
        assert (places.diff(dim=0).norm(dim=1) < 6).all(), "neighbours see each other"
