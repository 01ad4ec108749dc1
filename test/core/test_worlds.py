# SPDX-License-Identifier: Apache-2.0
"""Synthetic worlds: rendered images and depth, and their reproducibility."""

import hashlib

import pytest
import torch
from torch import Tensor

from infinitevggt_core.model import geometry
from infinitevggt_core.worlds import LEVELS, World, WorldClips, WorldConfig, sample_clips
from infinitevggt_core.worlds.solids import GLOSS_COLUMN

HEIGHT, WIDTH = 56, 84


@pytest.fixture(scope="module")
def easy() -> WorldClips:
    """Return frames of a room in which only the camera changes."""
    return World(10_000, "easy").render(range(0, 150, 10), HEIGHT, WIDTH)


def project(clips: WorldClips, source: int, target: int) -> tuple[Tensor, Tensor]:
    """Project pixels (H, W, 2) of frame `source` into frame `target`; return them and their
    depth."""
    points = geometry.world_points(
        clips.depth[source].double(), clips.camera_from_world[source], clips.intrinsics[source]
    )
    pose = clips.camera_from_world[target]
    camera = points @ pose[:, :3].T + pose[:, 3]
    pixels = camera @ clips.intrinsics[target].T
    return pixels[..., :2] / pixels[..., 2:], camera[..., 2]


def look_up(image: Tensor, pixels: Tensor, mode: str) -> Tensor:
    """Sample (C, H, W) at pixels (H, W, 2); (0, 0) is the centre of the first pixel."""
    height, width = image.shape[-2:]
    scale = torch.tensor([(width - 1) / 2, (height - 1) / 2])
    grid = (pixels / scale - 1).float()[None]
    return torch.nn.functional.grid_sample(image[None], grid, mode=mode, align_corners=True)[0]


def inside(pixels: Tensor, depth: Tensor) -> Tensor:
    x, y = pixels.unbind(-1)
    return (depth > 0) & (x > 1) & (y > 1) & (x < WIDTH - 2) & (y < HEIGHT - 2)


def smooth(depth: Tensor) -> Tensor:
    """Return True where neighbouring pixels lie on one surface."""
    padded = torch.nn.functional.pad(depth[None, None], (1, 1, 1, 1), mode="replicate")
    highest = torch.nn.functional.max_pool2d(padded, 3, 1)[0, 0]
    lowest = -torch.nn.functional.max_pool2d(-padded, 3, 1)[0, 0]
    return (highest - lowest) < 0.08 * depth


@pytest.mark.parametrize(("source", "target"), [(0, 3), (4, 9), (14, 6)])
def test_depth_of_one_frame_is_the_depth_another_frame_sees(
    easy: WorldClips, source: int, target: int
) -> None:
    pixels, depth = project(easy, source, target)
    # on a plane 1 / depth is linear in the pixel, so that interpolating it is exact
    seen = 1 / look_up(1 / easy.depth[target][None], pixels, "bilinear")[0].double()
    steady = look_up(smooth(easy.depth[target])[None].float(), pixels, "bilinear")[0] > 0.999
    checked = inside(pixels, depth) & steady
    assert checked.float().mean() > 0.25
    agrees = ((seen - depth).abs() / depth)[checked] < 0.01
    # the rest is hidden behind something in the other frame, and lies behind it
    assert agrees.float().mean() > 0.85
    assert (seen < depth * 1.01)[checked].float().mean() > 0.98


def test_a_transposed_pose_would_be_noticed(easy: WorldClips) -> None:
    mirrored = easy.camera_from_world.clone()
    mirrored[..., :3] = mirrored[..., :3].transpose(1, 2)
    wrong = WorldClips(easy.images, easy.depth, mirrored, easy.intrinsics)
    pixels, depth = project(wrong, 0, 3)
    seen = look_up(easy.depth[3][None], pixels, "bilinear")[0]
    agrees = ((seen - depth).abs() / depth) < 0.01
    assert (agrees & inside(pixels, depth)).float().mean() < 0.2


def test_a_point_keeps_its_color_from_frame_to_frame(easy: WorldClips) -> None:
    pixels, depth = project(easy, 4, 5)
    seen_depth = look_up(easy.depth[5][None], pixels, "bilinear")[0]
    visible = inside(pixels, depth) & ((seen_depth - depth).abs() < 0.02 * depth)
    colors = look_up(easy.images[5], pixels, "bilinear")
    change = (colors - easy.images[4]).abs().mean(0)[visible]
    assert visible.float().mean() > 0.4
    assert change.mean() < 0.04
    assert change.mean() < 0.4 * (easy.images[5] - easy.images[4]).abs().mean()


def test_images_have_rich_texture_and_are_neither_dark_nor_burnt(easy: WorldClips) -> None:
    assert 0.25 < easy.images.mean() < 0.75
    assert easy.images.std(dim=(-1, -2)).mean() > 0.1
    assert (easy.images > 0.995).float().mean() < 0.05


@pytest.mark.parametrize("level", LEVELS)
def test_every_ray_meets_something(level: str) -> None:
    clips = World(3, level).render(range(0, 400, 40), HEIGHT, WIDTH)
    sky = clips.depth == 0
    assert sky.float().mean() < (0.4 if level == "street" else 1e-9)
    assert clips.depth[~sky].min() > 0.1
    assert clips.depth.max() < (150 if level == "street" else 40)
    assert clips.images.isfinite().all()


def test_intrinsics_are_such_as_the_network_expresses(easy: WorldClips) -> None:
    encoding = geometry.encode_pose(easy.camera_from_world, easy.intrinsics, HEIGHT, WIDTH)
    back = geometry.intrinsics_from_encoding(encoding, HEIGHT, WIDTH)
    torch.testing.assert_close(back, easy.intrinsics, atol=1e-9, rtol=1e-9)
    torch.testing.assert_close(
        geometry.camera_from_world(encoding), easy.camera_from_world, atol=1e-9, rtol=1e-9
    )


def test_depth_is_that_of_a_wall_in_front_of_the_camera() -> None:
    """Return depth by hand: intersect the ray of each pixel with every wall, floor and ceiling."""
    world = World(5, config=WorldConfig.of("easy", furniture=0.0))
    clips = world.render([0], HEIGHT, WIDTH)
    room, pose = world.plan.rooms[0], clips.camera_from_world[0]
    ones = torch.ones(HEIGHT, WIDTH, dtype=torch.float64)
    rays = geometry.unproject(ones, clips.intrinsics[0]) @ pose[:, :3]
    eye = -pose[:, :3].T @ pose[:, 3]
    low = torch.tensor([room.x0, room.y0, 0.0], dtype=torch.float64)
    high = torch.tensor([room.x1, room.y1, room.height], dtype=torch.float64)
    expected = torch.maximum((low - eye) / rays, (high - eye) / rays).amin(-1)
    # pictures and skirting stand a few centimetres out of the walls, rugs out of the floor
    difference = expected - clips.depth[0]
    assert difference.min() > -1e-4
    assert (difference.abs() < 1e-4).float().mean() > 0.5


@pytest.mark.parametrize("level", LEVELS)
def test_frames_do_not_depend_on_what_is_rendered_with_them(level: str) -> None:
    world = World(8, level)
    one_by_one = list(world.sequence(5, HEIGHT, WIDTH, start=40))
    shuffled = World(8, level).render([44, 40, 42], HEIGHT, WIDTH)
    for place, index in enumerate((4, 0, 2)):
        frame = one_by_one[index]
        torch.testing.assert_close(frame.image, shuffled.images[place], atol=1e-5, rtol=0)
        torch.testing.assert_close(frame.depth, shuffled.depth[place], atol=1e-5, rtol=1e-5)
        assert torch.equal(frame.camera_from_world, shuffled.camera_from_world[place])


@pytest.mark.parametrize("level", ["easy", "hard"])
def test_a_batch_of_worlds_is_each_world_alone(level: str) -> None:
    together = sample_clips([1, 2, 1], 3, HEIGHT, WIDTH, level=level, draw=4)
    assert together.images.shape == (3, 3, 3, HEIGHT, WIDTH)
    assert together.depth.shape == (3, 3, HEIGHT, WIDTH)
    alone = sample_clips([1, 2], 3, HEIGHT, WIDTH, level=level, draw=4)
    torch.testing.assert_close(together.images[:2], alone.images, atol=1e-5, rtol=0)
    torch.testing.assert_close(together.depth[:2], alone.depth, atol=1e-5, rtol=1e-5)
    assert not torch.equal(together.images[0], together.images[2])


def test_moving_objects_change_what_a_standing_camera_would_see() -> None:
    changes = {"motion_blur": 0.0, "sensor_noise": 0.0, "light_change": 0.0}
    still = World(4, config=WorldConfig.of("hard", moving_objects=0, **changes))
    moving = World(4, config=WorldConfig.of("hard", moving_objects=5, **changes))
    a, b = (world.render(range(0, 100, 10), HEIGHT, WIDTH) for world in (still, moving))
    assert torch.equal(a.camera_from_world, b.camera_from_world)
    assert (b.depth < a.depth - 0.01).float().mean() > 0.005
    assert (b.depth <= a.depth + 1e-4).all()


def test_noise_is_as_strong_as_configured_and_new_in_each_frame() -> None:
    clean = World(4, config=WorldConfig.of("easy")).render([3, 4], HEIGHT, WIDTH)
    noisy = World(4, config=WorldConfig.of("easy", sensor_noise=0.02))
    noise = noisy.render([3, 4], HEIGHT, WIDTH).images - clean.images
    assert noise.std() == pytest.approx(0.02, rel=0.1)
    pair = torch.stack((noise[0].flatten(), noise[1].flatten()))
    assert torch.corrcoef(pair)[0, 1].abs() < 0.05


# sha256 of the tables of solids and places: the same bits on every machine
DIGESTS = {
    ("easy", 0): "3fb23adbd3dfa48b",
    ("standard", 10_000): "88bd8464810b5969",
    ("hard", 123_456_789_012): "d2e3a884dc15a5c8",
    ("real", 7): "2f50f0a4228718ef",
    ("street", 42): "218d514dd54192de",
}


@pytest.mark.parametrize(("level", "seed"), list(DIGESTS))
def test_a_seed_is_the_same_world_on_every_machine(level: str, seed: int) -> None:
    world = World(seed, level)
    digest = hashlib.sha256()
    places = torch.tensor(world.roadmap.places, dtype=torch.float64)
    for table in (world.scene.boxes, world.scene.rounds, places):
        digest.update(table[:, :GLOSS_COLUMN].numpy().astype("<f8").tobytes())
    assert digest.hexdigest()[:16] == DIGESTS[level, seed]


# mean depth in metres and mean brightness of frames 0, 50 and 100
MEANS: dict[str, list[tuple[float, float]]] = {
    "easy": [(2.6972, 0.652), (2.5243, 0.6416), (2.2019, 0.6364)],
    "standard": [(2.0668, 0.5284), (2.7671, 0.5807), (2.5024, 0.6344)],
    "hard": [(1.9917, 0.561), (2.2108, 0.6847), (2.9487, 0.6285)],
    "real": [(1.9748, 0.433), (2.3217, 0.4335), (2.0444, 0.389)],
    "street": [(6.0038, 0.4594), (6.1654, 0.4685), (6.2988, 0.4598)],
}


@pytest.mark.parametrize("level", LEVELS)
def test_a_seed_is_the_same_film_on_every_machine(level: str) -> None:
    clips = World(10_001, level).render([0, 50, 100], HEIGHT, WIDTH)
    means = zip(clips.depth.mean((1, 2)).tolist(), clips.images.mean((1, 2, 3)).tolist(),
                strict=True)  # fmt: skip
    for found, expected in zip(means, MEANS[level], strict=True):
        assert found == pytest.approx(expected, rel=1e-3)


def test_other_seeds_are_other_worlds() -> None:
    first, second = (World(seed, "easy").render([0], HEIGHT, WIDTH) for seed in (0, 1))
    assert (first.images - second.images).abs().mean() > 0.05
    assert World(0).scene.boxes.shape != World(2**32).scene.boxes.shape


def test_an_unknown_level_and_a_tiny_image_are_refused() -> None:
    with pytest.raises(ValueError, match="easy, standard, hard"):
        World(0, "medium")
    with pytest.raises(ValueError, match="at least 8x8"):
        World(0, "easy").render([0], 4, 4)
