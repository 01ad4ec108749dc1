# SPDX-License-Identifier: Apache-2.0
"""Worlds of level real: close cameras, shadows, lenses."""

import math
from typing import Any

import pytest
import torch

from infinitevggt_core.worlds import World, WorldConfig, office
from infinitevggt_core.worlds.close_up import CloseUp
from infinitevggt_core.worlds.hashed_rng import HashedRng
from infinitevggt_core.worlds.lens import Lens, process
from infinitevggt_core.worlds.rooms import build_rooms

HEIGHT, WIDTH = 42, 56
PLAIN = Lens(
    vignetting=0.0, mean=0.25, control=1.0, cast=(1.0, 1.0, 1.0), gamma=0.5, contrast=0.0,
    black=0.0, saturation=1.0, sharpness=0.0, noise=0.0,
)  # fmt: skip


def developed(light: torch.Tensor, **changes: Any) -> torch.Tensor:
    values = {name: changes.get(name, getattr(PLAIN, name)) for name in Lens.__slots__}
    return process(light, [Lens(**values)] * len(light), torch.ones_like(light), 0.05)


@pytest.fixture(scope="module")
def light() -> torch.Tensor:
    return torch.rand(2, 3, HEIGHT, WIDTH, generator=torch.manual_seed(0)) * 0.2 + 0.1


def test_exposure_control_evens_out_the_brightness(light: torch.Tensor) -> None:
    torch.testing.assert_close(developed(light), developed(light * 3), atol=1e-4, rtol=0)
    fixed = developed(light * 3, control=0.0)
    assert fixed.mean() > developed(light, control=0.0).mean() * 1.5


def test_a_lens_darkens_corners_and_tints(light: torch.Tensor) -> None:
    flat = torch.full_like(light, 0.2)
    shaded = developed(flat, vignetting=0.5)
    middle, corner = shaded[..., HEIGHT // 2, WIDTH // 2], shaded[..., 0, 0]
    expected = torch.full_like(corner, 0.5)
    torch.testing.assert_close((corner / middle) ** 2, expected, atol=0.03, rtol=0)
    red = developed(flat, cast=(1.2, 1.0, 1.0))
    assert (red[:, 0] > red[:, 1]).all()


def test_noise_grows_in_the_dark_and_grey_cameras_have_no_colour(light: torch.Tensor) -> None:
    dark, bright = (torch.full_like(light, value) for value in (0.02, 0.8))
    rise = [(developed(x, noise=1.0, control=0.0) - developed(x, control=0.0)).mean()
            for x in (dark, bright)]  # fmt: skip
    assert rise[0] > 1.5 * rise[1] > 0
    grey = developed(light, saturation=0.0)
    torch.testing.assert_close(grey[:, 0], grey[:, 2])


def test_blur_and_sharpening_are_opposites(light: torch.Tensor) -> None:
    spread = [developed(light, sharpness=s, control=0.0).std() for s in (-0.8, 0.0, 0.8)]
    assert spread[0] < spread[1] < spread[2]


def test_shadows_darken_some_pixels_and_brighten_none() -> None:
    configs = [
        WorldConfig.of(
            "real", lens=0.0, sensor_noise=0.0, exposure_change=0.0, busy=0.0, tones=0.0, shadows=s
        )
        for s in (0.0, 1.0)
    ]
    lit, shaded = (World(3, config=c).render([0, 90], HEIGHT, WIDTH) for c in configs)
    assert (shaded.images <= lit.images + 1e-5).all()
    assert ((lit.images - shaded.images).amax(1) > 0.05).float().mean() > 0.03
    torch.testing.assert_close(shaded.depth, lit.depth)


def test_tones_change_brightness_alone_and_leave_lamps_as_they_are() -> None:
    plain, toned = (World(4, config=WorldConfig.of("real", tones=t)) for t in (0.0, 1.0))
    brighter = darker = 0
    for before, after in zip(plain.solids, toned.solids, strict=True):
        assert (before.center, before.half) == (after.center, after.half)
        if before.material.glow:
            assert after.material == before.material
        elif min(before.material.second) > 0.02 and max(after.material.second) < 0.95:
            ratio = [a / b for a, b in zip(after.material.second, before.material.second,
                                           strict=True)]  # fmt: skip
            assert ratio == pytest.approx([ratio[0]] * 3)
            brighter, darker = brighter + (ratio[0] > 1), darker + (ratio[0] < 1)
    assert min(brighter, darker) > 20


def test_busy_materials_have_other_patterns_at_any_distance() -> None:
    calm, busy = (World(4, config=WorldConfig.of("real", busy=b, tones=0.0)) for b in (0.0, 1.0))
    sizes = []
    for before, after in zip(calm.solids, busy.solids, strict=True):
        assert (before.center, before.half) == (after.center, after.half)
        if before.material.glow:
            assert after.material == before.material
        else:
            assert after.material.contrast >= 0.2
            sizes.append(1 / after.material.repeats[1])
    assert min(sizes) < 0.2
    assert max(sizes) > 1.5
    config = [WorldConfig.of("real", busy=b, tones=0.0, sensor_noise=0.0) for b in (0.0, 1.0)]
    detail = [
        sum(World(seed, config=c).render([0], HEIGHT, WIDTH).images.diff(dim=-1).abs().mean()
            for seed in range(10))
        for c in config
    ]  # fmt: skip
    assert detail[1] > 1.15 * detail[0]


def test_many_close_cameras_look_at_the_top_of_a_table() -> None:
    over = 0
    for seed in range(40):
        site = build_rooms(seed, WorldConfig.of("real"))
        view = CloseUp.draw(HashedRng(seed, "close-up"), site.plan.rooms, site.placed)
        x, y, z = view.target
        over += any(
            math.dist((x, y), top.center[:2]) <= math.hypot(*top.half[:2])
            and 0 <= z - top.center[2] <= 0.2
            for pieces in site.placed
            for piece in pieces
            for top in piece.solids
            if 0.4 < top.center[2] < 1.1 and top.half[2] < 0.05 < 0.6 * top.half[0] * top.half[1]
        )
    assert 12 < over < 32


def test_some_tables_are_crowded() -> None:
    counts = [len(office.desk(HashedRng(seed, "desk")).solids) for seed in range(60)]
    assert min(counts) < 20
    assert max(counts) > 80


def test_close_cameras_stay_in_their_room_and_look_at_the_scene() -> None:
    near = []
    for seed in range(12):
        world = World(seed, config=WorldConfig.of("real", close_up=1.0))
        poses = world.trajectory.world_from_body(torch.arange(0, 400, 20))
        room = world.plan.rooms[0]
        place = poses[..., 3]
        assert ((place[:, 0] > room.x0) & (place[:, 0] < room.x1)).all()
        assert ((place[:, 1] > room.y0) & (place[:, 1] < room.y1)).all()
        assert ((place[:, 2] >= 0.15) & (place[:, 2] < 2.6)).all()
        near.append(float(world.render([0], HEIGHT, WIDTH).depth.median()))
    assert 0.5 < sorted(near)[6] < 2.5  # as a camera held in front of a table


def test_close_cameras_are_drawn_as_often_as_configured() -> None:
    chosen = [HashedRng(seed, "close-up").chance(0.75) for seed in range(400)]
    assert sum(chosen) / 400 == pytest.approx(0.75, abs=0.07)
    fixed = World(0, config=WorldConfig.of("real", motion="wheeled"))
    heights = fixed.trajectory.world_from_body(torch.arange(200))[:, 2, 3]
    assert heights.std() < 0.02  # a wheeled camera keeps its height
