# SPDX-License-Identifier: Apache-2.0
"""Distortion, shutter, compression and gloss of synthetic cameras."""

from typing import Any

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from infinitevggt_core.worlds import World, WorldConfig
from infinitevggt_core.worlds.jpeg import compressed
from infinitevggt_core.worlds.optics import Optics, blurred, turn_per_frame

SEED, HEIGHT, WIDTH = 20_061, 84, 112


def world(seed: int = SEED, **changes: Any) -> World:
    settings = {
        "exposure_change": 0.0,
        "sensor_noise": 0.0,
        "shadows": 0.0,
        "tones": 0.0,
        **changes,
    }
    return World(seed, config=WorldConfig.of("real", motion="handheld", **settings))


def seen_at(depth: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Return the nearest values of depth (H, W) at pixels x, y (H, W); NaN outside."""
    column, row = x.round().long(), y.round().long()
    inside = (column >= 0) & (column < depth.shape[1]) & (row >= 0) & (row < depth.shape[0])
    values = depth[row.clamp(0, depth.shape[0] - 1), column.clamp(0, depth.shape[1] - 1)]
    return torch.where(inside, values, torch.nan)


@pytest.mark.parametrize("strength", [0.2, 0.1])
def test_a_distorted_camera_sees_along_bent_rays(strength: float) -> None:
    """All tiles find their solids, too, wherever the rays are bent to."""
    bent, straight = world(distortion=strength), world()
    amount = Optics.of(SEED, bent.config).distortion
    assert 0 < abs(amount) <= strength
    row, column = torch.meshgrid(torch.arange(HEIGHT), torch.arange(WIDTH), indexing="ij")
    errors = []
    for moment in (5, 60, 150):
        frame = straight.render([moment], HEIGHT, WIDTH).frame(0)
        found = bent.render([moment], HEIGHT, WIDTH).frame(0).depth
        focal, center = float(frame.intrinsics[0, 0]), frame.intrinsics[:2, 2]
        x, y = (column - center[0]) / focal, (row - center[1]) / focal
        scale = focal * (1 + amount * (x * x + y * y))
        expected = seen_at(frame.depth, x * scale + center[0], y * scale + center[1])
        known = expected.isfinite()
        assert known.float().mean() > 0.8
        errors.append([((found - depth).abs() / found)[known].clamp(max=0.1).mean()
                       for depth in (expected, frame.depth)])  # fmt: skip
    by_rays, by_pixels = torch.tensor(errors).mean(0)
    assert by_rays < 0.006
    assert by_pixels > 1.5 * by_rays


def test_rows_of_a_rolling_shutter_are_those_of_their_moments() -> None:
    errors, time = [], 33.0
    for seed in range(SEED, SEED + 6):
        rolling = world(seed, rolling_shutter=1.0, step_m=0.001, sway=3.0)
        still = world(seed, step_m=0.001, sway=3.0)
        readout = Optics.of(seed, rolling.config).readout
        found = rolling.render(torch.tensor([time]), HEIGHT, WIDTH).frame(0)
        middle = still.render(torch.tensor([time]), HEIGHT, WIDTH).frame(0)
        torch.testing.assert_close(found.depth[HEIGHT // 2], middle.depth[HEIGHT // 2])
        for row in (0, HEIGHT - 1):
            moment = torch.tensor([time + readout * (row / HEIGHT - 0.5)], dtype=torch.float64)
            then = still.render(moment, HEIGHT, WIDTH).frame(0)
            errors.append([(one.image[:, row] - then.image[:, row]).abs().mean()
                           for one in (found, middle)])  # fmt: skip
    rolled, unrolled = torch.tensor(errors).mean(0)
    assert unrolled > 0.002
    assert rolled < 0.5 * unrolled


def test_the_turn_of_a_frame_is_that_of_the_poses() -> None:
    times = torch.tensor([10.0, 50.0], dtype=torch.float64)
    poses = world().trajectory.camera_from_world
    turn = turn_per_frame(poses, times)
    for k, vector in enumerate(turn.numpy()):
        rotation = (
            poses(times[k : k + 1] + 0.5)[0, :, :3] @ poses(times[k : k + 1] - 0.5)[0, :, :3].T
        )
        expected, _ = cv2.Rodrigues(rotation.numpy())
        np.testing.assert_allclose(vector, expected[:, 0], atol=2e-5)


def test_blur_follows_the_turn_and_ends_with_it() -> None:
    light = torch.rand(1, 3, 32, 48, generator=torch.manual_seed(0))
    focal, shutter = torch.tensor([40.0]), torch.tensor([1.0])
    still = blurred(light, torch.zeros(1, 3), focal, shutter)
    torch.testing.assert_close(still, light, atol=1e-5, rtol=0)
    sideways = blurred(light, torch.tensor([[0.0, 0.1, 0.0]]), focal, shutter)

    def roughness(image: Tensor, axis: int) -> float:
        return float(image.diff(dim=axis).abs().mean())

    assert roughness(sideways, 3) < 0.6 * roughness(light, 3)
    assert roughness(sideways, 2) / roughness(light, 2) > roughness(sideways, 3) / roughness(
        light, 3
    )


@pytest.mark.parametrize("quality", [20, 50, 90])
def test_compression_is_that_of_jpeg(quality: int) -> None:
    image = world().render([5], HEIGHT, WIDTH).images
    pixels = (image[0].permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)
    sampling = cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444
    options = [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, sampling]
    _, data = cv2.imencode(".jpg", pixels[..., ::-1], options)
    decoded = cv2.imdecode(data, cv2.IMREAD_COLOR)
    assert decoded is not None
    expected = decoded[..., ::-1].astype(float)
    found = compressed(
        torch.from_numpy(pixels / 255).permute(2, 0, 1)[None].float(), torch.tensor([quality])
    )
    difference = np.abs(found[0].permute(1, 2, 0).numpy() * 255 - expected).mean()
    assert difference < 1.3, "rounding of the colours"
    assert difference < 0.5 * np.abs(pixels - expected).mean() or quality == 90


def test_gloss_adds_highlights_and_darkens_nothing() -> None:
    plain, glossy = (
        World(SEED, config=WorldConfig.of("real", lens=0.0, sensor_noise=0.0, gloss=gloss))
        .render([0, 20, 40, 60], HEIGHT, WIDTH)
        .images
        for gloss in (0.0, 1.0)
    )
    assert (glossy >= plain - 1e-4).all()
    assert (glossy > plain + 0.05).float().mean() > 0.002


def test_images_without_these_effects_stay_as_they_were() -> None:
    """The new settings draw their numbers beside those of the lens."""
    before = world().render([7], HEIGHT, WIDTH).images
    after = world(jpeg=0.0, distortion=0.0, turn_blur=0.0).render([7], HEIGHT, WIDTH).images
    torch.testing.assert_close(before, after, atol=0, rtol=0)
    lossy = world(jpeg=1.0).render([7], HEIGHT, WIDTH).images
    assert 0.001 < (lossy - before).abs().mean() < 0.05
